"""Extend: new classes for a finished model, as a fit with the strategy `extend`."""

from collections.abc import Iterator
from pathlib import Path

from regraft.recipe import Recipe, Source
from regraft.values import Event
from regraft.workbench.fit import fit


def extend(
    run: Path,
    data: Path,
    *,
    out: Path,
    old: Path | None = None,
    source: Source | None = None,
    max_loss: float = 0.02,
    seed: int = 0,
    threads: int = 0,
    resume: bool = False,
) -> Iterator[Event]:
    """Add the classes of the labelled examples at `data` to the model in `run`; yields events, the last a `RunDone`.

    `data` may hold examples of old classes too. More of these come from `old`, or where that is None from the data
    that the run was made of. `out`, `resume` and the events are those of `fit`.

    Raises:
        BadRequest: the model is no classification, or `max_loss` is out of range.
        BadData: no new class, too few examples, no old ones, or more than `max_loss` of the old classes' accuracy lost.
        RunError: the folder `out` holds something else.
    """
    recipe = Recipe(
        data=str(data),
        backbone=f"bundle:{run}",
        strategy="extend",
        seed=seed,
        threads=threads,
        source=source or Source(),
        options={"old": "" if old is None else str(old), "max_loss": max_loss},
    )
    return fit(recipe, out, resume=resume)
