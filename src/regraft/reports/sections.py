"""Sections of the report of a run or a later evaluation, besides those of the metric family."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from regraft.contracts.page import Block, Bullets, Code, Table
from regraft.evaluation.report import Evaluation
from regraft.reports.report import BackboneFacts, DataFacts, Report, StrategyFacts
from regraft.reports.verdict import known, title_of, unit_of, where
from regraft.values import Measured, shown
from regraft.words import counted, duration, lowered, size

MANY_CLASSES = 40
"""Number of classes from which on examples are not counted by class."""
MANY_FILES = 50
"""Maximum number of listed damaged files."""
MANY_IDS = 20
"""Maximum number of listed examples per finding."""
MANY_LETTERS = 120
"""Maximum number of characters of a prediction or a label in a table."""
MANY_EPOCHS = 12
"""Maximum number of listed epochs, including the first, the best and the last."""


def metrics(report: Report, section: Evaluation) -> Block:
    """Metrics, next to those of the linear probe and of a constant prediction."""
    probe = report.probe and report.probe.evaluation
    reference = section.figures.reference()
    besides = report.baselines if section is report.section else ()
    models = [section, *([probe] if probe else []), *(one.evaluation for one in besides)]
    others = [reference.metrics] if reference else []
    rows, pooled = [], section.mean_of_folds is not None
    if pooled:
        folds = [one.mean_of_folds.told() if one.mean_of_folds else "" for one in models]
        rows.append([_title(section.main_metric, section, ", mean of the folds"), *folds, *([""] * len(others))])
    for key in section.metrics:
        found = [one.get(key) for one in (*(model.metrics for model in models), *others)]
        title = _title(key, section, ", pooled" if pooled else "")
        rows.append([title, *(one.told() if one else "" for one in found)])
    header = ["Metric", report.strategy.preset if report.strategy else "model"]
    header += [*([report.words.probe] if probe else []), *(one.title for one in besides)]
    header += [reference.title] if reference else []
    levels = sorted({one.level for one in section.metrics.values()} or {0.95})
    groups = f" in {counted(section.num_groups, 'group')}" if section.num_groups else ""
    said = (
        f"Measured {where(report, section)}{groups}. In brackets: "
        f"{' and '.join(f'{level:.0%}' for level in levels)} intervals."
    )
    told = [reference.verdict if reference else ""]
    told += [f"Against {one.title} on the same examples: {one.paired.verdict}" for one in besides]
    return Block("Metrics", (said, Table(header, rows), _methods(section), *told, *section.notes, _paired(report)))


def calibrated(report: Report) -> str:
    """Return a sentence on how probabilities were calibrated, or why not."""
    if report.calibration is None:
        return "They are uncalibrated: there were too few examples for calibration."
    text = report.calibration.reason.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith(".") else ".")


def overfitting(report: Report) -> Block | None:
    """Main metric on training examples compared with held-out ones."""
    if not report.gaps:
        return None
    metric = report.gaps[0].metric
    title, found = title_of(metric), known(metric)
    verb = "falls" if found is None or found.higher_is_better else "grows"
    unit = unit_of(report.section, metric) if report.section else ""
    said = [
        f"{name} {report.evaluation[name].headline.told()}"
        for name in (report.gaps[0].from_split, *(gap.to_split for gap in report.gaps))
        if name in report.evaluation
    ]
    rows = [(gap.from_split, gap.to_split, gap.worse_by.told(signed=True)) for gap in report.gaps]
    return Block(
        "Overfitting (train against held-out)",
        (
            "The drop from training examples to held-out examples.",
            Table(("From", "to", f"{lowered(title)} {verb} by"), rows, left=2),
            f"{title}{unit}: {', '.join(said)}." if said else "",
        ),
    )


def findings(report: Report) -> Block | None:
    """Findings of checks on the model, with the affected examples."""
    said = []
    for one in report.findings:
        ids = ", ".join(one.examples[:MANY_IDS]) + (" …" if len(one.examples) > MANY_IDS else "")
        about = f" Examples: {ids}." if ids else ""
        said.append(f"{one.check}: {one.message}{about} {one.fix}".strip())
    return Block("Data checks", (Bullets(said),)) if said else None


def largest_mistakes(rows: Sequence[Sequence[str]]) -> Block:
    """Return a section with ids, predictions and labels, and the sheet of previews called `mistakes`."""
    cells = [[one if len(one) <= MANY_LETTERS else one[: MANY_LETTERS - 1] + "…" for one in row] for row in rows]
    text = "The largest or most confident mistakes, with previews of the data. Such a mistake may be a wrong label."
    return Block("Mistakes", (text, Table(("example", "predicted", "label"), cells, left=3)), ("mistakes",))


def data(report: Report) -> Block:
    """Training and test data."""
    found, examples = report.data, counted(report.data.examples, "example")
    grouped = f" in {counted(found.groups, 'group')}" if found.groups else ""
    drawn = {True: " The splits were drawn by Regraft.", False: " The splits were given with the data.", None: ""}
    return Block(
        "Data",
        (
            f"{found.name}: {examples} {report.words.labelled}{grouped}.{drawn[found.drawn_by_us]}",
            _counts(report.words.output, found) if found.splits else None,
            _ranges(found),
            Bullets(found.notes),
            *_damaged(found),
            f"Fingerprint: `{found.fingerprint}`" if found.fingerprint else "",
        ),
    )


def training(report: Report, strategy: StrategyFacts) -> Block:
    """Weights, trained stages, and training settings."""
    backbone = report.backbone
    trained = ", ".join([*(f"`{stage}`" for stage in strategy.trained_stages), "the head"])
    rows = [
        ("Backbone", f"`{backbone.name}`"),
        *weights_told(backbone),
        ("Digest", f"`{backbone.digest}`"),
        *input_told(backbone),
        ("Strategy", strategy.told),
        ("Frozen stages", ", ".join(f"`{stage}`" for stage in strategy.frozen_stages) or "none"),
        ("Trained", trained),
        ("Parameters trained", _parameters(backbone)),
    ]
    if strategy.views is not None:
        rows.append(("Views per example", "a new one every epoch" if strategy.views == 0 else str(strategy.views)))
    if held := strategy.facts.get("regulariser"):
        rows.append(("Regulariser", f"`{held['name']}`, weight {held['weight']:g}"))
    options = ", ".join(f"`{name} = {value}`" for name, value in strategy.options.items())
    return Block(
        "Training details",
        (
            "Frozen and trained stages, options and learning curve.",
            Table(("", ""), rows, left=2),
            f"Options: {options}." if options else "",
            _facts(strategy.facts),
            curve(strategy),
        ),
        ("curve",),
    )


def model(report: Report) -> Block | None:
    """The evaluated model, with the metrics of its own run."""
    found, metric = report.model, report.section.main_metric if report.section else ""
    if found is None:
        return None
    rows = [
        ("Folder", f"`{found.path}`"),
        ("Backbone", f"`{report.backbone.name}`"),
        *weights_told(report.backbone),
        *input_told(report.backbone),
        ("Strategy", f"{found.strategy}, cut at `{found.cut}`"),
        ("Trained on", counted(found.trained_on_examples or 0, "example")),
    ]
    if before := found.metrics.get(metric):
        rows.append((f"{title_of(metric)} after training", f"{before.told()} ({found.main})"))
    return Block("Model", (Table(("", ""), rows, left=2),))


def store(report: Report) -> Block | None:
    """Stored activations, and their precision."""
    found = report.store
    if found is None or not found.cuts:
        return None
    rows = [(f"`{cut}`", one.dtype, f"{one.rows:,}", size(one.bytes)) for cut, one in found.cuts.items()]
    errors = [
        f"Float16 at `{cut}` changes the features by {error:.1e} (relative)."
        for cut, error in found.reduced_precision_error.items()
    ]
    said = ""
    if check := found.check:
        changed = check.changed_labels
        labels = "no label changes" if not changed else f"{counted(changed, 'label')} of {check.examples} change"
        error = check.largest_error
        largest = "" if error is None else f"the largest error of a logit is {error:.1e} of the largest logit, and "
        examples = counted(check.examples, "example")
        said = f"Compared with the full model on recomputed inputs, on {examples}: {largest}{labels}."
    about = "The outputs of the frozen stages are computed once and stored."
    return Block("Activation store", (about, Table(("Cut", "kept as", "rows", "size"), rows, left=2), *errors, said))


def advised(report: Report) -> Block | None:
    """The advice's predictions, and the results."""
    found, section = report.advised, report.section
    if found is None or section is None:
        return None
    rows, said, strategy = list[tuple[str, ...]](), "", report.strategy
    if found.predicted is not None:
        rows.append((section.main_metric.replace("_", " "), found.predicted.told(), section.headline.told()))
        low, high = found.predicted.low, found.predicted.high
        if low is not None and high is not None:
            inside = low <= section.headline.value <= high
            said = f"The measured result lies {'inside' if inside else 'outside'} the predicted 90 % interval."
    if found.seconds is not None:
        rows.append(("CPU time", duration(found.seconds), duration(sum(report.spent.values()))))
    epochs = f"It ran {counted(len(strategy.curve), 'epoch')}." if strategy and strategy.curve else ""
    about = f"Chosen by the advice in `advice/`: {found.reason} Its time was predicted without early stopping and "
    about += f"with an empty store, which the advice has partly filled. {epochs}"
    return Block("Advice", (about, Table(("", "predicted", "measured"), rows), said))


