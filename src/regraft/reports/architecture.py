"""The tables of a described network: which columns there are, and what stands in their cells. Works on plain JSON.

A table is a header and rows of text; the first `LEFT` columns are words, the others numbers. Doors align them, pages
make them Markdown or HTML.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regraft.reports.words import NOTHING, counted, size

Json = Mapping[str, Any]
LEFT = 2
"""Columns of words at the left of the tables of stages and layers."""
BRANCHES = {
    "one": "#1x1",
    "three_in": "#3x3 reduce",
    "three": "#3x3",
    "five_in": "#5x5 reduce",
    "five": "#5x5",
    "pool": "pool proj",
}
"""What the paper's table 1 calls the layers of a module."""
_OF_REDUCTIONS = ("three_in", "five_in", "pool")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text."""

    header: tuple[str, ...]
    """Titles of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, as many in a row as there are columns."""
    left: int
    """How many columns, from the left, hold words; the others hold numbers."""
    marked: frozenset[int] = frozenset()
    """Positions of rows that stand out."""


def stages(described: Json) -> Table:
    """Stage by stage, the classifier last, then the sums; of Inception modules the filters of their branches."""
    parts = [*described["stages"], *([described["head"]] if described["head"] else [])]
    branches = BRANCHES if any(part["filters"] for part in parts) else {}
    rows = [(*_costs(part), *(_filters(part, key) for key in branches)) for part in parts]
    rows.append(
        ("together", "", "", f"{described['parameters']:,}", work(described["multiply_adds"]),
         size(described["kept_bytes"]), size(described["running_bytes"]), *("" for _ in branches))
    )  # fmt: skip
    return Table(header=(*_HEADER, *branches.values()), rows=tuple(rows), left=LEFT)


def side_heads(described: Json) -> Table:
    """The auxiliary heads, for as many classes as the classifier has."""
    rows = [
        (f"after {part['name']}", shape(part), f"{described['side_weights'][part['name']]:g}",
         f"{part['parameters']:,}", work(part["multiply_adds"]), size(part["kept_bytes"]), size(part["running_bytes"]))
        for part in described["side_heads"]
    ]  # fmt: skip
    header = ("side head", "output", "weight of its loss", *_HEADER[3:])
    return Table(header=header, rows=tuple(rows), left=LEFT)


def layers(described: Json) -> Table:
    """Layer by layer in the order in which they run."""
    rows = [
        (f"{layer['stage']}/{layer['name']}".rstrip("/"), layer["kind"], layer["window"], shape(layer),
         field(layer["reach"]), f"{layer['parameters']:,}", work(layer["multiply_adds"]), size(layer["kept_bytes"]))
        for layer in described["layers"]
    ]  # fmt: skip
    header = ("layer", "kind", "window", "output", "sees", "parameters", "multiply-adds", "to train")
    return Table(header=header, rows=tuple(rows), left=LEFT + 2)


def paper(described: Json) -> Table:
    """The paper's own columns, what its filter counts give, and what was counted; rows that disagree are marked."""
    found = described["paper"]
    rows = [
        (row["name"], f"{row['parameters'] / 1024:,.3g}K" if row["parameters"] < 10_240 else kilo(row["parameters"]),
         kilo(row["by_filters"]), f"{row['multiply_adds'] / 1e6:,.0f}M", work(row["multiply_adds_by_filters"]),
         f"{row['parameters_here']:,}", work(row["multiply_adds_here"]), "" if row["agrees"] else "disagrees")
        for row in found
    ]  # fmt: skip
    header = (
        "row", "params, paper", "by its filters", "ops, paper", "by its filters", "parameters here",
        "multiply-adds here", "",
    )  # fmt: skip
    marked = frozenset(at for at, row in enumerate(found) if not row["agrees"])
    return Table(header=header, rows=tuple(rows), left=1, marked=marked)


def paper_notes(described: Json) -> list[tuple[str, str]]:
    """Each row that disagrees, and why."""
    return [(row["name"], row["note"]) for row in described["paper"] if not row["agrees"]]


def headline(described: Json) -> str:
    """The network in one line."""
    height, width = described["input_px"]
    sums = f"{described['parameters']:,} parameters, {work(described['multiply_adds'])} multiply-adds"
    return f"{described['name']} at {height} x {width} pixels: {sums}"


def side_by_side(compared: Json) -> Table:
    """Several networks: what they cost, what they reach here where that was measured, what is published of them."""
    networks, timing = compared["networks"], compared["timing"]
    header = ["network", "input", "parameters", "multiply-adds", "to train", "to run"]
    if timing:
        header += ["runs/s", "of the first", "trains/s", "of the first"]
    rows = []
    for one in networks:
        row = [one["name"], "x".join(map(str, one["input_px"])), f"{one['parameters']:,}", work(one["multiply_adds"])]
        row += [size(one["kept_bytes"]), size(one["running_bytes"])]
        for way in ("running", "training") if timing else ():
            row += [rate(one["speed"][way]["per_second"]), f"{one['speed'][way]['ratio']:.2f}"]
        rows.append((*row, _best(one)))
    return Table(header=(*header, "ImageNet top-1"), rows=tuple(rows), left=LEFT)


