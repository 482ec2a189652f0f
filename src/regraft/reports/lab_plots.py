"""The plots of a study, from its report, as SVG."""

from collections.abc import Callable, Mapping
from math import log10, nan
from typing import TYPE_CHECKING, Any

from regraft.reports.lab import COUNTED, NAMES
from regraft.reports.plots import svg, svg_of_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Section = Mapping[str, Any]
Draw = Callable[["Axes"], None]

COLOURS = ("#20639b", "#d1603d", "#3caea3", "#8e5ea2", "#777777", "#c9a227")


def plots(report: Section) -> dict[str, str]:
    """The plots by name; only those that there are rows for."""
    drawn = {
        "effects": _effects(report),
        "accuracy": _accuracies(report),
        "losses": _losses(report),
        "gradients": _gradients(report),
    }
    return {name: text for name, text in drawn.items() if text}


def _effects(report: Section) -> str:
    """Differences with their intervals: what is a share of examples in one panel, gradients in another."""
    shown = [one for one in report["effects"] if one["measure"] not in COUNTED and one["difference"]]
    shown = [one for one in shown if one["difference"]["low"] is not None]
    shares = [one for one in shown if one["measure"] != "signal"]
    signals = [one for one in shown if one["measure"] == "signal"]
    panels = [_intervals(some, label) for some, label in ((shares, "difference of shares"), (signals, "log10")) if some]
    return svg_of_panels(panels, (6.4, 1.3 + 0.4 * max(len(shares), len(signals)))) if panels else ""


def _intervals(effects: list[Section], label: str) -> Draw:
    def draw(axes: "Axes") -> None:
        rows = list(reversed(effects))
        for at, effect in enumerate(rows):
            found, colour = effect["difference"], COLOURS[0] if effect["key"] else "0.6"
            axes.plot([found["low"], found["high"]], [at, at], color=colour, linewidth=1.5)
            axes.plot(found["value"], at, "o", color=colour)
            if effect["key"]:
                axes.plot([effect["above"]] * 2, [at - 0.3, at + 0.3], color=COLOURS[1], linestyle=":")
        axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(rows)), [f"{one['name']} ({one['size']})" for one in rows])
        _below(axes, f"{label}; claimed: right of the dots", len(rows))

    return draw


def _below(axes: "Axes", label: str, num_rows: int) -> None:
    """What stands below rows with long names: few numbers, and a label that may reach to the left under the names."""
    axes.set_ylim(-0.6, num_rows - 0.4)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(label, loc="right")


def _accuracies(report: Section) -> str:
    """Test accuracy with its interval, and training accuracy, of every arm and training size."""
    rows = [(arm, figures) for arm in report["arms"] for figures in arm["figures"]][::-1]
    if not rows:
        return ""

    def draw(axes: "Axes") -> None:
        for at, (_, figures) in enumerate(rows):
            found = figures["accuracy"]
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [at, at], color=COLOURS[0], linewidth=1.5)
            axes.plot(found["value"], at, "o", color=COLOURS[0], label="" if at else "test")
            axes.plot(figures["train_accuracy"], at, "x", color=COLOURS[1], label="" if at else "training")
        names = [f"{arm['name']}: {arm['parameters'] / 1e6:.2f} M parameters ({one['size']})" for arm, one in rows]
        axes.set_yticks(range(len(rows)), names)
        _below(axes, "accuracy; in brackets training examples of a class", len(rows))
        axes.figure.legend(loc="outside right upper", frameon=False)

    return svg(draw, (7.6, 1.3 + 0.4 * len(rows)))


def _losses(report: Section) -> str:
    """The loss in training by epoch, of every arm at the largest training size: how far each has come."""
    found = {arm["name"]: arm["figures"][0]["losses"] for arm in report["arms"] if arm["figures"]}
    if not found:
        return ""

    def draw(axes: "Axes") -> None:
        for number, (arm, losses) in enumerate(found.items()):
            axes.plot(range(1, len(losses) + 1), losses, color=COLOURS[number % len(COLOURS)], label=arm)
        axes.set(xlabel="epoch", ylabel="loss in training")
        axes.set_ylim(bottom=0)
        axes.figure.legend(loc="outside right upper", frameon=False)

    return svg(draw, (7.6, 3.6))


def _gradients(report: Section) -> str:
    """The gradient's size by depth, means over training; and below against above, over training."""
    found = report["gradients"]
    if not found:
        return ""

    def by_depth(axes: "Axes") -> None:
        for number, (arm, stages) in enumerate(found.items()):
            means = [log10(max(sum(one) / len(one), 1e-30)) for one in stages.values()]
            axes.plot(range(len(means)), means, "o-", color=COLOURS[number % len(COLOURS)], label=arm)
            axes.set_xticks(range(len(means)), list(stages))
        axes.set(xlabel="stage, from the input upwards", ylabel="gradient, log10 of root mean square")
        axes.legend(frameon=False)

    def over_training(axes: "Axes") -> None:
        for number, stages in enumerate(found.values()):
            sizes = [[log10(one) if one else nan for one in stage] for stage in stages.values()]
            third, spans = max(1, len(sizes) // 3), range(len(sizes[0]))
            low, high = (
                [sum(one[at] for one in some) / third for at in spans] for some in (sizes[:third], sizes[-third:])
            )
            shares = [(at + 0.5) / len(spans) for at in spans]
            ratio = [one - other for one, other in zip(low, high, strict=True)]
            axes.plot(shares, ratio, color=COLOURS[number % len(COLOURS)])
        axes.set(xlabel="share of training done", ylabel=NAMES["signal"])

    return svg_of_panels([by_depth, over_training], (5.2, 3.6))
