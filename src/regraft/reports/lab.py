"""The page of a study, from its report."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from regraft.values import NOTHING, Measured, shown
from regraft.words import bullets, counted, duration, plain, table

Section = Mapping[str, Any]

WIDTH = 118
"""Longest line of prose, in characters."""
TRAINED_OUT = 0.9
"""Where the best arm is right about less of its own training examples, the page says that training was short."""
COUNTED = ("parameters", "multiply_adds")
NAMES = {
    "accuracy": "accuracy",
    "gap": "training less test accuracy",
    "transfer": "probe on other classes",
    "signal": "gradient below against above, log10",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
}
CAPTIONS = {
    "effects": "Differences of two arms with 95 % intervals",
    "accuracy": "Test and training accuracy of every arm",
    "losses": "Loss in training by epoch with the most examples, on new views, auxiliary classifiers included",
    "gradients": "Size of the gradient by stage, and below against above over training",
}
"""What a plot shows, by the last word of its file's name."""


def page(report: Section, plots: Sequence[str] = ()) -> str:
    """The study as Markdown, with the plots of these file names."""
    parts = [
        f"# {plain(report['title'])}",
        f"**Verdict: {plain(report['outcome'])}.** {plain(report['verdict'])}",
        f"{_figures_told(report)}",
        "## What is claimed",
        f"{plain(report['claim'])}\n\nSource: {plain(report['source'])}.",
        "## What was measured",
        plain(report["measurement"]),
        _setting(report),
        "## The effects",
        _effects(report),
        "## The arms",
        _costs(report),
        _accuracies(report),
        _trained_out(report),
        *(f"![{CAPTIONS[name.removesuffix('.svg').rpartition('_')[2]]}]({name})" for name in plots),
        _missing(report),
        "## Make it again",
        f"```\n{command(report)}\n```",
    ]
    return "\n\n".join(_filled(part) for part in filter(None, parts)) + "\n"


def _filled(part: str) -> str:
    """Prose and lists broken into lines; what begins with another mark of Markdown stays as it is."""
    return "\n\n".join(
        paragraph if paragraph[:1] in "#|!`" else "\n".join(map(_broken, paragraph.splitlines()))
        for paragraph in part.split("\n\n")
    )


def _broken(line: str) -> str:
    after = "  " if line.startswith("- ") else ""
    return fill(line, WIDTH, subsequent_indent=after, break_long_words=False, break_on_hyphens=False)


