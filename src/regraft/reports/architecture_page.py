"""Diagrams of described networks as SVG and as an HTML page, for desktop and mobile.

The diagram goes from the input down to the classifier, with a card for each stage with its costs. Inception modules are
drawn with their branches, other stages with their layers in words; side heads are shown at their stage, and every cut
is labelled. The output is deterministic.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from textwrap import wrap
from typing import Any, NamedTuple

from regraft.reports import architecture
from regraft.reports.page import environment
from regraft.reports.plots import INK, SECOND

Json = Mapping[str, Any]

COLOURS = {1: "#dce9f5", 3: "#abcdea", 5: "#74aadb"}
"""By side of the window."""
POOL, JOINED, SIDE_HEAD = "#f6d9cc", "#cfe3cf", "#fbe9b0"
LISTED = 6
"""Steps of a stage that are named one by one; of more, it is told how many of each kind there are."""
TIED = "\u00a0"
"""A space at which no row ends."""
LETTERS = 50
"""Letters that a row has room for."""
_WORDS = {
    "Conv2d": "conv", "MaxPool2d": "max pool", "AvgPool2d": "mean pool", "Linear": "dense",
    "MultiheadAttention": "attention",
}  # fmt: skip


class Box(NamedTuple):
    """A box of a stage's card."""

    row: int
    """From the top."""
    column: float
    """Where it begins, of four columns."""
    span: int
    """Columns that it takes."""
    colour: str
    """`none` for words alone."""
    text: str
    """What stands in it."""


def render(described: Json) -> str:
    """Render the page as HTML."""
    facts = [architecture.headline(described), described["title"], described["source"]]
    page = environment().get_template("architecture.html")
    return page.render(
        name=described["name"],
        facts=[*facts, *architecture.accuracies(described)],
        drawing=draw(described),
        sections=architecture.sections(described, every_layer=True),
    )


def draw(described: Json) -> str:
    """Draw the diagram as SVG."""
    stages = [
        {
            **stage,
            "shape": architecture.shape(stage).replace("x", "×"),
            "costs": architecture.costs(stage),
            "sees": architecture.field(stage["reach"]),
            "shares": [stage[key] / max(1, described[key]) for key in ("multiply_adds", "parameters")],
            "boxes": [*_boxes(stage, described), *_side_head(stage, described)],
            "cut": "output" if stage is described["stages"][-1] else stage["name"],
        }
        for stage in described["stages"]
    ]
    bars = ((INK, "multiply-adds"), (SECOND, "parameters"))
    drawing = environment().get_template("drawing.svg")
    return drawing.render({**described, "stages": stages, "sums": architecture.costs(described), "bars": bars})


def _boxes(stage: Json, described: Json) -> Iterator[Box]:
    """What is inside a stage."""
    layers = [layer for layer in described["layers"] if layer["stage"] == stage["name"] and layer["output"]]
    if not stage["filters"]:
        for row, words in enumerate(_words(layers)):
            yield Box(row, 0, 4, "none", words)
        return
    filters, side, last = stage["filters"], stage["wide_kernel"], int(stage["reductions"])
    channels = [str(filters[branch]) for branch in ("one", "three", "five", "pool")]
    yield Box(last, 0, 1, COLOURS[1], f"1×1  {channels[0]}")
    yield Box(last, 1, 1, COLOURS[3], f"3×3  {channels[1]}")
    yield Box(last, 2, 1, COLOURS[side], f"{side}×{side}  {channels[2]}")
    yield Box(0, 3, 1, POOL, "pool 3×3")
    if stage["reductions"]:
        yield Box(0, 1, 1, COLOURS[1], f"1×1  {filters['three_in']}")
        yield Box(0, 2, 1, COLOURS[1], f"1×1  {filters['five_in']}")
        yield Box(1, 3, 1, COLOURS[1], f"1×1  {channels[3]}")
    else:
        channels[3] = "the input's own"
    yield Box(last + 1, 0, 4, JOINED, f"in parallel: {' + '.join(channels)}")
    for layer in layers:
        if layer["kind"] == "MaxPool2d" and "branch" not in layer["name"]:
            yield Box(last + 2, 1, 2, POOL, _told(layer))


def _side_head(stage: Json, described: Json) -> Iterator[Box]:
    """The auxiliary classifier on a stage, where one sits there; below two rows, the joined channels and no pool."""
    for part in described["side_heads"]:
        if part["name"] == stage["name"]:
            weight = described["side_weights"][part["name"]]
            text = f"side head, weight {weight:g}, {part['parameters']:,} parameters"
            yield Box(2 + stage["reductions"], 0, 4, SIDE_HEAD, text)


def _words(layers: list[Json]) -> list[str]:
    """The layers of a stage without branches, in rows of words."""
    shown = [layer for layer in layers if layer["kind"] in _WORDS]
    steps = [(name, len(list(same))) for name, same in groupby(map(_told, shown))]
    if len(steps) > LISTED:
        steps = [*Counter(_told({**layer, "output": [""]}) for layer in shown).items()]
    text = ", ".join((name if times == 1 else f"{times} × {name}").replace(" ", TIED) for name, times in steps)
    return wrap(text, LETTERS, break_long_words=False, break_on_hyphens=False)


def _told(layer: Json) -> str:
    """`conv 7×7/2 64`, `max pool 3×3/2`, `dense 4096`."""
    width = layer["output"][0] if layer["kind"] == "Conv2d" else layer["output"][-1]
    words = (_WORDS[layer["kind"]], layer["window"].replace("x", "×"), "" if "Pool" in layer["kind"] else str(width))
    return " ".join(filter(None, words))
