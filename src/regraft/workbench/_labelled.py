"""Labelled examples for adding classes to a finished model: what is learned from, and what is kept back.

Shapes: n examples of a data set, t of them to learn from, s kept back.
"""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from regraft.data.dataset import Dataset
from regraft.data.scan import Scanned
from regraft.data.splits import Splits, draw
from regraft.errors import BadData, RegraftError
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.recipe import Recipe, Source, Target, read_recipe
from regraft.values import Event, Notice
from regraft.workbench.session import open_session, opening, scanning

UNSEEN = "which the old model had not seen"
SEEN = "which the old model was trained on, so it knows them too well"
UNKNOWN = "of which it is not known whether the old model was trained on them"


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """One data set, opened, scanned and divided."""

    dataset: Dataset
    """Its examples."""
    scanned: Scanned
    """What decoding them showed."""
    train: Int[np.ndarray, "t"]
    """Positions to learn from."""
    test: Int[np.ndarray, "s"]
    """Positions to measure on."""
    groups: Int[np.ndarray, "n"]
    """Group of every example, near copies together."""
    standing: str
    """What the examples kept back are to the old model, as a clause."""
    notes: tuple[Notice, ...]
    """What was ignored, assumed or drawn."""


def labelled(path: Path, source: Source, *, seed: int, workers: int) -> Generator[Event, None, Labelled]:
    """The examples at `path`, of one class or many; yields events. Where no test part is given, a share is kept back.

    Raises:
        BadData: there is nothing to use.
        LeakedSplit: a given division shares content.
    """
    dataset = yield from opening(path, source, task="auto", target=Target(), learnable=False)
    yield from dataset.notes
    scanned = yield from scanning(dataset, source, workers=workers)
    parts = draw(
        scanned.dataset,
        scanned,
        seed=seed,
        val_share=source.val_share,
        test_share=source.test_share,
        allow_leaks=source.allow_leaks,
    )
    given = len(parts.test) and not parts.drawn_by_us
    notes = (*dataset.notes, *(parts.notes if given else ()))
    return _divided(scanned.dataset, scanned, parts, UNKNOWN, notes, seed=seed, share=source.test_share)


def of_run(run: Path, *, seed: int, workers: int) -> Generator[Event, None, Labelled | None]:
    """The very examples that the run in the folder `run` was made of, in its own parts; None where they are not there
    or not the same any more, which a notice says."""
    if not (run / "recipe.toml").is_file():
        yield Notice(text=f"{run} holds no recipe, so its own examples are not known.", topic="data")
        return None
    recipe: Recipe = read_recipe(run / "recipe.toml")
    try:
        session = yield from open_session(recipe, workers=workers)
    except RegraftError as error:
        yield Notice(text=f"The data that the model was made of cannot be used: {error.message}", topic="data")
        return None
    if recipe.seen.data and session.dataset.fingerprint != recipe.seen.data:
        yield Notice(text=f"{session.dataset.root} has changed since the model was made of it.", topic="data")
        return None
    tested = bool(len(session.splits.test))
    share = recipe.source.test_share
    standing = UNSEEN if tested else SEEN
    return _divided(session.dataset, session.scanned, session.splits, standing, (), seed=seed, share=share)


def _divided(
    dataset: Dataset,
    scanned: Scanned,
    parts: Splits,
    standing: str,
    notes: tuple[Notice, ...],
    *,
    seed: int,
    share: float,
) -> Labelled:
    train, test = np.sort(np.concatenate([parts.train, parts.val])), parts.test
    if not len(test):
        if len(np.unique(parts.groups[train])) < 2:
            raise BadData(
                f"{dataset.root} holds {len(train)} usable examples, all of one group; some to learn from and some to "
                "test on are needed.",
                fix="add examples.",
            )
        held = split(dataset.targets[train], parts.groups[train], share or 0.2, derive_seed(seed, "extend", "test"))
        train, test = train[~held], train[held]
        told = f"{len(test)} of {len(held)} examples of {dataset.root.name} were kept back to measure on (seeded)."
        notes = (*notes, Notice(text=told, topic="split"))
    return Labelled(
        dataset=dataset, scanned=scanned, train=train, test=test, groups=parts.groups, standing=standing, notes=notes
    )
