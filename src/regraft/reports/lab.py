"""The page of a study and its plots, from its report."""

from collections.abc import Mapping, Sequence
from math import log10
from typing import TYPE_CHECKING, Any

from regraft.reports._canvas import svg
from regraft.reports._words import NOTHING, bullets, counted, duration, measured, number, plain, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Section = Mapping[str, Any]

COLOURS = ("#20639b", "#d1603d", "#3caea3", "#8e5ea2", "#777777", "#c9a227")
RESOLVED = {"as claimed": "as claimed", "not here": "not here", "open": "not resolved", "not run": "not run"}
COUNTED = ("parameters", "multiply_adds")
NAMES = {
    "accuracy": "accuracy",
    "gap": "training less test accuracy",
    "transfer": "probe on other classes",
    "signal": "gradient below against above, log10",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds",
}


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
        *(f"![{plain(name)}]({name})" for name in plots),
        _missing(report),
        "## Make it again",
        f"```\n{command(report)}\n```",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def command(report: Section) -> str:
    """What makes the study again."""
    setting = report["setting"]
    full = " --full" if setting["name"] == "full" else ""
    data = " --data FOLDER" if report["data"]["given"] else ""
    folder = f"runs/lab/{report['study']}{'-full' if full else ''}"
    return f"regraft lab {report['study']}{data}{full} --seeds {setting['seeds']} --out {folder}"


def plots(report: Section) -> dict[str, str]:
    """The plots by name, as SVG."""
    drawn = {"effects": _effects_plot(report), "accuracy": _accuracy_plot(report), "gradients": _gradient_plot(report)}
    return {name: text for name, text in drawn.items() if text}


def _figures_told(report: Section) -> str:
    known = [effect for effect in report["effects"] if effect["key"] and effect["difference"]]
    told = [f"{plain(effect['name'])}: {_difference(effect)}" for effect in known]
    return f"{'; '.join(told)}." if told else ""


def _difference(effect: Section) -> str:
    found = effect["difference"]
    if effect["measure"] in COUNTED:
        return f"{number(10 ** found['value'])} times"
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
        f"{setting['batch']} examples{half} with the options of `scratch` (AdamW, peak rate {setting['lr']:g}), "
        f"{setting['seeds']} seeds; of one seed all arms see the same examples, order and views. "
    )
    return f"{said}On {plain(report['machine'])}."


def _effects(report: Section) -> str:
    rows = [
        [
            plain(effect["name"]),
            f"{plain(effect['plus'])} {'by' if effect['measure'] in COUNTED else 'less'} {plain(effect['minus'])}",
            NAMES[effect["measure"]],
            NOTHING if effect["size"] is None else str(effect["size"]),
            _difference(effect) if effect["difference"] else "not run",
            _claimed(effect),
            _found(effect),
        ]
        for effect in report["effects"]
    ]
    header = ["Effect", "arms", "of", "a class", "difference", "claimed", "found"]
    meanings = bullets(f"{NAMES[name]}: {plain(text)}" for name, text in report["measures"].items())
    said = (
        "Differences are paired by seed and test example; in brackets 95 % intervals over both (`evaluation/crossed`). "
        "What is counted is exact. An effect is borne out where its interval lies above what is claimed, not here "
        "where the interval holds nothing worth the claim, and not resolved otherwise."
    )
    return "\n\n".join([table(header, rows), said, meanings])


def _claimed(effect: Section) -> str:
    """Where the claim says that the difference lies; nothing for what is told beside."""
    if not effect["key"]:
        return NOTHING
    above = effect["above"]
    return f"above {10**above:.3g} times" if effect["measure"] in COUNTED else f"above {above:g}"


