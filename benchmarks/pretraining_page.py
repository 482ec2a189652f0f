"""The page of the networks that are shipped: what each was trained on, how, for how long, and what it is worth.

    .venv/bin/python benchmarks/pretraining_page.py [--out docs/results]

Everything is read from the cards in src/regraft/weights; nothing is measured. `pretraining/ship.py` writes the cards,
`benchmarks/probe_table.py --cards` adds the figures of the probes. Writes pretraining.md and pretraining_curves.svg.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _markdown import head, line, told
from _probe_card import LESS, PROBES, side_of
from _sets import ROOT

from regraft.backbones.shipped import Figure, Shipped, shipped_weights, weights_folder
from regraft.files import write_text
from regraft.reports.plots import INK, SECOND, svg_of_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE, PLOT = "pretraining.md", "pretraining_curves.svg"
TITLE = "# The networks that are shipped"
TOLD = """What stands here stands in the cards beside the weights (src/regraft/weights), which `regraft backbones NAME`
shows; the page is made of them by `python benchmarks/pretraining_page.py`. How the weights were made, and how to make
them again, and what `short` is that probes are compared with: [pretraining/README.md](../../pretraining/README.md).

In brackets are 95 % intervals: Wilson's for accuracies on the corpus's validation part, whose pictures no step of
training saw; for probes a bootstrap that draws seeds and test examples inside every task, which
[probe.md](probe.md) tells task by task. Megabytes are those of the file (float16, statistics float32)."""
PREFER = """These weights are for beginning, and for where nothing can be fetched: they lie in the package. Where a hub
is in reach, prefer published ones (`googlenet@imagenet`, `mobilenet_v3_small@imagenet`): they were made from about
twenty times as many pictures, and larger ones."""


def shipped_ones() -> list[Shipped]:
    """Every network in the package, by name."""
    names = sorted(path.stem for path in weights_folder().glob("*.safetensors"))
    return [found for name in names if (found := shipped_weights(name)) is not None]


def page(shipped: Sequence[Shipped]) -> str:
    """The page as Markdown.

    Raises:
        SystemExit: no network is shipped.
    """
    if not shipped:
        raise SystemExit(f"No weights lie in {weights_folder()}: put a run there by pretraining/ship.py first.")
    parts = [[TITLE, "", told(TOLD)], _table(shipped), _preferring(shipped)]
    if curves(shipped):
        parts.append(["## How training went", "", f"![loss and accuracy by epoch]({PLOT})"])
    parts += [_one(found) for found in shipped]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def curves(shipped: Sequence[Shipped]) -> str:
    """Losses by epoch, a panel for every network whose card has a curve of two epochs or more; empty without any."""
    panels = [_panel(found) for found in shipped if len(found.recipe.get("curve", ())) > 1]
    return svg_of_panels(panels, (5.5, 3.4)) if panels else ""


def _panel(found: Shipped) -> Any:
    rows: Sequence[Mapping[str, float]] = found.recipe["curve"]
    beside = [name for name in ("side heads", "projector", "contrast")
              if found.recipe["settings"].get(f"options.{name.replace(' ', '_')}")]  # fmt: skip
    training = ", ".join(["training", *(f"{name} included" for name in beside)])

    def draw(axes: "Axes") -> None:
        for key, label, colour in (("loss", training, INK), ("val_loss", "validation", SECOND)):
            there = [row for row in rows if key in row]
            axes.plot([row["epoch"] for row in there], [row[key] for row in there], color=colour, label=label)
        axes.set(xlabel="epoch", ylabel="loss (nats)", title=found.card.family)
        axes.set_ylim(bottom=0)
        if scored := [row for row in rows if "val_accuracy" in row]:
            right = axes.twinx()
            right.spines["right"].set_visible(True)
            right.plot([row["epoch"] for row in scored], [row["val_accuracy"] for row in scored], ":", color="0.4",
                       label="validation accuracy")  # fmt: skip
            right.set(ylabel="accuracy", ylim=(0, 1))
            axes.plot([], [], ":", color="0.4", label="validation accuracy")
        axes.legend(frameon=False)

    return draw


def _table(shipped: Sequence[Shipped]) -> list[str]:
    columns = ("network", "MB", "input", "pictures", "classes", "epochs", "pictures seen", "minutes", "top-1", "top-5",
               "probes on target tasks")  # fmt: skip
    lines = ["## In short", "", *head(*columns)]
    for found in shipped:
        recipe = found.recipe
        lines.append(line(f"`{found.card.family}`", _megabytes(found), f"{side_of(found)} px",
                          f"{recipe['examples']:,}", found.card.num_source_classes, recipe["epochs"],
                          f"{recipe['seen']:,}", _minutes(found),
                          *(_numbers(found, what) for what in ("top-1", "top-5", PROBES))))  # fmt: skip
    return lines


def _preferring(shipped: Sequence[Shipped]) -> list[str]:
    lines = ["## When to prefer which", "", told(PREFER), ""]
    for found in shipped:
        ahead = [f"{figure.numbers} against {figure.what.rpartition(LESS)[2]}"
                 for figure in found.figures if figure.what.startswith(PROBES) and figure.signed]  # fmt: skip
        probes = f"; mean accuracy of probes {', '.join(ahead)}" if ahead else ""
        lines.append(f"* `{found.card.family}`: {_megabytes(found)} MB{probes}.")
    probed = {found.card.family: figure for found in shipped if (figure := _figure(found, PROBES)) is not None}
    if len({re.sub(r"; \d+ px", "", figure.what) for figure in probed.values()}) == 1 < len(probed):
        best = max(probed, key=lambda name: probed[name].value)
        least = min(shipped, key=lambda found: found.path.stat().st_size).card.family
        other = "and is the smaller file" if best == least else f"`{least}` is the smaller file"
        lines += [
            "",
            f"Of these, `{best}` has the higher mean accuracy of probes, each on inputs of its own size; {other}.",
        ]
    return lines


def _one(found: Shipped) -> list[str]:
    card, recipe = found.card, found.recipe
    kept = f"; that of epoch {recipe['best_epoch']} is kept" if recipe["best_epoch"] != recipe["epochs"] else ""
    facts = {
        "Weights": f"`{card.name}`, SHA-256 {found.sha256[:12]}…, {_megabytes(found)} MB",
        "Trained on": f"{card.trained_on}, parts to train on and to stop by together",
        "Terms": card.licence,
        "Recipe": f"`{recipe['command']}` with {_settings(recipe)}",
        "Length": f"{recipe['epochs']} epochs, {recipe['seen']:,} pictures seen, {_minutes(found)} minutes{kept}",
        "Made with": f"regraft {recipe['regraft']} on {recipe['environment'].get('machine', 'a machine')}",
    }
    lines = [f"## {card.family}", "", *(told("* {what}: {fact}", what=what, fact=fact) for what, fact in facts.items())]
    lines += ["", *head("what was measured", "figure", "by")]
    lines += [line(figure.what, figure.numbers, f"`{figure.source}`") for figure in found.figures]
    return [*lines, "", "Limits:", "", *(f"* {limit}" for limit in found.limits)]


def _figure(found: Shipped, what: str) -> Figure | None:
    return next((figure for figure in found.figures if figure.what.startswith(what) and not figure.signed), None)


def _numbers(found: Shipped, what: str) -> str:
    figure = _figure(found, what)
    return figure.numbers if figure else "not measured"


def _megabytes(found: Shipped) -> str:
    return f"{found.path.stat().st_size / 1e6:.1f}"


def _settings(recipe: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in recipe["settings"].items() if value != "")


def _minutes(found: Shipped) -> str:
    return f"{found.recipe['seconds'] / 60:.0f}"


def main() -> None:
    """Write the page and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="folder of the page and its plot")
    given = parser.parse_args()
    shipped = shipped_ones()
    write_text(given.out / PAGE, page(shipped))
    if drawn := curves(shipped):
        write_text(given.out / PLOT, drawn)
    print(f"wrote {given.out / PAGE}")


if __name__ == "__main__":
    main()
