"""Extend: new classes for a finished model, without retraining the rest.

The network and the old classes' rows of the head stay bit for bit as they are; the rows of the new classes are solved
against them (`tasks._extension`). What stands for the old classes are old examples: those that the run was made of,
where they are still there and the same, or what the user gives. Before anything is written, old examples that had no
part in it are asked of both models (`_kept`).

Shapes: n examples, d features, o old classes, c classes.
"""

import datetime
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.activations._ahead import ahead
from regraft.activations._runner import BATCH
from regraft.bundle_format import bundle_folder
from regraft.bundles.bundle import Bundle, Model, golden_logits, load, prefixes_of, write_bundle
from regraft.errors import BadRequest, RunError
from regraft.evaluation.report import as_json, evaluate
from regraft.evaluation.unlike import extended_reference
from regraft.files import write_json, write_text
from regraft.folds import folds
from regraft.identity import derive_seed
from regraft.recipe import Source
from regraft.reports.card import model_card
from regraft.reports.markdown import render
from regraft.reports.plots import write_plots
from regraft.tasks._contract import TASKS
from regraft.tasks._extension import NewRows, choose_rows
from regraft.tasks._softmax import softmax
from regraft.values import Event, Notice, Progress
from regraft.version import VERSION
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._kept import Kept, check_kept, kept
from regraft.workbench._labelled import Labelled, labelled, of_run
from regraft.workbench._pool import Pool, pooled
from regraft.workbench._predictions import Answer, predictions_table
from regraft.workbench.fit import RunDone

MAX_LOSS = 0.02
"""Accuracy on the old classes that may be lost before nothing is written, unless told otherwise (our choice)."""

_EXTENDED = ", extended"


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
    if before.model.task.kind != "classification":
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
    check_kept(checked, pool.added, max_loss)
    for text in _told(model, checked):
        yield Notice(text=text, topic="extension")
    prefixes = prefixes_of(model, device=device, backend="auto", threads=threads)
    after = Bundle(model, {}, prefixes, threads)
    about = _about(run, before, pool, rows, checked, max_loss)
    report = _report(before, after, pool, logits, about, seed)
    facts = write_bundle(
        out / "model",
        model,
        facts=_facts(before, pool, report, about),
        golden=golden_logits(after),
        backend=after.backend_name,
    )
    _write(out, report, facts, pool, softmax(logits[pool.test] / model.temperature))
    yield RunDone(path=out, report=report)


def _features(bundle: Bundle, pool: Pool, workers: int) -> Generator[Event, None, Float[np.ndarray, "n d"]]:
    paths, found = [example.path for example in pool.examples], list[np.ndarray]()
    for batch, prepared in ahead(bundle.prepare, paths, size=BATCH, workers=workers):
        found.append(bundle.features(np.stack(prepared)))
        yield Progress(phase="features", done=(len(found) - 1) * BATCH + len(batch), total=len(paths))
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
        task=TASKS.get(old.task.kind).task(pool.classes),
        weight=np.concatenate([old.weight, rows.weight]),
        bias=np.concatenate([old.bias, rows.bias]),
        unlike=unlike,
    )


def _check(
    old: Model, pool: Pool, old_logits: Float[np.ndarray, "n o"], logits: Float[np.ndarray, "n c"], seed: int
) -> Kept:
    asked = pool.test[~pool.is_new[pool.test]]
    return kept(
        pool.targets[asked],
        softmax(old_logits[asked] / old.temperature),
        softmax(logits[asked] / old.temperature),
        old_classes=old.task.classes,
        standing=pool.standing,
        groups=pool.user_groups(asked),
        seed=seed,
    )


def _told(model: Model, checked: Kept) -> Iterator[str]:
    yield (
        f"Old classes: accuracy {checked.before:.3f} before, {checked.after:.3f} now, on {checked.num_examples} "
        f"examples {checked.standing}; {checked.num_called_new} are called a new class."
    )
    if checked.missing:
        yield f"No old example of {', '.join(checked.missing)} is there to check: what happened to it is not known."
    yield f"Probabilities are {_uncalibrated(model.temperature)}."


def _uncalibrated(temperature: float) -> str:
    return f"uncalibrated, for the old model's temperature ({temperature:.3g}) is kept and was not fitted anew"


def _about(run: Path, before: Bundle, pool: Pool, rows: NewRows, checked: Kept, max_loss: float) -> dict[str, Any]:
    folder = bundle_folder(run).resolve()
    name = folder.parent.name if folder.name == "model" else folder.name
    num_old = int((~pool.is_new[pool.train]).sum())
    return {
        "added": list(pool.added),
        "old_model": {"name": name, "digest": before.facts.get("digest")},
        "new_examples": int(pool.is_new[pool.train].sum()),
        "old_examples": num_old,
        "against": f"{num_old} old examples ({pool.origin})",
        "c": rows.c,
        "converged": rows.converged,
        "temperature": float(before.model.temperature),
        "max_loss": max_loss,
        "kept": as_json(checked),
    }


def _report(
    before: Bundle, after: Bundle, pool: Pool, logits: Float[np.ndarray, "n c"], about: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    card, facts, test = after.card, before.facts.get("facts") or {}, pool.test
    known = {name: getattr(card, name) for name in ("name", "weights", "licence", "trained_on", "source")}
    head = after.model.weight.shape[1] + 1
    measured = evaluate(
        pool.targets[test],
        softmax(logits[test] / after.model.temperature),
        pool.classes,
        groups=pool.user_groups(test),
        seed=seed,
    )
    return {
        "format": 1,
        "regraft": VERSION,
        "run": {"created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "seed": seed},
        "backbone": {
            **known,
            "digest": after.model.backbone.digest(),
            "input_px": list(card.preparation.input_px),
            "parameters_trained": len(pool.added) * head,
        },
        "data": pool.section(),
        "strategy": {
            "name": "extend",
            "preset": str(facts.get("strategy")).removesuffix(_EXTENDED) + _EXTENDED,
            "cut": facts.get("cut"),
            "frozen_stages": list(card.stages),
        },
        "main": "test",
        "evaluation": {"test": measured.to_json()},
        "gaps": [],
        "calibration": {"kept": False, "reason": _uncalibrated(after.model.temperature)},
        "extended": dict(about),
    }


def _facts(before: Bundle, pool: Pool, report: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    facts = before.facts.get("facts") or {}
    trained_on, new = facts.get("trained_on_examples"), int(pool.is_new[pool.train].sum())
    return {
        "strategy": report["strategy"]["preset"],
        "cut": facts.get("cut"),
        "trained_on_examples": None if trained_on is None else trained_on + new,
        "data": report["data"]["fingerprint"],
        "main": "test",
        "metrics": report["evaluation"]["test"]["metrics"],
        "calibration": report["calibration"],
        "extensions": [*(facts.get("extensions") or []), dict(about)],
    }


def _write(
    out: Path,
    report: Mapping[str, Any],
    facts: Mapping[str, Any],
    pool: Pool,
    probabilities: Float[np.ndarray, "s c"],
) -> None:
    asked: Sequence[Any] = [pool.examples[at] for at in pool.test.tolist()]
    answers = (
        Answer(part="test", id=example.id, group=example.group or "", target=np.asarray(target), outputs=row)
        for example, target, row in zip(asked, pool.targets[pool.test], probabilities, strict=True)
    )
    write_text(out / "predictions.csv", predictions_table("classification", pool.classes, answers))
    write_text(out / "model" / "README.md", model_card(facts, report))
    write_text(out / "report.md", render(report, write_plots(report, out)))
    write_json(out / "report.json", report)