def _found(effect: Section) -> str:
    """Whether the claim is borne out; of what is told beside, on which side of 0 it lies."""
    found = effect["difference"]
    if effect["key"] or found is None or effect["measure"] in COUNTED:
        return RESOLVED[effect["resolved"]] if effect["key"] or found is None else NOTHING
    if found["low"] is None or found["low"] <= 0 <= found["high"]:
        return RESOLVED["open"]
    return "above 0" if found["low"] > 0 else "below 0"


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
        [plain(arm["name"]), str(one["size"]), str(len(one["seeds"])), number(one["train_accuracy"]),
         *(measured(one[name]) for name in measures)]
        for arm in report["arms"] for one in arm["figures"]
    ]  # fmt: skip
    return (
        table(["Arm", "a class", "seeds", "training accuracy", *(NAMES[one] for one in measures)], rows) if rows else ""
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


def _effects_plot(report: Section) -> str:
    shown = [one for one in report["effects"] if one["difference"] and one["measure"] not in COUNTED]
    shown = [one for one in shown if one["difference"]["low"] is not None]
    if not shown:
        return ""

    def draw(axes: "Axes") -> None:
        for at, effect in enumerate(reversed(shown)):
            found = effect["difference"]
            colour = COLOURS[0] if effect["key"] else "0.6"
            axes.plot([found["low"], found["high"]], [at, at], color=colour, linewidth=1.5)
            axes.plot(found["value"], at, "o", color=colour)
            axes.plot([effect["above"]] * 2, [at - 0.3, at + 0.3], color=COLOURS[1], linestyle=":")
        names = [f"{one['name']} ({one['size']}), {one['measure']}" for one in reversed(shown)]
        axes.set_yticks(range(len(shown)), names)
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(xlabel="difference; dotted: what is claimed lies to the right", ylim=(-0.6, len(shown) - 0.4))

    return svg(draw, (7.0, 1.2 + 0.4 * len(shown)))


def _accuracy_plot(report: Section) -> str:
    arms = [arm for arm in report["arms"] if arm["figures"]]
    if not arms:
        return ""
    several = len(report["sizes"]) > 1

    def by_size(axes: "Axes") -> None:
        for number_, arm in enumerate(arms):
            sizes = [one["size"] for one in arm["figures"]]
            colour = COLOURS[number_ % len(COLOURS)]
            axes.plot(sizes, [one["accuracy"]["value"] for one in arm["figures"]], "o-", color=colour,
                      label=f"{arm['name']}, test")  # fmt: skip
            axes.plot(sizes, [one["train_accuracy"] for one in arm["figures"]], "x--", color=colour,
                      label=f"{arm['name']}, training")  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(report["sizes"], [str(size) for size in report["sizes"]])
        axes.minorticks_off()
        axes.set(xlabel="training examples of a class", ylabel="accuracy", ylim=(0, 1))
        axes.figure.legend(loc="outside right upper", frameon=False)

    def by_cost(axes: "Axes") -> None:
        for number_, arm in enumerate(arms):
            found = arm["figures"][0]["accuracy"]
            where, colour = log10(arm["parameters"]), COLOURS[number_ % len(COLOURS)]
            if found["low"] is not None:
                axes.plot([where] * 2, [found["low"], found["high"]], color=colour, linewidth=1.2)
            axes.plot(where, found["value"], "o", color=colour,
                      label=f"{arm['name']}: {arm['multiply_adds'] / 1e6:.1f} million multiply-adds")  # fmt: skip
        axes.set(xlabel="log10 of parameters", ylabel="test accuracy")
        axes.figure.legend(loc="outside right upper", frameon=False)

    return svg(by_size if several else by_cost, (8.4, 3.6))


def _gradient_plot(report: Section) -> str:
    found = report["gradients"]
    if not found:
        return ""

    def draw(axes: "Axes") -> None:
        for number_, (arm, stages) in enumerate(found.items()):
            names = list(stages)
            means = [sum(stages[name]) / len(stages[name]) for name in names]
            axes.plot(range(len(names)), means, "o-", color=COLOURS[number_ % len(COLOURS)], label=arm)
            axes.set_xticks(range(len(names)), names)
        axes.set_yscale("log")
        axes.set(xlabel="stage, from the input upwards", ylabel="gradient, root mean square")
        axes.figure.legend(loc="outside right upper", frameon=False)

    return svg(draw, (8.4, 3.6))
