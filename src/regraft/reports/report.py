"""The report of a run, or of a later evaluation of its model, as one typed value; report.json is its JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from regraft.contracts.page import Finding, Words
from regraft.contracts.task import TASKS, Task
from regraft.errors import RunError
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.differences import PairedDifference
from regraft.evaluation.report import Evaluation
from regraft.records import Record, from_json
from regraft.values import Measured
from regraft.version import VERSION

FORMAT = 2
"""Raised whenever what is written before can no longer be read."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """When, and from which seed."""

    created: str
    """Date and time with the offset from UTC, ISO 8601."""
    seed: int | None = None
    """None for an evaluation, which draws nothing."""


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """Which weights the model was made from."""

    name: str
    family: str
    variant: str
    weights: str
    """`random` where they were drawn."""
    digest: str
    licence: str
    trained_on: str
    source: str
    input_px: tuple[int, ...]
    """Height and width."""
    parameters_total: int | None = None
    """Of the backbone."""
    parameters_trained: int | None = None
    """Of backbone and head."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where the values of a target lie."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """The examples of a split."""

    examples: int
    """How many."""
    per_class: Mapping[str, int] = field(default_factory=dict)
    """How many are of each class, or have each label; empty for targets."""
    values: Mapping[str, Range] = field(default_factory=dict)
    """The range of each target; empty for classes and labels."""


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file that could not be read."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the model was trained and evaluated on."""

    name: str
    kind: str
    """The kind of task."""
    examples: int
    classes: tuple[str, ...]
    """Names of the classes, labels or targets."""
    splits: Mapping[str, SplitFacts] = field(default_factory=dict)
    """`train`, `validation`, `test`: those that have examples."""
    drawn_by_us: bool | None = None
    """Whether the splits were drawn here; None where nobody knows, or there are none."""
    groups: int | None = None
    """How many; None where no groups were given."""
    notes: tuple[str, ...] = ()
    quarantined: tuple[Damaged, ...] = ()
    """The files that were left out."""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """How the model was trained."""

    name: str
    preset: str
    """What the recipe called it."""
    cut: str
    views: int | None = None
    """Views per example; 0: a new one every epoch."""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the strategy found on the way."""
    curve: tuple[Mapping[str, float], ...] = ()
    """What was watched, by epoch."""
    trained_stages: tuple[str, ...] = ()
    frozen_stages: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """`partial (finetune), cut at 4e`, the cut as code."""
        return f"{self.preset}{'' if self.preset == self.name else f' ({self.name})'}, cut at `{self.cut}`"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How much worse the main metric is on one split than on another."""

    from_split: str
    to_split: str
    metric: str
    worse_by: Measured


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The linear probe beside a tuned model."""

    evaluation: Evaluation
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A baseline on the test split: a plain method without a pretrained network."""

    title: str
    """What it is called."""
    evaluation: Evaluation
    paired: PairedDifference
    """The model less the baseline on the same examples."""


@dataclass(frozen=True, kw_only=True)
class StoredCut:
    """What the activation store keeps at a cut."""

    dtype: str
    views: int
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class StoreCheck:
    """Stored activations against recomputed ones."""

    examples: int
    largest_error: float | None
    """Of a logit, as a share of the largest logit; None where the outputs have no distance."""
    changed_labels: int | None
    """None where predictions are numbers, of which every one differs somewhat."""


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What was kept of the frozen stages' work."""

    cuts: Mapping[str, StoredCut]
    reduced_precision_error: Mapping[str, float]
    """By cut kept in float16, the error of the features as a share of their size."""
    backend: str
    check: StoreCheck | None = None
    trained_on: str = ""
    """Backend and precision of rows that were only trained on, where they are not `backend`'s."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Wall time of a phase."""

    name: str
    seconds: float
    cpu_seconds: float = 0.0
    """Of all threads."""


