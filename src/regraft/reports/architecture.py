"""Tables of a described network, from its JSON.

The command line aligns the tables; pages render them as Markdown or HTML.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from regraft.contracts.page import Table
from regraft.values import NOTHING
from regraft.words import counted, size

Json = Mapping[str, Any]
Columns = Sequence[tuple[str, Callable[[Json], str]]]
"""(column title, function from a row's JSON object to the text of a cell)."""
BRANCHES = {
    "one": "#1x1", "three_in": "#3x3 reduce", "three": "#3x3", "five_in": "#5x5 reduce", "five": "#5x5",
    "pool": "pool proj",
}  # fmt: skip
"""Names of a module's layers in the paper's table 1."""
_MEMORY = (
    "to train: bytes that training stores per additional example for the backward pass. to run: peak bytes of "
    "activations for a single example. Parameters are not included."
)
_COUNTED = (
    "Counted in a pass on meta tensors, per example, in 32-bit floats. Outputs are height x width x "
    "channels. Parameters are weights, biases, scales and shifts; a multiply-add is one multiplication and its "
    "addition, in convolutions and matrix products."
)
_COLUMNS = (
    "sees: side of the square of input pixels that one cell depends on (its receptive field); all: the whole "
    "input. to train: bytes that training stores per additional example for the backward pass. to run: "
    "peak bytes of activations; for the whole network, the maximum."
)
_OF_REDUCTIONS = ("three_in", "five_in", "pool")


class Section(NamedTuple):
    """One table of a page."""

    title: str
    """Title."""
    table: Table
    """The table."""
    notes: list[str]
    """Sentences below the table."""


def sections(described: Json, *, every_layer: bool) -> list[Section]:
    """Return all sections of a network; with `every_layer`, the table of layers comes last."""
    found = [Section("Stage by stage", stages(described), legend(described))]
    if described["side_heads"]:
        found.append(Section("Side heads", side_heads(described), []))
    if described["paper"]:
        notes = [f"{name}: {note}" for name, note in paper_notes(described)]
        found.append(
            Section("The paper's own table, and what its filter counts give (K is 1024)", paper(described), notes)
        )
    if every_layer:
        found.append(Section("Layer by layer", layers(described), []))
    return found


def stages(described: Json) -> Table:
    """Return the table of stages, the classifier and totals last; for Inception modules with the filters of each
    branch."""
    parts = [*described["stages"], *([described["head"]] if described["head"] else [])]
    branches = BRANCHES if any(part["filters"] for part in parts) else {}
    filters = [(title, lambda part, key=key: _filters(part, key)) for key, title in branches.items()]
    together = {**described, "name": "together", "output": None, "reach": None, "filters": None}
    table = _table([("stage", _text("name")), *_COSTS, *filters], [*parts, together], left=2)
    *rows, last = table.rows
    return Table(header=table.header, rows=(*rows, (last[0], "", "", *last[3:])), left=2)


def side_heads(described: Json) -> Table:
    """Return the table of auxiliary heads, for the classifier's number of classes."""
    columns = [
        ("side head", lambda part: f"after {part['name']}"),
        ("output", shape),
        ("weight of its loss", lambda part: f"{described['side_weights'][part['name']]:g}"),
        *_COSTS[2:],
    ]
    return _table(columns, described["side_heads"], left=2)


def layers(described: Json) -> Table:
    """Return the table of layers in execution order."""
    path = ("layer", lambda layer: f"{layer['stage']}/{layer['name']}".rstrip("/"))
    return _table(
        [path, ("kind", _text("kind")), ("window", _text("window")), *_COSTS[:-1]], described["layers"], left=4
    )


def paper(described: Json) -> Table:
    """Return the paper's figures next to the counted ones; rows that differ are marked."""
    columns = [
        ("row", _text("name")),
        ("params, paper", lambda row: _as_printed(row["parameters"])),
        ("by its filters", lambda row: kilo(row["by_filters"])),
        ("ops, paper", lambda row: f"{row['multiply_adds'] / 1e6:,.0f}M"),
        ("by its filters", lambda row: work(row["multiply_adds_by_filters"])),
        ("parameters here", lambda row: f"{row['parameters_here']:,}"),
        ("multiply-adds here", lambda row: work(row["multiply_adds_here"])),
        ("", lambda row: "" if row["agrees"] else "disagrees"),
    ]
    marked = frozenset(at for at, row in enumerate(described["paper"]) if not row["agrees"])
    return _table(columns, described["paper"], left=1, marked=marked)


def paper_notes(described: Json) -> list[tuple[str, str]]:
    """Return each row that differs, and why."""
    return [(row["name"], row["note"]) for row in described["paper"] if not row["agrees"]]


def side_by_side(compared: Json) -> Table:
    """Return the comparison of several networks: costs, measured throughput, published accuracies."""
    columns: list[tuple[str, Callable[[Json], str]]] = [
        ("network", _text("name")),
        ("input", lambda one: "x".join(map(str, one["input_px"]))),
        *_COSTS[2:],
    ]
    for title, way in (("runs/s", "running"), ("trains/s", "training")) if compared["timing"] else ():
        columns.append((title, lambda one, way=way: rate(one["speed"][way]["per_second"])))  # type: ignore[misc]
        columns.append(("of the first", lambda one, way=way: f"{one['speed'][way]['ratio']:.2f}"))  # type: ignore[misc]
    return _table([*columns, ("ImageNet top-1", _best)], compared["networks"], left=2)


def side_by_side_notes(compared: Json) -> list[str]:
    """Return notes on columns, measurement, and the weights behind the accuracies."""
    timing, said = compared["timing"], [_MEMORY]
    if timing:
        said.append(
            f"runs/s and trains/s: examples per second in inference and training, median of "
            f"{counted(timing['rounds'], 'round')} , alternating; {counted(timing['threads'], 'thread')}, batches of "
            f"{timing['batch']}, {timing['device']}, 32-bit floats. of the first: median of the ratios within the same "
            "round. Other load on the machine affects these figures."
        )
        units = ", ".join(timing["units"]) or "none known"
        said.append(f"processor: {timing['processor']}; instructions for bfloat16 and 8-bit integers: {units}.")
    if sources(compared):
        said.append(
            "ImageNet top-1: on the validation split, single centre crop, as stated by the publisher of the weights; "
            "in brackets for another variant:"
        )
    return said


def sources(compared: Json) -> list[tuple[str, str]]:
    """Return each set of weights with a published accuracy, the figure and its source."""
    stated = [one for network in compared["networks"] for one in network["accuracies"]]
    return list({one["spec"]: f"{one['top1_percent']:.3f} %, {one['source']}" for one in stated}.items())


def rate(per_second: float) -> str:
    """Format a throughput in examples per second."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def headline(described: Json) -> str:
    """Return the network in one line."""
    height, width = described["input_px"]
    return f"{described['name']} at {height} x {width} pixels: {costs(described)}"


def costs(part: Json) -> str:
    """`6,998,552 parameters, 1,582.7M multiply-adds`."""
    return f"{part['parameters']:,} parameters, {work(part['multiply_adds'])} multiply-adds"


def accuracies(described: Json) -> list[str]:
    """Return a sentence per published accuracy of this architecture."""
    return [
        f"{one['spec']}: {one['top1_percent']:.3f} % top-1 on ImageNet-1k's validation split, single centre crop "
        f"({one['source']})"
        for one in described["accuracies"]
        if one["same"]
    ]


def legend(described: Json) -> list[str]:
    """Return sentences that explain the columns."""
    said = [_COUNTED, _COLUMNS]
    if any(part["reach"] and part["reach"]["gated"] for part in (*described["stages"], *described["layers"])):
        said.append("gated: also scaled by a factor computed from the whole input (squeeze-and-excitation or similar).")
    if any(part["reach"] is None for part in described["stages"]):
        said.append(f"{NOTHING}: not available, for example for windowed attention.")
    return said


def shape(part: Json) -> str:
    """Return the output shape for one example: height x width x channels; tokens x features.

    Inputs are square, so if the first two sides are equal and the third is not, channels are last already.
    """
    output = part["output"]
    if output is None:
        return NOTHING
    if len(output) == 3 and not output[0] == output[1] != output[2]:
        output = (*output[1:], output[0])
    return "x".join(map(str, output))


def field(reach: Json | None) -> str:
    """Return the receptive field in input pixels."""
    if reach is None:
        return NOTHING
    if reach["whole"]:
        return "all"
    height, width = reach["field"]
    side = f"{height:,}" if height == width else f"{height:,}x{width:,}"
    return f"{side} gated" if reach["gated"] else side


def work(multiply_adds: int) -> str:
    """Format multiply-adds in millions."""
    return f"{multiply_adds / 1e6:,.1f}M"


def kilo(count: int) -> str:
    """Format a count as in the paper, in units of 1024."""
    return f"{count / 1024:,.1f}K" if count < 102_400 else f"{count / 1024:,.0f}K"


def _as_printed(count: int) -> str:
    return f"{count / 1024:,.3g}K" if count < 10_240 else kilo(count)


def _text(key: str) -> Callable[[Json], str]:
    return lambda record: str(record[key])


_COSTS: Columns = (
    ("output", shape),
    ("sees", lambda part: field(part["reach"])),
    ("parameters", lambda part: f"{part['parameters']:,}"),
    ("multiply-adds", lambda part: work(part["multiply_adds"])),
    ("to train", lambda part: size(part["kept_bytes"])),
    ("to run", lambda part: size(part["running_bytes"])),
)


def _table(columns: Columns, records: Iterable[Json], *, left: int, marked: frozenset[int] = frozenset()) -> Table:
    rows = tuple(tuple(cell(record) for _, cell in columns) for record in records)
    return Table(header=tuple(title for title, _ in columns), rows=rows, left=left, marked=marked)


def _filters(part: Json, key: str) -> str:
    if not part["filters"]:
        return ""
    return NOTHING if key in _OF_REDUCTIONS and not part["reductions"] else str(part["filters"][key])


def _best(network: Json) -> str:
    """Return the most accurate published weights, those of the same variant first."""
    best = min(network["accuracies"], key=lambda one: (not one["same"], -one["top1_percent"]), default=None)
    told = f"{best['top1_percent']:.1f} %" if best else NOTHING
    return told if not best or best["same"] else f"({told})"
