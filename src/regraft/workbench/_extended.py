"""What an extended model leaves in its folder beside itself: report, pages, predictions, and the facts of its bundle.

Letters: n examples, s of them kept back, c classes.
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.bundle_format import bundle_folder
from regraft.bundles.bundle import Bundle
from regraft.contracts.linear import Solution
from regraft.evaluation.report import as_json, evaluate
from regraft.files import write_json, write_text
from regraft.reports.card import model_card
from regraft.reports.markdown import render
from regraft.reports.plots import write_plots
from regraft.tasks.probabilities import softmax
from regraft.version import VERSION
from regraft.workbench._kept import Kept
from regraft.workbench._pool import Pool
from regraft.workbench._predictions import Answer, predictions_table

_EXTENDED = ", extended"


def uncalibrated(temperature: float) -> str:
    """What there is to say of the extended model's probabilities, as it continues a sentence."""
    return f"uncalibrated, for the old model's temperature ({temperature:.3g}) is kept and was not fitted anew"


def about_extension(
    run: Path, before: Bundle, pool: Pool, rows: Solution, checked: Kept | None, max_loss: float
) -> dict[str, Any]:
    """What was added to what, how, and whether the old classes were kept, as JSON: for report and bundle."""
    folder = bundle_folder(run).resolve()
    name = folder.parent.name if folder.name == "model" else folder.name
    num_old = int((~pool.is_new[pool.train]).sum())
    return {
        "added": list(pool.added),
        "old_model": {"name": name, "digest": before.facts.get("digest")},
        "new_examples": int(pool.is_new[pool.train].sum()),
        "old_examples": num_old,
        "against": f"{num_old} old examples ({pool.origin})",
        "c": rows.facts["c"],
        "converged": rows.facts["converged"],
        "temperature": float(before.model.temperature),
        "max_loss": max_loss,
        "kept": as_json(checked),
    }


def report_of(
    before: Bundle, after: Bundle, pool: Pool, logits: Float[np.ndarray, "n c"], about: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """What report.json holds; `logits` are those of every example of the pool."""
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
            "input_px": list(card.input_px),
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
        "calibration": {"kept": False, "reason": uncalibrated(after.model.temperature)},
        "extended": dict(about),
    }


def facts_of(before: Bundle, pool: Pool, report: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """What bundle.json says of how the model was made; every addition so far is kept in `extensions`."""
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


def write_pages(
    out: Path,
    report: Mapping[str, Any],
    facts: Mapping[str, Any],
    pool: Pool,
    probabilities: Float[np.ndarray, "s c"],
) -> None:
    """Predictions, card, page and, last, report.json; `probabilities` are those of the examples kept back."""
    asked: Sequence[Any] = [pool.examples[at] for at in pool.test.tolist()]
    answers = (
        Answer(part="test", id=example.id, group=example.group or "", target=np.asarray(target), outputs=row)
        for example, target, row in zip(asked, pool.targets[pool.test], probabilities, strict=True)
    )
    write_text(out / "predictions.csv", predictions_table("classification", pool.classes, answers))
    write_text(out / "model" / "README.md", model_card(facts, report))
    write_text(out / "report.md", render(report, write_plots(report, out)))
    write_json(out / "report.json", report)