@dataclass(frozen=True, kw_only=True)
class Advised:
    """The advice that a run took, and what came of it."""

    reason: str
    """Why this recipe was advised."""
    predicted: Measured | None
    """The main metric on examples that judge the model, with a 90 % interval; None where nothing was predicted."""
    seconds: float | None
    """Seconds that were predicted of the run, as `Report.spent` counts them, without early stopping; None where they
    could not be counted."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The model that a later evaluation is about."""

    name: str
    path: str
    strategy: str
    cut: str
    trained_on_examples: int | None = None
    main: str = ""
    """The split that `metrics` come from."""
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    """What it showed when it was made."""


@dataclass(frozen=True, kw_only=True)
class Abstained:
    """What abstaining did."""

    limit: float
    """Inputs with a higher out-of-distribution score were refused."""
    refused: int
    evaluation: Evaluation | None
    """Of the others; None where all were refused."""


@dataclass(frozen=True, kw_only=True)
class Report(Record):
    """Everything that a run, or a later evaluation, found; sections that it lacks are None or empty."""

    run: Made
    backbone: BackboneFacts
    data: DataFacts
    main: str
    """Where the main figure comes from: `test`, `cross-validation` or `validation`; a key of `evaluation`, unless
    nothing could be measured."""
    evaluation: Mapping[str, Evaluation]
    """By split."""
    format: int = FORMAT
    regraft: str = VERSION
    recipe: Mapping[str, Any] | None = None
    strategy: StrategyFacts | None = None
    gaps: tuple[Gap, ...] = ()
    """From the training examples to those that the model never saw."""
    probe: Probe | None = None
    paired: PairedDifference | None = None
    """The model less the probe on the same examples."""
    baselines: tuple[Beside, ...] = ()
    """Plain methods on the same examples."""
    calibration: Calibration | None = None
    untested: str = ""
    """What cross-validation could not test, and what can be claimed all the same; empty where it tested everything."""
    findings: tuple[Finding, ...] = ()
    """What checks of the model have to say."""
    store: StoreFacts | None = None
    advised: Advised | None = None
    """Where the recipe was chosen by an advice."""
    phases: tuple[Phase, ...] = ()
    peak_memory_bytes: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    model: ModelFacts | None = None
    """Of a later evaluation."""
    abstain: Abstained | None = None
    """Of a later evaluation, where the model was allowed to."""

    @property
    def section(self) -> Evaluation | None:
        """The evaluation that the main figure comes from; None where nothing was measured."""
        return self.evaluation.get(self.main)

    @cached_property
    def task(self) -> Task:
        """The task, as far as kind and names make one: it knows its words, not the scale of targets."""
        return TASKS.get(self.data.kind)(self.data.classes)

    @property
    def spent(self) -> dict[str, float]:
        """Seconds by phase: of the CPU, or on the wall where an accelerator did the work. Advice is no part of it."""
        on_cpu = self.environment.get("device") == "cpu"
        return {one.name: one.cpu_seconds if on_cpu else one.seconds for one in self.phases if one.name != "advice"}

    @property
    def words(self) -> Words:
        """What the task calls its outputs."""
        return self.task.words()


def read_report(folder: Path) -> Report:
    """The report of the finished run, or of the later evaluation, in `folder`.

    Raises:
        RunError: there is none, it is damaged, or another version of regraft wrote it.
    """
    path = folder / "report.json"
    if not path.is_file():
        if (folder / "begun.json").is_file():
            raise RunError(f"{folder} holds an unfinished run.", fix="finish it: start it again with --resume.")
        raise RunError(f"{folder} holds no run: there is no report.json.", fix="give the folder that fit wrote.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, Mapping) and found.get("format") != FORMAT:
            raise RunError(
                f"{path} has format {found.get('format')}; regraft {VERSION} reads format {FORMAT}.",
                fix=f"make the run again: regraft fit {folder / 'recipe.toml'} --out FOLDER; or evaluate its model.",
            )
        return from_json(Report, found)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise RunError(f"{path} cannot be read ({error}).", fix="copy the run again, or make it again.") from error