def measured(value: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """A measured number with its interval, where it has one: `0.921 [0.874, 0.951]`."""
    if value is None or value.get("value") is None:
        return NOTHING
    if value.get("low") is None or value.get("high") is None:
        return shown(value["value"], signed=signed)
    return Measured(value=value["value"], low=value["low"], high=value["high"]).told(signed=signed)


def command(report: Section) -> str:
    """What makes the study again."""
    setting = report["setting"]
    name = setting["name"]
    given = "" if name == "small" else f" --{name}"
    data = " --data FOLDER" if report["data"]["given"] else ""
    folder = f"runs/lab/{report['study']}{'' if name == 'small' else f'-{name}'}"
    return f"regraft lab {report['study']}{data}{given} --seeds {setting['seeds']} --out {folder}"


def _figures_told(report: Section) -> str:
    known = [effect for effect in report["effects"] if effect["key"] and effect["difference"]]
    told = [f"{plain(effect['name'])}: {_difference(effect)}" for effect in known]
    return f"{'; '.join(told)}." if told else ""


def _difference(effect: Section) -> str:
    found = effect["difference"]
    if effect["measure"] in COUNTED:
        return f"{shown(found['value'])} times"
    text = measured(found, signed=True)
    return text if found.get("low") is not None else f"{text} ({plain(found['method'])})"


def _setting(report: Section) -> str:
    setting, data = report["setting"], report["data"]
    sizes = ", ".join(str(size) for size in report["sizes"])
    others = (
        f" Features are tried on {len(data['other_classes'])} further classes by a linear probe on "
        f"{data['probe_train']:,} examples, tested on {data['probe_test']:,}."
        if _has(report, "transfer")
        else ""
    )
    half = " in bfloat16 where the machine has it" if setting["half"] else ""
    said = (
        f"{plain(data['name'])}: {counted(len(data['classes']), 'class', 'classes')}, {sizes} training examples of "
        f"each, {data['test']:,} test examples, the same for all; inputs of {setting['input_px']} pixels.{others} "
        f"Every arm is trained from random weights for about {setting['steps']:,} steps (whole epochs) of "
        f"{setting['batch']} examples{half} with the options of `scratch` (AdamW, peak learning rate "
        f"{setting['lr']:g}), {setting['seeds']} seeds; of one seed all arms see the same examples, order and views. "
        "The learning rate is the same for all; none was tuned. "
    )
    if data.get("views_on"):
        said += "Views are made on the device, of images that are held there. "
    return f"{said}On {plain(report['machine'])}. Fingerprint of the data: `{data['fingerprint']}`."


def _effects(report: Section) -> str:
    rows = [
        [
            plain(effect["name"]),
            f"{plain(effect['plus'])} {'by' if effect['measure'] in COUNTED else 'less'} {plain(effect['minus'])}",
            NAMES[effect["measure"]],
            NOTHING if effect["size"] is None else str(effect["size"]),
            _difference(effect) if effect["difference"] else "not run",
            *_judged(effect),
        ]
        for effect in report["effects"]
    ]
    header = ["Effect", "arms", "of", "a class", "difference", "claimed", "refuted", "found"]
    meanings = bullets(f"{NAMES[name]}: {plain(text)}" for name, text in report["measures"].items())
    said = (
        "Differences are paired by seed and test example; in brackets 95 % intervals over both "
        "(`evaluation/differences`). What is counted is exact. An effect is borne out where its interval lies above "
        "what is claimed, not here where it lies below the least that is worth the claim (*refuted*), and not resolved "
        "otherwise."
    )
    return "\n\n".join([table(header, rows), said, meanings])


def _judged(effect: Section) -> tuple[str, str, str]:
    """Above what the claim puts the difference; below what it would be refuted; and which of the two holds.

    An effect that no verdict rests on has neither bound; of it is said on which side of 0 it is.
    """
    found, above, exact = effect["difference"], effect["above"], effect["measure"] in COUNTED
    resolved = "not resolved" if effect["resolved"] == "open" else str(effect["resolved"])
    if effect["key"]:
        if exact:
            return f"above {above:g} times", f"{above:g} times or less", resolved
        return f"above {above:g}", f"below {above + effect['worth']:g}", resolved
    if found is None or exact:
        return NOTHING, NOTHING, NOTHING if exact and found else resolved
    if found["low"] is None or found["low"] <= 0 <= found["high"]:
        return NOTHING, NOTHING, "not resolved"
    return NOTHING, NOTHING, "above 0" if found["low"] > 0 else "below 0"


def _costs(report: Section) -> str:
    first = report["arms"][0]
    rows = []
    for arm in report["arms"]:
        side = f" + {arm['side_parameters']:,} in training" if arm["side_parameters"] else ""
        seconds = NOTHING if arm["seconds"] is None else duration(arm["seconds"])
        rows.append([
            f"{plain(arm['name'])}: {plain(arm['title'])}", f"{arm['width']:.3g}", f"{arm['parameters']:,}{side}",
            f"{arm['multiply_adds']:,}", f"{arm['multiply_adds'] / first['multiply_adds']:.3f}", seconds,
        ])  # fmt: skip
    return table(["Arm", "width", "parameters", "multiply-adds", "by the first's", "seconds to train"], rows)


def _accuracies(report: Section) -> str:
    measures = [name for name in ("accuracy", "gap", "transfer", "signal") if _has(report, name)]
    rows = [
        [plain(arm["name"]), str(one["size"]), str(len(one["seeds"])), shown(one["train_accuracy"]),
         *(measured(one[name]) for name in measures)]
        for arm in report["arms"] for one in arm["figures"]
    ]  # fmt: skip
    return (
        table(["Arm", "a class", "seeds", "training accuracy", *(NAMES[one] for one in measures)], rows) if rows else ""
    )


def _trained_out(report: Section) -> str:
    """What short training makes of accuracies; empty where an arm knows its own training examples."""
    known = [one["train_accuracy"] for arm in report["arms"] for one in arm["figures"]]
    if not known or max(known) >= TRAINED_OUT:
        return ""
    return (
        f"No arm is trained out: by the end they are right about {shown(min(known))} to {shown(max(known))} of the "
        "examples they were trained on. So accuracies tell how far each comes in these steps; one that learns slowly "
        "may come further in more."
    )


def _has(report: Section, measure: str) -> bool:
    return any(one.get(measure) for arm in report["arms"] for one in arm["figures"])


def _missing(report: Section) -> str:
    parts = []
    if report["failed"]:
        parts += ["## Training that failed", bullets(f"{plain(one['cell'])}: {plain(one['message'])}"
                                                     for one in report["failed"])]  # fmt: skip
    if report["not_run"]:
        said = f"{len(report['not_run'])} of {report['num_cells']} cells were not run; `--resume` goes on with them."
        parts += ["## Not run", said, bullets(map(plain, report["not_run"]))]
    return "\n\n".join(parts)
