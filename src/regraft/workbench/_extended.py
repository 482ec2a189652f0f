"""What an extended model leaves in its folder beside itself: report, pages, predictions, and the facts of its bundle.

Letters: n examples, s of them kept back, c classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.bundle_format import bundle_folder
from regraft.bundles.bundle import Bundle
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.report import evaluate
from regraft.files import write_text
from regraft.records import to_json
from regraft.reports.card import model_card
from regraft.reports.page import write_pages
from regraft.reports.report import Extension, KeptClasses, Report, StrategyFacts
from regraft.tasks._extension import NewRows
from regraft.tasks._softmax import softmax
from regraft.workbench._finish import backbone_facts, made_now
from regraft.workbench._kept import Kept
from regraft.workbench._pool import Pool
from regraft.workbench._predictions import predicted, predictions_table

_EXTENDED = ", extended"


def uncalibrated(temperature: float) -> str:
    """What there is to say of the extended model's probabilities, as it continues a sentence."""
    return f"uncalibrated, for the old model's temperature ({temperature:.3g}) is kept and was not fitted anew"


def about_extension(
    run: Path, before: Bundle, pool: Pool, rows: NewRows, checked: Kept | None, max_loss: float
) -> Extension:
    """What was added to what, how, and whether the old classes were kept: for report and bundle."""
    folder = bundle_folder(run).resolve()
    num_old = int((~pool.is_new[pool.train]).sum())
    return Extension(
        added=pool.added,
        old_model=folder.parent.name if folder.name == "model" else folder.name,
        old_digest=str(before.facts.get("digest")),
        new_examples=int(pool.is_new[pool.train].sum()),
        old_examples=num_old,
        against=f"{num_old} old examples ({pool.origin})",
        c=rows.c,
        converged=rows.converged,
        temperature=float(before.model.temperature),
        max_loss=max_loss,
        kept=None if checked is None else KeptClasses(**vars(checked)),
    )


def report_of(
    before: Bundle, after: Bundle, pool: Pool, logits: Float[np.ndarray, "n c"], about: Extension, seed: int
) -> Report:
    """The report; `logits` are those of every example of the pool."""
    facts, test = before.facts.get("facts") or {}, pool.test
    head = after.model.weight.shape[1] + 1
    measured = evaluate(
        pool.targets[test],
        softmax(logits[test] / after.model.temperature),
        pool.classes,
        groups=pool.user_groups(test),
        seed=seed,
    )
    unknown = dict.fromkeys(
        ("log_loss_before", "log_loss_after", "ece_before", "ece_after", "ece_reference"), float("nan")
    )
    return Report(
        run=made_now(seed),
        backbone=backbone_facts(after.card, after.model.backbone.digest(), trained=len(pool.added) * head),
        data=pool.section(),
        strategy=StrategyFacts(
            name="extend",
            preset=str(facts.get("strategy")).removesuffix(_EXTENDED) + _EXTENDED,
            cut=str(facts.get("cut")),
            frozen_stages=tuple(after.card.stages),
        ),
        main="test",
        evaluation={"test": measured},
        calibration=Calibration(
            temperature=float(after.model.temperature), kept=False, reason=uncalibrated(after.model.temperature),
            num_examples=0, **unknown,
        ),
        extension=about,
    )  # fmt: skip


def facts_of(before: Bundle, pool: Pool, report: Report, about: Extension) -> dict[str, Any]:
    """What bundle.json says of how the model was made; every addition so far is kept in `extensions`."""
    facts = before.facts.get("facts") or {}
    trained_on, new = facts.get("trained_on_examples"), int(pool.is_new[pool.train].sum())
    return {
        "strategy": report.strategy.preset if report.strategy else "",
        "cut": facts.get("cut"),
        "trained_on_examples": None if trained_on is None else trained_on + new,
        "data": report.data.fingerprint,
        "main": "test",
        "metrics": to_json(report.evaluation["test"].metrics),
        "calibration": to_json(report.calibration),
        "extensions": [*(facts.get("extensions") or []), to_json(about)],
    }


def write_all(
    out: Path,
    report: Report,
    facts: Mapping[str, Any],
    pool: Pool,
    probabilities: Float[np.ndarray, "s c"],
) -> None:
    """Predictions, card, pages and, last, report.json; `probabilities` are those of the examples kept back."""
    lines = predicted("test", [pool.examples[at] for at in pool.test.tolist()], probabilities)
    write_text(out / "predictions.csv", predictions_table(report.task, lines))
    write_text(out / "model" / "README.md", model_card(facts, report))
    write_pages(report, out)