def time_and_memory(report: Report) -> Block | None:
    """Wall-clock time by phase, peak memory, and the machine."""
    if not (report.phases or report.environment):
        return None
    spent = [(one.name, one.seconds, one.cpu_seconds) for one in report.phases]
    spent.append(("together", sum(wall for _, wall, _ in spent), sum(cpu for _, _, cpu in spent)))
    rows = [(name, duration(wall), duration(cpu)) for name, wall, cpu in spent]
    peak = report.peak_memory_bytes
    return Block(
        "Time and memory",
        (
            Table(("Phase", "wall time", "CPU time"), rows),
            f"Peak memory of the process: {size(peak)}." if peak else "",
            Bullets([f"{name}: {value}" for name, value in report.environment.items()]),
        ),
    )


def reproduction(report: Report) -> Block | None:
    """How to reproduce the model."""
    if report.recipe is None:
        return None
    seen = "It records digests of the weights and the data; runs with others are refused."
    path = str(report.recipe.get("data") or "")
    if path and not Path(path).expanduser().is_absolute():
        seen += f" Its data path, `{path}`, is relative to the folder in which the run was started."
    return Block(
        "Reproduction",
        (
            f"`recipe.toml` beside this page contains every setting, including defaults. {seen}",
            Code("regraft fit recipe.toml --out again"),
            "On the same machine, backend and thread count, the weights are bit-identical.",
        ),
    )


