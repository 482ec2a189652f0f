"""What other networks see of a run's examples, where the strategy asks for it: a teacher's features."""

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from regraft.activations.disk import Memo
from regraft.activations.fill import Activations, Want
from regraft.activations.states import Numbers, States
from regraft.activations.store import Store
from regraft.backbones.opening import open_backbone
from regraft.bundles.bundle import prefixes_of
from regraft.contracts.strategy import Other
from regraft.contracts.task import Reads
from regraft.files import cache_home
from regraft.values import Event
from regraft.workbench._training import Setup
from regraft.workbench.recipes import suited

MIN_SHARE = 0.1
"""Of the root mean square of all features' standard deviations, the least that one is divided by (our choice)."""


def others_of(setup: Setup, asked: Sequence[tuple[str, int]]) -> Generator[Event, None, Setup]:
    """The setup with what these backbones see of every example, in the views that the trained network sees; where the
    task's targets are what a teacher sees, with these."""
    session, root = setup.session, cache_home() / "store"
    usable, want = session.usable, Want(cut="output", views=max(1, setup.resolved.views), dtype="float32")
    others, opened = list[Other](), list[Activations]()
    for spec, input_px in asked:
        backbone = yield from open_backbone(spec, input_px=input_px or None, seed=session.recipe.seed)
        backbone = suited(session.recipe, session.dataset, backbone)
        yield from session.check(backbone.card)
        prefixes = prefixes_of(
            backbone, Reads(), device=setup.device, backend=session.recipe.backend, threads=setup.threads
        )
        inputs = session.inputs(backbone.card, setup.threads)
        opened.append(Activations(Store(root), Memo(root), prefixes, inputs))
        yield from opened[-1].fill([want], usable.tolist())
        yield from prefixes.notices
        states = opened[-1].states(want, len(session.dataset.examples), usable.tolist())
        others.append(Other(backbone=backbone, states=Standard(states, session.validated[0])))
    if session.task.taught:
        features = others[0].states.batch(usable, np.zeros_like(usable))["features"]
        targets = np.zeros((len(session.dataset.examples), features.shape[1]), dtype=np.float32)
        targets[usable] = features
        session = replace(session, targets=targets, task=session.task.prepared(targets))
    return replace(setup, session=session, others=tuple(others), beside=tuple(opened))


class Standard(States):
    """Pooled readouts less their mean and divided by their standard deviation (at least MIN_SHARE of its root mean
    square over the features) over the plain views of some examples."""

    def __init__(self, pooled: States, over: Int[np.ndarray, "n"]) -> None:
        self._pooled = pooled
        features = pooled.batch(over, np.zeros_like(over))["pooled"]
        std = features.std(axis=0)
        # A feature that hardly varies here may be far out in another view; it must not outweigh all others there.
        self._mean, self._scale = features.mean(axis=0), np.maximum(std, MIN_SHARE * np.sqrt((std**2).mean()) + 1e-12)

    @property
    def num_views(self) -> int | None:
        return self._pooled.num_views

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        features = self._pooled.batch(examples, views, pieces)["pooled"]
        return {"features": ((features - self._mean) / self._scale).astype(np.float32)}
