"""Datasets as problems, for studies that call a strategy directly, without a run folder."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from _sets import UNPACKED
from _targets import TARGETS

from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_backbone
from regraft.contracts.strategy import Fitted, Problem
from regraft.errors import RegraftError
from regraft.recipe import Recipe, parse_setting, with_settings
from regraft.workbench._training import Setup, store_states
from regraft.workbench.recipes import resolve
from regraft.workbench.session import open_session


def returned(events: Iterator[Any]) -> Any:
    """What a generator returns, or the `Fitted` it ends with."""
    last = None
    while True:
        try:
            event = next(events)
            last = event if isinstance(event, Fitted) else last
        except StopIteration as stop:
            return stop.value or last


def network(spec: str, *, input_px: int | None = None, seed: int = 0) -> Backbone:
    """The backbone that `spec` names.

    Raises:
        SystemExit: it cannot be opened; the message says why.
    """
    try:
        found: Backbone = returned(open_backbone(spec, input_px=input_px, seed=seed))
    except RegraftError as error:
        raise SystemExit(f"{spec}: {error}") from None
    return found


def problem_of(data: str, cut: str, views: int, *, input_px: int, spec: str = "", seed: int = 0) -> Problem:
    """The training part of a set as a problem."""
    return posed(data, cut, views, input_px=input_px, spec=spec, seed=seed)[0]


def posed(
    data: str, cut: str, views: int, *, input_px: int, spec: str = "", seed: int = 0
) -> tuple[Problem, np.ndarray]:
    """The training part of a set as a problem, its states stored (0 views: made anew), and the places of its test.

    `spec` names a backbone, if not the shipped GoogLeNet, and `seed` draws its weights where they are random.
    """
    chosen = TARGETS[data]
    UNPACKED.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(data=str(chosen.open()), backbone=spec or "googlenet", strategy="partial", cut=cut,
                    views=views, input_px=input_px, threads=1)  # fmt: skip
    recipe = with_settings(recipe, dict(map(parse_setting, chosen.settings)))
    backbone = network(recipe.backbone, input_px=input_px, seed=seed)
    session = returned(open_session(recipe, workers=1))
    resolved = resolve(recipe, backbone.card)
    setup = Setup(session=session, resolved=resolved, backbone=backbone, unfitted=backbone, device="cpu", threads=1)
    stored = returned(store_states(setup))
    train = session.learnable
    problem = Problem(backbone=backbone, cut=cut, task=session.task, states=stored.states, top=stored.top,
                      targets=session.targets, groups=session.splits.groups, train=train,
                      val=np.zeros(0, dtype=np.int64), seed=0)  # fmt: skip
    return problem, session.splits.test