def weights_told(backbone: BackboneFacts) -> list[tuple[str, str]]:
    """Training data, licence and origin of the weights."""
    if backbone.weights == "random":
        return [("Weights", "random, drawn from the seed; not pretrained")]
    return [
        ("Weights trained on", backbone.trained_on or "not stated"),
        ("Terms of the weights", backbone.licence or "not stated"),
        ("From", backbone.source or "not stated"),
    ]


def input_told(backbone: BackboneFacts, how: str = "") -> list[tuple[str, str]]:
    """The row `96 × 96 pixels`, with `how` the input is made; none if inputs are not images."""
    size = " × ".join(map(str, backbone.input_px))
    return [("Input", f"{size} pixels{how}")] if size else []


_LOSSES = {
    "loss": "training loss",
    "regulariser": "regulariser loss",
    "val_loss": "validation loss",
    "val_loss_rescaled": "validation loss, rescaled",
}


def curve(strategy: StrategyFacts) -> Table | None:
    """Loss and metrics by epoch, with a limited number of rows."""
    rows = epochs(strategy)
    if not rows:
        return None
    best = int(strategy.facts.get("best_epoch") or 0)
    chosen = rows
    if len(rows) > MANY_EPOCHS:
        step = -(-len(rows) // (MANY_EPOCHS - 2))
        chosen = [row for at, row in enumerate(rows) if at % step == 0 or row["epoch"] == best or at + 1 == len(rows)]
    watched = sorted({name for row in rows for name in row if name.startswith("val_")} - set(_LOSSES))
    told = [name for name in _LOSSES if name != "val_loss_rescaled" or rescaled(rows)]
    columns = [name for name in (*told, *watched) if any(name in row for row in rows)]
    titles = _LOSSES | {name: f"validation {lowered(title_of(name.removeprefix('val_')))}" for name in watched}
    body = [
        [f"{int(row['epoch'])}{' (kept)' if int(row['epoch']) == best else ''}"]
        + [shown(row.get(name)) for name in columns]
        for row in chosen
    ]
    return Table(["Epoch", *(titles[name] for name in columns)], body)


def epochs(strategy: StrategyFacts) -> list[Mapping[str, float]]:
    """Return the curve, including the initial validation if there is one."""
    start = strategy.facts.get("start")
    return [{"epoch": 0, **start}, *strategy.curve] if start and strategy.curve else list(strategy.curve)


def rescaled(rows: Sequence[Mapping[str, float]]) -> bool:
    """Return whether rescaling changed a validation loss; it does not if the task has no probabilities."""
    return any(row.get("val_loss_rescaled") != row.get("val_loss") for row in rows)


def _title(key: str, section: Evaluation, also: str) -> str:
    """Return a metric's name, unit, and direction if lower is better."""
    found = known(key)
    lower = " (lower is better)" if found is not None and not found.higher_is_better else ""
    return title_of(key) + also + unit_of(section, key) + lower


def _methods(section: Evaluation) -> str:
    """Return how the intervals were computed, grouped by method."""
    by_method: dict[str, list[str]] = {}
    named: list[tuple[str, Measured]] = [(title_of(key), value) for key, value in section.metrics.items()]
    if section.mean_of_folds is not None:
        named.insert(0, ("mean of the folds", section.mean_of_folds))
    for name, value in named:
        by_method.setdefault(value.method or "not stated", []).append(name)
    everything = len(by_method) == 1
    said = [f"{method} ({'all' if everything else ', '.join(names)})" for method, names in by_method.items()]
    return f"Methods of the intervals: {'; '.join(said)}." if said else ""


def _paired(report: Report) -> str:
    found = report.paired
    if found is None:
        return ""
    said = f"Against the {report.words.probe}, on the same examples: {found.verdict}"
    if found.p_value is None or found.only_a_right is None:
        return said
    return (
        f"{said} Only the model is correct on {counted(found.only_a_right, 'example')}, only the probe on "
        f"{found.only_b_right:,} (exact McNemar test: p = {found.p_value:.2g})."
    )


def _counts(output: str, found: DataFacts) -> Table:
    splits = found.splits.values()
    few = found.classes if any(one.per_class for one in splits) and len(found.classes) <= MANY_CLASSES else ()
    rows = [[name, *(f"{one.per_class.get(name, 0):,}" for one in splits)] for name in few]
    rows.append(["all examples", *(f"{one.examples:,}" for one in splits)])
    return Table([output.capitalize() if few else "", *found.splits], rows)


def _ranges(found: DataFacts) -> Table | None:
    rows = [
        (name, split, shown(one.minimum), shown(one.median), shown(one.maximum))
        for split, facts in found.splits.items()
        for name, one in facts.values.items()
    ]
    return Table(("Target", "split", "minimum", "median", "maximum"), rows, left=2) if rows else None


def _damaged(found: DataFacts) -> Iterator[str | Table]:
    files = found.quarantined
    if not files:
        yield "All files could be read."
        return
    yield f"{counted(len(files), 'file')} could not be read and left out:"
    yield Table(("File", "why"), [(one.id, one.reason) for one in files[:MANY_FILES]], left=2)
    if len(files) > MANY_FILES:
        yield f"… and {len(files) - MANY_FILES} more in report.json."


def _parameters(backbone: BackboneFacts) -> str:
    total = f" (the backbone has {backbone.parameters_total:,})" if backbone.parameters_total else ""
    return f"{shown(None) if backbone.parameters_trained is None else f'{backbone.parameters_trained:,}'}{total}"


def _facts(facts: Mapping[str, object]) -> str:
    """Return the strategy's facts that fit on one line."""
    told = ", ".join(
        f"{name.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in facts.items()
        if isinstance(value, bool | int | float | str) and value != ""
    )
    return f"Notices: {told}." if told else ""