def side_by_side_notes(compared: Json) -> list[str]:
    """What the columns mean, how speeds were measured, and whose weights reach the accuracies, in sentences."""
    timing = compared["timing"]
    memory = (
        "to train: bytes that training keeps of each further example for the backward pass. to run: most bytes of "
        "activations alive at once, one example at a time. Parameters come on top."
    )
    said = [memory]
    if timing:
        said.append(
            f"runs/s and trains/s: examples a second without and with training, median of "
            f"{counted(timing['rounds'], 'round')} in turn; {counted(timing['threads'], 'thread')}, batches of "
            f"{timing['batch']}, {timing['device']}, 32-bit floats. of the first: the median of the ratios in the same "
            "round. Whatever else the machine did is in them."
        )
    if sources(compared):
        said.append(
            "ImageNet top-1: on the validation part, one central crop, as stated by the publisher of the weights; in "
            "brackets where they are of another variant:"
        )
    return said


def sources(compared: Json) -> list[tuple[str, str]]:
    """Each set of weights whose accuracy is stated, with the figure and who states it."""
    stated = {
        one["spec"]: f"{one['top1_percent']:.3f} %, {one['source']}"
        for network in compared["networks"]
        for one in network["accuracies"]
    }
    return list(stated.items())


def rate(per_second: float) -> str:
    """Examples a second."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def _best(network: Json) -> str:
    """The most accurate published weights; those of the very variant first."""
    stated = sorted(network["accuracies"], key=lambda one: (not one["same"], -one["top1_percent"]))
    if not stated:
        return NOTHING
    told = f"{stated[0]['top1_percent']:.1f} %"
    return told if stated[0]["same"] else f"({told})"


def accuracies(described: Json) -> list[str]:
    """What publishers state of weights for the very architecture, a sentence each."""
    return [
        f"{one['spec']}: {one['top1_percent']:.3f} % top-1 on ImageNet-1k's validation part, one central crop "
        f"({one['source']})"
        for one in described["accuracies"]
        if one["same"]
    ]


def legend(described: Json) -> list[str]:
    """What the columns mean, in sentences."""
    counted = (
        "Counted in a pass on tensors without values; per example, in 32-bit floats. Outputs are height x width x "
        "channels. Parameters are weights, biases, scales and shifts; a multiply-add is one multiplication with its "
        "addition, of convolutions and matrix products."
    )
    columns = (
        "sees: side of the square of input pixels that one cell depends on (its receptive field); all: the whole "
        "input. to train: bytes that training keeps of each further example for the backward pass. to run: "
        "most bytes of activations alive at once; together, the most of all."
    )
    said = [counted, columns]
    reaches = [part["reach"] for part in (*described["stages"], *described["layers"])]
    if any(reach and reach["gated"] for reach in reaches):
        said.append("gated: besides, a factor from the whole input scales it (squeeze and excitation, or the like).")
    if any(part["reach"] is None for part in described["stages"]):
        said.append(f"{NOTHING}: not told, as where attention works within windows.")
    return said


def shape(part: Json) -> str:
    """The output for one example: height x width x channels; tokens x features.

    Inputs are square, so where the first two sides are equal and the third is not, the channels are last already.
    """
    output = part["output"]
    if output is None:
        return NOTHING
    if len(output) == 3 and not output[0] == output[1] != output[2]:
        output = (*output[1:], output[0])
    return "x".join(map(str, output))


def field(reach: Json | None) -> str:
    """The receptive field in input pixels."""
    if reach is None:
        return NOTHING
    if reach["whole"]:
        return "all"
    height, width = reach["field"]
    side = f"{height:,}" if height == width else f"{height:,}x{width:,}"
    return f"{side} gated" if reach["gated"] else side


def work(multiply_adds: int) -> str:
    """Multiply-adds in millions."""
    return f"{multiply_adds / 1e6:,.1f}M"


def kilo(count: int) -> str:
    """A count as the paper writes it: in units of 1024."""
    return f"{count / 1024:,.1f}K" if count < 102_400 else f"{count / 1024:,.0f}K"


_HEADER = ("stage", "output", "sees", "parameters", "multiply-adds", "to train", "to run")


def _costs(part: Json) -> Sequence[str]:
    return (
        part["name"], shape(part), field(part["reach"]), f"{part['parameters']:,}", work(part["multiply_adds"]),
        size(part["kept_bytes"]), size(part["running_bytes"]),
    )  # fmt: skip


def _filters(part: Json, key: str) -> str:
    if not part["filters"]:
        return ""
    return NOTHING if key in _OF_REDUCTIONS and not part["reductions"] else str(part["filters"][key])
