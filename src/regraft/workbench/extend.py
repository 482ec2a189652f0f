"""Extend: new classes for a finished model, without retraining the rest.

The network and the old classes' rows of the head stay bit for bit as they are; the rows of the new classes are solved
against them (`tasks._extension`). What stands for the old classes are old examples: those that the run was made of,
where they are still there and the same, or what the user gives. Before anything is written, old examples that had no
part in it are asked of both models (`_kept`).

Shapes: n examples, d features, o old classes, c classes.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from regraft.activations.batches import ahead
from regraft.activations.runner import BATCH
from regraft.bundles.bundle import Bundle, Model, golden_logits, load, prefixes_of, stacked, write_bundle
from regraft.contracts.task import TASKS
from regraft.errors import BadRequest, RunError
from regraft.evaluation.ood import extended_reference
from regraft.folds import folds
from regraft.identity import derive_seed
from regraft.recipe import Source
from regraft.tasks._extension import NewRows, choose_rows
from regraft.tasks._softmax import softmax
from regraft.values import Event, Notice, Progress
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._extended import about_extension, facts_of, report_of, uncalibrated, write_all
from regraft.workbench._kept import Kept, check_kept, kept
from regraft.workbench._labelled import Labelled, labelled, of_run
from regraft.workbench._pool import Pool, pooled
from regraft.workbench.fit import RunDone

MAX_LOSS = 0.02
"""Accuracy on the old classes that may be lost before nothing is written, unless told otherwise (our choice)."""


def extend(
    run: Path,
    data: Path,
    *,
    out: Path,
    old: Path | None = None,
    source: Source | None = None,
    max_loss: float = MAX_LOSS,
    seed: int = 0,
    threads: int = 0,
) -> Iterator[Event]:
    """Add the classes of the labelled examples at `data` to the model in `run`; yields events, the last a `RunDone`.

    `data` may hold examples of old classes too. More of these come from `old`, or where that is None from the data
    that the run was made of. The folder `out` then holds what a run's does, but for the recipe.

    Raises:
        BadRequest: the model is no classification, or `max_loss` is out of range.
        BadData: no new class, too few examples, no old ones, or more than `max_loss` of the old classes' accuracy lost.
        RunError: `out` is there already.
    """
    source, threads = source or Source(), num_threads(threads)
    if not 0 <= max_loss <= 1:
        raise BadRequest(f"max_loss is {max_loss}; a share from 0 to 1 is expected.", fix="write 0.02, for instance.")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(f"{out} is there already.", fix="give another --out, or delete it: nothing is overwritten.")
    device = choose_device("auto")
    before = load(run, device=device, threads=threads, workers=threads)
    if not before.model.task.weighable:
        raise BadRequest(
            f"The model in {run} answers {before.model.task.kind}; classes are added to a classification.",
            fix="give a model that was fitted on classes.",
        )
    fresh = yield from labelled(data, source, seed=seed, workers=threads)
    others: Labelled | None
    if old is not None:
        others = yield from labelled(old, source, seed=derive_seed(seed, "old"), workers=threads)
    else:
        others = yield from of_run(run, seed=seed, workers=threads)
    pool = yield from pooled(before.classes, fresh, others)
    features = yield from _features(before, pool, threads)
    old_logits = before.model.logits(features)
    rows = _solved(before, pool, features, old_logits, seed)
    model = _model(before.model, pool, rows, features, seed)
    logits = model.logits(features)
    checked = _check(before.model, pool, old_logits, logits, seed)
    if checked is not None:
        check_kept(checked, pool.added, max_loss)
    for text in _told(model, checked):
        yield Notice(text=text, topic="extension")
    prefixes = prefixes_of(model, device=device, backend="auto", threads=threads)
    after = Bundle(model, {}, prefixes, threads)
    about = about_extension(run, before, pool, rows, checked, max_loss)
    report = report_of(before, after, pool, logits, about, seed)
    facts = write_bundle(
        out / "model",
        model,
        facts=facts_of(before, pool, report, about),
        golden=golden_logits(after),
        backend=after.backend_name,
    )
    write_all(out, report, facts, pool, softmax(logits[pool.test] / model.temperature))
    yield RunDone(path=out, report=report)


def _features(bundle: Bundle, pool: Pool, workers: int) -> Generator[Event, None, Float[np.ndarray, "n d"]]:
    contents, found = [example.contents for example in pool.examples], list[np.ndarray]()
    for batch, prepared in ahead(bundle.prepare, contents, size=BATCH, workers=workers):
        found.append(bundle.features(stacked(prepared)))
        yield Progress(phase="features", done=(len(found) - 1) * BATCH + len(batch), total=len(contents))
    return np.concatenate(found)


def _solved(
    bundle: Bundle, pool: Pool, features: Float[np.ndarray, "n d"], old_logits: Float[np.ndarray, "n o"], seed: int
) -> NewRows:
    """The new rows, on the scale of the old ones: solved under the temperature that logits are divided by."""
    train, temperature = pool.train, bundle.model.temperature
    trained_on = (bundle.facts.get("facts") or {}).get("trained_on_examples")
    dealt = folds(pool.targets[train], pool.groups[train], 5, derive_seed(seed, "extend", "folds"))
    rows = choose_rows(
        features[train],
        old_logits[train] / temperature,
        pool.targets[train],
        num_new=len(pool.added),
        fold_of=dealt.of_example,
        weights=pool.weights(trained_on),
    )
    return replace(rows, weight=rows.weight * np.float32(temperature), bias=rows.bias * np.float32(temperature))


def _model(old: Model, pool: Pool, rows: NewRows, features: Float[np.ndarray, "n d"], seed: int) -> Model:
    """The old model with the new rows, and the new classes among those that inputs are compared with."""
    unlike, new = old.unlike, pool.train[pool.is_new[pool.train]]
    if unlike is not None:
        classes = pool.targets[new] - len(old.task.classes)
        dealt = folds(classes, pool.groups[new], 5, derive_seed(seed, "extend", "unlike"))
        unlike = extended_reference(unlike, features[new], classes, dealt.of_example)
    return replace(
        old,
        task=TASKS.get(old.task.kind)(pool.classes),
        weight=np.concatenate([old.weight, rows.weight]),
        bias=np.concatenate([old.bias, rows.bias]),
        unlike=unlike,
    )


def _check(
    old: Model, pool: Pool, old_logits: Float[np.ndarray, "n o"], logits: Float[np.ndarray, "n c"], seed: int
) -> Kept | None:
    """Both models on the old examples that were kept back; None where there are none."""
    asked = pool.test[~pool.is_new[pool.test]]
    if not len(asked):
        return None
    return kept(
        pool.targets[asked],
        softmax(old_logits[asked] / old.temperature),
        softmax(logits[asked] / old.temperature),
        old_classes=old.task.classes,
        standing=pool.standing,
        groups=pool.user_groups(asked),
        seed=seed,
    )


def _told(model: Model, checked: Kept | None) -> Iterator[str]:
    if checked is None:
        yield "Whether the old classes are kept could not be checked: no old example is left to ask about (see --old)."
    else:
        yield from _told_of(checked)
    yield f"Probabilities are {uncalibrated(model.temperature)}."


def _told_of(checked: Kept) -> Iterator[str]:
    yield (
        f"Old classes: accuracy {checked.before:.3f} before, {checked.after:.3f} now, on {checked.num_examples} "
        f"examples {checked.standing}; {checked.num_called_new} are called a new class."
    )
    if checked.missing:
        yield f"No old example of {', '.join(checked.missing)} is there to check: what happened to it is not known."
