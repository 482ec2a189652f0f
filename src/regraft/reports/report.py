"""The report of a run, or of a later evaluation of its model, as a typed value; report.json is its JSON."""

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
"""Format version; raised when older reports can no longer be read."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """Time and seed of a run."""

    created: str
    """ISO 8601 date and time with UTC offset."""
    seed: int | None = None
    """None for evaluations, which involve no randomness."""


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """The backbone and its weights."""

    name: str
    family: str
    variant: str
    weights: str
    """Name of the weights; `random` if randomly initialised."""
    digest: str
    licence: str
    trained_on: str
    source: str
    input_px: tuple[int, ...]
    """Height and width."""
    parameters_total: int | None = None
    """Parameters of the backbone."""
    parameters_trained: int | None = None
    """Trained parameters of backbone and head."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Range of a target's values."""

    minimum: float
    median: float
    maximum: float


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """Examples of a split."""

    examples: int
    """Number of examples."""
    per_class: Mapping[str, int] = field(default_factory=dict)
    """Examples per class or label; empty for target values."""
    values: Mapping[str, Range] = field(default_factory=dict)
    """Range of each target; empty for classes and labels."""


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """An unreadable file."""

    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Training and test data."""

    name: str
    kind: str
    """Kind of task."""
    examples: int
    classes: tuple[str, ...]
    """Names of the classes, labels or targets."""
    splits: Mapping[str, SplitFacts] = field(default_factory=dict)
    """`train`, `validation` and `test`, if not empty."""
    drawn_by_us: bool | None = None
    """Whether Regraft split the data; None if unknown, or without splits."""
    groups: int | None = None
    """Number of groups; None if no groups were given."""
    notes: tuple[str, ...] = ()
    quarantined: tuple[Damaged, ...] = ()
    """Files that were left out."""
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """How the model was trained."""

    name: str
    preset: str
    """Name in the recipe."""
    cut: str
    views: int | None = None
    """Stored views per example; 0: a new one every epoch."""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts reported by the strategy."""
    curve: tuple[Mapping[str, float], ...] = ()
    """Metrics by epoch."""
    trained_stages: tuple[str, ...] = ()
    frozen_stages: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Return `partial (finetune), cut at 4e`, with the cut as code."""
        return f"{self.preset}{'' if self.preset == self.name else f' ({self.name})'}, cut at `{self.cut}`"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Difference of the main metric between two splits."""

    from_split: str
    to_split: str
    metric: str
    worse_by: Measured


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The linear probe that a fine-tuned model is compared with."""

    evaluation: Evaluation
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A baseline, on the test split: a method without a pretrained network, or the network before training."""

    title: str
    """Name of the baseline."""
    evaluation: Evaluation
    paired: PairedDifference
    """Model minus baseline on the same examples."""


@dataclass(frozen=True, kw_only=True)
class StoredCut:
    """Stored activations at one cut."""

    dtype: str
    views: int
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class StoreCheck:
    """Comparison of stored and recomputed activations."""

    examples: int
    largest_error: float | None
    """Maximum error of a logit, relative to the largest logit; None for structured outputs."""
    changed_labels: int | None
    """Number of changed labels; None for regression, where all values differ slightly."""


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """Use of the activation store."""

    cuts: Mapping[str, StoredCut]
    reduced_precision_error: Mapping[str, float]
    """By cut stored in float16: error of the features, relative to their magnitude."""
    backend: str
    check: StoreCheck | None = None
    trained_on: str = ""
    """Backend and precision of rows used for training only, if different from `backend`."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Wall-clock time of a phase."""

    name: str
    seconds: float
    cpu_seconds: float = 0.0
    """CPU seconds of all threads."""


@dataclass(frozen=True, kw_only=True)
class Advised:
    """The advice behind a run, and its predictions."""

    reason: str
    """Reason for the recommendation."""
    predicted: Measured | None
    """Predicted main metric, with a 90 % interval; None without a prediction."""
    seconds: float | None
    """Predicted seconds of the run, counted as in `Report.spent`, without early stopping; None if they could not be
    estimated."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The evaluated model of a later evaluation."""

    name: str
    path: str
    strategy: str
    cut: str
    trained_on_examples: int | None = None
    main: str = ""
    """Split of `metrics`."""
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    """Metrics from its own run."""


@dataclass(frozen=True, kw_only=True)
class Abstained:
    """Results of abstaining."""

    limit: float
    """Inputs with a higher OOD score were rejected."""
    refused: int
    evaluation: Evaluation | None
    """Evaluation of the others; None if all were rejected."""


@dataclass(frozen=True, kw_only=True)
class Report(Record):
    """All results of a run or a later evaluation; missing sections are None or empty."""

    run: Made
    backbone: BackboneFacts
    data: DataFacts
    main: str
    """Split of the main metric: `test`, `cross-validation` or `validation`; a key of `evaluation`, unless nothing could
    be evaluated."""
    evaluation: Mapping[str, Evaluation]
    """Evaluations by split."""
    format: int = FORMAT
    regraft: str = VERSION
    recipe: Mapping[str, Any] | None = None
    strategy: StrategyFacts | None = None
    gaps: tuple[Gap, ...] = ()
    """Differences between training examples and held-out ones."""
    probe: Probe | None = None
    paired: PairedDifference | None = None
    """Model minus probe on the same examples."""
    baselines: tuple[Beside, ...] = ()
    """Baselines on the same examples."""
    calibration: Calibration | None = None
    untested: str = ""
    """What cross-validation could not test, and what can be claimed nevertheless; empty if it tested everything."""
    findings: tuple[Finding, ...] = ()
    """Findings of checks on the model."""
    store: StoreFacts | None = None
    advised: Advised | None = None
    """The advice, if the recipe was chosen by one."""
    phases: tuple[Phase, ...] = ()
    peak_memory_bytes: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    model: ModelFacts | None = None
    """For a later evaluation: the model."""
    abstain: Abstained | None = None
    """For a later evaluation with abstaining: its results."""

    @property
    def section(self) -> Evaluation | None:
        """The main evaluation; None if there is none."""
        return self.evaluation.get(self.main)

    @cached_property
    def task(self) -> Task:
        """The task, built from kind and names only: it has words, but no scale of targets."""
        return TASKS.get(self.data.kind)(self.data.classes)

    @property
    def spent(self) -> dict[str, float]:
        """Seconds by phase, without advice: CPU time, or wall-clock time if an accelerator was used."""
        on_cpu = self.environment.get("device") == "cpu"
        return {one.name: one.cpu_seconds if on_cpu else one.seconds for one in self.phases if one.name != "advice"}

    @property
    def words(self) -> Words:
        """Names of the task's outputs."""
        return self.task.words()


def read_report(folder: Path) -> Report:
    """Read the report of the finished run, or of the later evaluation, in `folder`.

    Raises:
        RunError: there is none, it is damaged, or another version of regraft wrote it.
    """
    path = folder / "report.json"
    if not path.is_file():
        if (folder / "begun.json").is_file():
            raise RunError(f"{folder} holds an unfinished run.", fix="finish it: repeat the command with --resume.")
        raise RunError(
            f"{folder} contains no run: it has no report.json.", fix="pass the folder that `regraft fit` wrote."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, Mapping) and found.get("format") != FORMAT:
            raise RunError(
                f"{path} has format {found.get('format')}; regraft {VERSION} reads format {FORMAT}.",
                fix=f"repeat the run: regraft fit {folder / 'recipe.toml'} --out FOLDER; or evaluate its model.",
            )
        return from_json(Report, found)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise RunError(f"{path} cannot be read ({error}).", fix="copy the run again, or repeat it.") from error
