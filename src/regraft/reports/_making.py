"""The parts of the page that show how the model was made: data, weights, training, store, time."""

from collections.abc import Sequence
from pathlib import Path

from regraft.reports.verdict import Section, kind_of, main_metric_of, main_section, title_of
from regraft.reports.words import (
    NOTHING,
    bullets,
    counted,
    duration,
    listed,
    lowered,
    measured,
    number,
    plain,
    size,
    table,
)

PARTS = ("train", "val", "test")
MANY_CLASSES = 40
"""From here on examples are not counted by class on the page."""
MANY_FILES = 50
"""So many quarantined files are named on the page."""
MANY_EPOCHS = 12
"""So many epochs at most are shown, the first, the best and the last among them."""


def data(report: Section) -> str:
    """What the model was trained and tried on."""
    found = report.get("data")
    if not found:
        return ""
    grouped = f" in {counted(found['groups'], 'group')}" if found.get("groups") else ""
    kind = kind_of(main_section(report))
    drawn = {True: " Regraft drew the parts.", False: " The parts are those the data came in."}
    said = (
        f"{plain(found['name'])}: {counted(found['examples'], 'example')} {_asked(kind, found['classes'])}{grouped}."
        f"{drawn.get(found.get('drawn_by_us'), '')}"
    )
    parts = [
        "## The data",
        said,
        _counts(kind, found),
        bullets(map(plain, found.get("notes") or ())),
        _quarantined(found.get("quarantined") or ()),
        f"Fingerprint: `{found['fingerprint']}`" if found.get("fingerprint") else "",
    ]
    return "\n\n".join(filter(None, parts))


def model(report: Section) -> str:
    """Which weights, and what of them was trained."""
    backbone, strategy = report.get("backbone") or {}, report.get("strategy") or {}
    rows = [
        ["Backbone", f"`{backbone.get('name')}`"],
        *([title, plain(told)] for title, told in weights_told(backbone)),
        ["Digest", f"`{backbone.get('digest')}`"],
        ["Input", f"{input_size(backbone.get('input_px'))} pixels"],
        ["Strategy", strategy_line(strategy)],
        ["Frozen", _names(strategy.get("frozen_stages"))],
        ["Trained", ", ".join(filter(None, [_names(strategy.get("trained_stages"), "", code=True), "the head"]))],
        ["Parameters trained", _parameters(backbone)],
        ["Views per example", _views(strategy)],
    ]
    if held := (strategy.get("facts") or {}).get("regulariser"):
        rows.append(["Regulariser", f"`{held['name']}`, weight {held['weight']:g}"])
    parts = ["## What was frozen, what was trained", table(["", ""], rows).replace("---:", "---")]
    if options := strategy.get("options"):
        written = ", ".join(f"`{name} = {value}`" for name, value in options.items())
        parts.append(f"Options: {written}.")
    return "\n\n".join([*parts, *filter(None, [_facts(strategy.get("facts") or {}), curve(strategy)])])


def tested_model(report: Section) -> str:
    """Which model was put to the test, and what it showed when it was made."""
    model, backbone = report["model"], report["backbone"]
    metric = main_metric_of(main_section(report))
    before = (model.get("metrics") or {}).get(metric)
    rows = [
        ["Folder", f"`{model['path']}`"],
        ["Backbone", f"`{backbone['name']}`"],
        *([title, plain(told)] for title, told in weights_told(backbone)),
        ["Input", f"{input_size(backbone['input_px'])} pixels"],
        ["Strategy", strategy_line({"preset": model["strategy"], "name": model["strategy"], "cut": model["cut"]})],
        ["Trained on", counted(model["trained_on_examples"], "example")],
        [f"{plain(title_of(metric))} when it was made", f"{measured(before)} ({plain(model['main'])})"],
    ]
    return "## The model\n\n" + table(["", ""], rows).replace("---:", "---")


