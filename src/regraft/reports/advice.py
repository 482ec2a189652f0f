"""Advice as a typed value and as a report: which backbone to reuse, how much of it to retrain, and the evidence."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from regraft.advisor.cost import Cost
from regraft.advisor.noise import Curve
from regraft.advisor.similarity import Similarity
from regraft.contracts.metric import metric as metric_named
from regraft.contracts.page import Block, Bullets, Code, Table
from regraft.records import from_json
from regraft.reports.page import write_page
from regraft.values import NOTHING, Measured, now, shown
from regraft.version import VERSION
from regraft.words import counted, duration, listed, lowered, size

FORMAT = 1
WORTH = 0.01
"""Share of the best measured value that a cheaper recipe may lie behind it and still be advised, if the two are not
distinguishable. Our choice: a gap is the best estimate of what the cheaper one loses, however uncertain it is."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A candidate recipe."""

    backbone: str
    strategy: str
    cut: str
    measured: Measured | None
    """Metric on held-out training examples; None if there was no time to try it."""
    predicted: Measured | None
    """Predicted metric on a new test set, with a 90 % interval; None without a measurement."""
    tied: bool
    """Whether it is not distinguishable from the best measured one."""
    cost: Cost | None
    """Cost of a fit on all training examples on this machine; None if it cannot be estimated."""
    reason: str
    """Reason for its rank."""

    @property
    def name(self) -> str:
        """Backbone and strategy."""
        return f"{self.backbone} {self.strategy}"


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Results of a frozen backbone."""

    name: str
    probe: Measured
    """Main metric of its linear probe, out of fold."""
    scores: Mapping[str, float | None]
    """Transferability scores by title; None if undefined. Empty if there was no time."""
    similarity: Similarity | None = None
    """Distance of the features from those of the pretraining data; None if these are not known."""
    inside: "tuple[Looked, ...]" = ()
    """The same of the stages inside it and its output, by cut, on a sample of the training examples."""


@dataclass(frozen=True, kw_only=True)
class AdviceReport:
    """The complete advice."""

    data: str
    described: str
    metric: str
    num_train: int
    """Number of training and validation examples."""
    num_test: int
    """Number of test examples, which are not used; 0: cross-validation will be used."""
    num_groups: int | None
    noise_floor: float | None
    """Smallest difference in accuracy that this number of test examples can resolve; None for other metrics, and if
    nothing was measured."""
    disagreement: float
    """Estimated share of examples that exactly one of two models predicts correctly, for the noise floor."""
    backbones: tuple[Looked, ...]
    candidates: tuple[Candidate, ...]
    """Candidates, best first; those not tried last."""
    curve: Curve | None
    weakest: str
    """What to collect first, as a sentence; empty if nothing stands out."""
    budget_s: float
    seconds: float
    created: str = field(default_factory=now)
    not_done: tuple[str, ...] = ()
    format: int = FORMAT
    regraft: str = VERSION

    @property
    def advised(self) -> Candidate:
        """Return the cheapest candidate that is not distinguishable from the best and hardly behind it (`WORTH`)."""
        best = self.candidates[0]
        value = best.measured.value if best.measured else 0.0
        tied = [one for one in self.candidates
                if one.tied and one.measured and abs(one.measured.value - value) <= WORTH * abs(value)]  # fmt: skip
        return min(tied or [best], key=lambda one: one.cost.seconds if one.cost else float("inf"))


def verdict(report: AdviceReport) -> str:
    """Return the noise floor and the recommendation, as text."""
    said = []
    where = f"{counted(report.num_test, 'test example')}" if report.num_test else "cross-validation"
    if report.noise_floor is not None:
        said.append(f"With {where}, differences in accuracy below about {report.noise_floor:.1%} cannot be detected.")
    tied = [one.name for one in report.candidates if one.tied]
    best = report.advised
    if len(tied) > 1:
        said.append(f"Not distinguishable here: {listed(tied, 6)}. Take {best.name}, the cheapest of those that are "
                    f"within {WORTH:.0%} of the best.")  # fmt: skip
    else:
        said.append(f"Take {best.name}: {best.reason}")
    return " ".join(said)


def blocks(report: AdviceReport) -> list[Block]:
    """Return the sections of the report."""
    title = lowered(metric_named(report.metric).title)
    rows = [
        [one.name, one.cut or NOTHING, "yes" if one.tied else "no" if one.measured else NOTHING,
         one.measured.told() if one.measured else NOTHING, one.predicted.told() if one.predicted else NOTHING,
         duration(one.cost.seconds) if one.cost else NOTHING, size(one.cost.memory_bytes) if one.cost else NOTHING,
         size(one.cost.disk_bytes) if one.cost else NOTHING]
        for one in report.candidates
    ]  # fmt: skip
    header = ["recipe", "cut", "as good as the best", title, "predicted test result (90 %)", "a fit", "memory", "disk"]
    groups = f" in {counted(report.num_groups, 'group')}" if report.num_groups else ""
    best = report.advised
    command = f"regraft fit DATA --backbone {best.backbone} --strategy {best.strategy}"
    floor = ""
    if report.noise_floor is not None:
        floor = (
            f"A paired test with this number of test examples detects a difference of {report.noise_floor:.1%} with "
            f"80 % power if exactly one of the two models is correct on {report.disagreement:.0%} of them, as here."
        )
    data = f"{report.described}. Used: {counted(report.num_train, 'training and validation example')}{groups}; no "
    counting = (
        "The time of a fit is CPU time (wall time with an accelerator), without early stopping, from an empty store, "
        "estimated from layer costs and timed batches and corrected by the pilot."
    )
    reasons = Bullets([f"{one.name}: {one.reason}" for one in report.candidates])
    scoring = "Linear probes and transferability scores on the training examples; scores do not affect the ranking."
    far = [f"{one.name}: {one.similarity.told()}" for one in report.backbones if one.similarity]
    comparing = (
        "Distance between the features of the training examples and those of pretraining examples, in "
        "units in which the latter have a total variance of 1. By chance: between two samples of the "
        "pretraining data. These distances do not affect the ranking."
    )
    found = [
        Block("Noise floor", (f"{data}test label was used.", floor)),
        Block("Recipes", (Table(header, rows, left=3), reasons, counting, Code(command, "sh"))),
        *([Block("Backbones", (scoring, _table("backbone", title, report.backbones)))] if report.backbones else []),
        *([Block("Task similarity", (comparing, Bullets(far)))] if far else []),
    ]
    if stages := [one for one in report.backbones if one.inside]:
        tables = [part for one in stages for part in (f"{one.name}:", _table("cut", title, one.inside))]
        comparing = "The same after each stage, on a sample of the training examples, features averaged over positions."
        found.append(Block("Stages inside the backbones", (comparing, *tables)))
    if report.curve is not None:
        line = [f"{size_:,}: {error:.3f}" for size_, error in zip(report.curve.sizes, report.curve.errors, strict=True)]
        said = f"Error of the probe by training examples ({', '.join(line)}). Twice the examples: "
        said += f"{report.curve.doubled.told()} (90 %), extrapolated by a power law with exponent "
        f"{report.curve.exponent:.2f}."
        found.append(Block("Learning curve", (said, report.weakest)))
    changes = "The advice could change with more time for the pilot, more test examples, other backbones or options."
    limits = [*report.not_done, changes]
    found.append(Block("Not verified", ("Limits of these figures.", Bullets(limits))))
    return found


def _table(what: str, title: str, rows: Sequence[Looked]) -> Table:
    scores = list(dict.fromkeys(score for one in rows for score in one.scores))
    looked = [[one.name, one.probe.told(), *(shown(one.scores.get(score)) for score in scores)] for one in rows]
    return Table([what, f"probe: {title}", *scores], looked)


def read_advice(folder: Path) -> AdviceReport:
    """Read the advice written by `write_advice`."""
    return from_json(AdviceReport, json.loads((folder / "report.json").read_text(encoding="utf-8")))


def write_advice(report: AdviceReport, folder: Path) -> None:
    """Write report.md, report.html and, last, report.json."""
    took = f"{duration(report.seconds)} of {duration(report.budget_s)}"
    lead = [verdict(report), f"Created {report.created.replace('T', ' ')} in {took}, regraft {report.regraft}."]
    write_page(folder, report, f"Advice on {report.data}", lead, blocks(report), {})