def weights_told(backbone: Section) -> list[tuple[str, str]]:
    """What is known of the weights: what they were trained on, their terms, where they come from."""
    if backbone.get("weights") == "random":
        return [("Weights", "drawn at random from the seed, trained on nothing")]
    return [
        ("Weights trained on", backbone.get("trained_on") or "not stated"),
        ("Terms of the weights", backbone.get("licence") or "not stated"),
        ("From", backbone.get("source") or "not stated"),
    ]


def strategy_line(strategy: Section) -> str:
    """`partial` (finetune) cut at `4e`."""
    preset, name = strategy.get("preset"), strategy.get("name")
    kind = "" if preset == name else f" ({plain(name)})"
    return f"{plain(preset or name)}{kind}, cut at `{strategy.get('cut')}`"


def input_size(px: int | Sequence[int] | None) -> str:
    """`96 × 96`."""
    if px is None:
        return NOTHING
    sides = [px, px] if isinstance(px, int) else list(px)
    return " × ".join(map(str, sides))


_LOSSES = {
    "loss": "training loss",
    "regulariser": "of it, the regulariser's",
    "val_loss": "validation loss",
    "val_loss_rescaled": "the same, rescaled",
}


def curve(strategy: Section) -> str:
    """Loss and what else was watched by epoch; no more rows than one looks at."""
    rows = list(strategy.get("curve") or ())
    if not rows:
        return ""
    facts = strategy.get("facts") or {}
    best = int(facts.get("best_epoch") or 0)
    if start := facts.get("start"):
        rows = [{"epoch": 0, **start}, *rows]
    shown = rows
    if len(rows) > MANY_EPOCHS:
        step = -(-len(rows) // (MANY_EPOCHS - 2))
        shown = [row for at, row in enumerate(rows) if at % step == 0 or row["epoch"] == best or at + 1 == len(rows)]
    watched = sorted({name for row in rows for name in row if name.startswith("val_")} - set(_LOSSES))
    told = [name for name in _LOSSES if name != "val_loss_rescaled" or rescaled(rows)]
    columns = [name for name in (*told, *watched) if any(name in row for row in rows)]
    titles = _LOSSES | {name: f"validation {lowered(title_of(name.removeprefix('val_')))}" for name in watched}
    body = [
        [f"{int(row['epoch'])}{' (kept)' if int(row['epoch']) == best else ''}"]
        + [number(row.get(name)) for name in columns]
        for row in shown
    ]
    return table(["Epoch", *(plain(titles[name]) for name in columns)], body)


def rescaled(rows: Sequence[Section]) -> bool:
    """Whether rescaling changed a validation loss: it changes none where a task states no confidence."""
    return any(row.get("val_loss_rescaled") != row.get("val_loss") for row in rows)


def store(report: Section) -> str:
    """What was kept of the frozen part's work, and how exactly."""
    found = report.get("store") or {}
    cuts = found.get("cuts") or {}
    if not cuts:
        return ""
    rows = [
        [f"`{cut}`", str(one.get("dtype")), f"{one.get('rows', 0):,}"]
        + ([f"{one['computed']:,}"] if "computed" in one else [])
        + [size(one.get("bytes", 0))]
        for cut, one in cuts.items()
    ]
    computed = ["computed now"] if any("computed" in one for one in cuts.values()) else []
    parts = ["## Stored activations", table(["Cut", "kept as", "rows", *computed, "size"], rows)]
    for cut, error in (found.get("half_error") or {}).items():
        parts.append(f"Half precision at `{cut}` changes the features by {error:.1e} of their size.")
    if check := found.get("check"):
        changed = check["changed_labels"]
        labels = "no label changes" if not changed else f"{counted(changed, 'label')} of {check['examples']} change"
        error = check["largest_error"]
        off = "" if error is None else f"the largest error of a logit is {error:.1e} of the largest logit, and "
        examples = counted(check["examples"], "example")
        parts.append(f"Compared with the whole model on recomputed inputs, on {examples}: {off}{labels}.")
    return "\n\n".join(parts)


def time_and_memory(report: Section) -> str:
    """Wall time by phase, peak memory, and the machine."""
    phases = report.get("phases") or ()
    rows = [[plain(one["name"]), duration(one["seconds"])] for one in phases]
    rows.append(["**together**", f"**{duration(sum(one['seconds'] for one in phases))}**"])
    parts = ["## Time and memory"]
    if phases:
        parts.append(table(["Phase", "wall time"], rows))
    if peak := report.get("peak_memory_bytes"):
        parts.append(f"Peak memory of the process: {size(peak)}.")
    if environment := report.get("environment"):
        parts.append(bullets(f"{plain(name)}: {plain(value)}" for name, value in environment.items()))
    return "\n\n".join(parts) if len(parts) > 1 else ""


def again(report: Section) -> str:
    """How to make the model once more."""
    seen = "It names the weights and the data by digest; a run on others is refused."
    data = str((report.get("recipe") or {}).get("data") or "")
    if data and not Path(data).expanduser().is_absolute():
        seen += f" Its path of the data, `{data}`, starts at the folder that the run was started in."
    return "\n\n".join(
        [
            "## To make it again",
            f"`recipe.toml` beside this page holds every setting, defaults included. {seen}",
            "```\nregraft fit recipe.toml --out again\n```",
            "On the same machine, backend and thread count the weights come out the same, bit for bit.",
        ]
    )


def _asked(kind: str, names: Sequence[str]) -> str:
    """What the examples are labelled with, as it continues `12 examples`."""
    if kind == "regression":
        return f"with the {'number' if len(names) == 1 else 'numbers'} {plain(listed(names))}"
    if kind == "multilabel":
        return f"with any of {counted(len(names), 'tag')}"
    ranked = f", in rising order {plain(listed(names, limit=12))}" if kind == "ordinal" else ""
    return f"of {counted(len(names), 'class', 'classes')}{ranked}"


def _counts(kind: str, found: Section) -> str:
    present = {name: part for name in PARTS if (part := (found.get("parts") or {}).get(name))}
    if not present:
        return ""
    of_tags = kind == "multilabel"
    total = [
        "**all examples**" if kind in ("multilabel", "regression") else "**all classes**",
        *(f"**{part['examples']:,}**" for part in present.values()),
    ]
    counted_ones = any(part.get("per_class") for part in present.values())
    few = found["classes"] if counted_ones and len(found["classes"]) <= MANY_CLASSES else []
    rows = [
        [plain(name), *(f"{(part.get('per_class') or {}).get(name, 0):,}" for part in present.values())] for name in few
    ]
    return table(["Tag" if of_tags else "Class" if few else "", *present], [*rows, total])


def _quarantined(files: Sequence[Section]) -> str:
    if not files:
        return "No file was damaged."
    rows = [[plain(one["id"]), plain(one["reason"])] for one in files[:MANY_FILES]]
    more = f"\n\n… and {len(files) - MANY_FILES} more in report.json." if len(files) > MANY_FILES else ""
    said = f"{counted(len(files), 'file')} could not be read, and took no part:"
    return f"{said}\n\n" + table(["File", "why"], rows).replace("---:", "---") + more


def _names(stages: Sequence[str] | None, none: str = "nothing", *, code: bool = True) -> str:
    return ", ".join(f"`{stage}`" if code else stage for stage in stages or ()) or none


def _parameters(backbone: Section) -> str:
    trained, total = backbone.get("parameters_trained"), backbone.get("parameters_total")
    if trained is None:
        return NOTHING
    return f"{trained:,}" + (f" (the backbone has {total:,})" if total else "")


def _views(strategy: Section) -> str:
    views = strategy.get("views")
    return NOTHING if views is None else "a new one every epoch" if views == 0 else str(views)


def _facts(facts: Section) -> str:
    """What the strategy chose for itself, as far as it fits a line."""
    simple = {
        name: value for name, value in facts.items() if isinstance(value, bool | int | float | str) and value != ""
    }
    written = ", ".join(
        f"{plain(name.replace('_', ' '))} {plain(f'{value:.4g}' if isinstance(value, float) else value)}"
        for name, value in simple.items()
    )
    return f"Found on the way: {written}." if written else ""
