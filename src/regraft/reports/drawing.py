"""A described network as a picture: one SVG, narrow enough for a telephone, from the input down to the classifier.

Inception modules are drawn with their branches, other stages with the windows of their layers; side heads hang beside
the stage they sit on, and the place of every cut is named. A bar in each stage shows its share of the multiply-adds,
another its share of the parameters. Plain text: no library is needed, and the same network gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from textwrap import wrap
from typing import Any

from regraft.reports._canvas import INK, SECOND
from regraft.reports.architecture import field, shape, work
from regraft.reports.words import counted

Json = Mapping[str, Any]

WIDTH = 400
"""Units across; one is a pixel on a telephone."""
MARGIN, PAD, GAP = 12, 12, 8
BOX = 30
"""Height of a layer's box."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
GREY, LINE, PAPER, CARD = "#5f6b76", "#9aa7b2", "#ffffff", "#f4f7f9"
COLOURS = {1: "#dce9f5", 3: "#abcdea", 5: "#74aadb", 0: "#f6d9cc"}
"""By side of the window; 0 for pools."""
JOINED, HEAD = "#cfe3cf", "#fbe9b0"
LISTED = 6
"""Steps of a stage that are named one by one; of more, the number of layers of each kind is told."""
TIED = "\u00a0"
"""A space at which no row ends."""
LETTERS = 50
"""Letters that a row has room for."""
_WORDS = {
    "Conv2d": "conv", "MaxPool2d": "max pool", "AvgPool2d": "mean pool", "Linear": "dense",
    "MultiheadAttention": "attention",
}  # fmt: skip


def draw(described: Json) -> str:
    """The picture as SVG text."""
    pen = _Pen()
    pen.text(MARGIN, 26, described["name"], size=18, bold=True)
    sums = f"{described['parameters']:,} parameters, {work(described['multiply_adds'])} multiply-adds"
    pen.text(MARGIN, 45, sums, size=12, colour=GREY)
    for at, (colour, of) in enumerate(((INK, "multiply-adds"), (SECOND, "parameters"))):
        pen.box(MARGIN + 190 * at, 58, 18, 3, colour, round_=1.5)
        pen.text(MARGIN + 190 * at + 24, 63, f"share of the {of}", size=11, colour=GREY)
    pen.y = 76
    height, width = described["input_px"]
    _plain_box(pen, f"input  {height}×{width}×{described['channels']}")
    _cut(pen, "input", described)
    for stage in described["stages"]:
        _stage(pen, stage, described)
        _cut(pen, stage["name"] if stage is not described["stages"][-1] else "output", described)
    if described["head"]:
        _plain_box(pen, f"classifier  {described['num_classes']:,} outputs", fill=HEAD)
    if any(stage["reach"] and stage["reach"]["gated"] for stage in described["stages"]):
        pen.text(MARGIN, pen.y + 20, "* and a factor from the whole input", size=11, colour=GREY)
        pen.y += 24
    return pen.finished(described)


class _Pen:
    """Collects shapes from the top down; `y` is where the next one begins."""

    def __init__(self) -> None:
        self.y = 0.0
        self._shapes: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, fill: str, *, round_: float = 5) -> None:
        self._shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}" fill="{fill}"/>'
        )

    def ground(self) -> int:
        """The place below everything that is drawn from now on."""
        return len(self._shapes)

    def frame(self, x: float, y: float, width: float, height: float, *, below: int) -> None:
        self._shapes.insert(
            below,
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{CARD}" '
            f'stroke="{LINE}" stroke-width="1"/>',
        )

    def line(self, points: Sequence[tuple[float, float]], *, dashed: bool = False, colour: str = LINE) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        self._shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')

    def text(
        self, x: float, y: float, text: str, *, size: float = 12, bold: bool = False, colour: str = "#1d2730",
        anchor: str = "start",
    ) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{weight}{where}>{escape(text)}</text>'
        )

    def finished(self, described: Json) -> str:
        height = self.y + MARGIN
        title = escape(f"{described['name']}, stage by stage")
        body = "\n".join(self._shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" font-family="{FONT}" role="img" aria-label="{title}">\n'
            f'<title>{title}</title>\n<rect width="{WIDTH}" height="{height:g}" fill="{PAPER}"/>\n{body}\n</svg>\n'
        )


def _plain_box(pen: _Pen, text: str, *, fill: str = "#e6ebef") -> None:
    pen.box(MARGIN, pen.y, WIDTH - 2 * MARGIN, BOX, fill)
    pen.text(WIDTH / 2, pen.y + 20, text, anchor="middle")
    pen.y += BOX


def _cut(pen: _Pen, cut: str, described: Json) -> None:
    """The wire to the next stage, and across it the cut that can be made there."""
    top, bottom = pen.y, pen.y + 26
    pen.line([(WIDTH / 2, top), (WIDTH / 2, bottom)])
    if cut in described["cuts"]:
        partial = cut == described["partial_cut"]
        middle = (top + bottom) / 2
        name = f"cut {cut}" + (" (partial)" if partial else "")
        end = WIDTH - MARGIN - 6.8 * len(name) - GAP
        pen.line([(MARGIN, middle), (end, middle)], dashed=True, colour=SECOND if partial else LINE)
        pen.text(WIDTH - MARGIN, middle + 4, name, size=11, colour=SECOND if partial else GREY, anchor="end")
    pen.y = bottom


def _stage(pen: _Pen, stage: Json, described: Json) -> None:
    """A card: name, output and costs, then what is inside, then the side head where one sits."""
    top, ground = pen.y, pen.ground()
    pen.text(MARGIN + PAD, top + 22, stage["name"], size=15, bold=True)
    pen.text(WIDTH - MARGIN - PAD, top + 22, shape(stage).replace("x", "×"), size=13, bold=True, anchor="end")
    facts = f"{stage['parameters']:,} parameters, {work(stage['multiply_adds'])} multiply-adds"
    pen.text(MARGIN + PAD, top + 39, facts, size=11, colour=GREY)
    pen.text(WIDTH - MARGIN - PAD, top + 39, _seen(stage["reach"]), size=11, colour=GREY, anchor="end")
    _shares(pen, top + 46, stage, described)
    pen.y = top + 64
    if stage["filters"]:
        _module(pen, stage)
        _after(pen, stage, described)
    else:
        _windows(pen, stage, described)
    pen.y += PAD - 2
    pen.frame(MARGIN, top, WIDTH - 2 * MARGIN, pen.y - top, below=ground)
    if stage["name"] in described["side_weights"]:
        _side_head(pen, stage["name"], described)


def _seen(reach: Json | None) -> str:
    """How far a cell of the stage sees."""
    if reach is None:
        return ""
    return "sees all" if reach["whole"] else f"sees {field({**reach, 'gated': False})} px" + "*" * reach["gated"]


def _shares(pen: _Pen, y: float, stage: Json, described: Json) -> None:
    """Two thin bars across the card: the stage's share of the multiply-adds, and of the parameters."""
    left, across = MARGIN + PAD, WIDTH - 2 * (MARGIN + PAD)
    for row, (key, colour) in enumerate((("multiply_adds", INK), ("parameters", SECOND))):
        share = stage[key] / max(1, described[key])
        pen.box(left, y + 5 * row, across, 3, "#e2e8ed", round_=1.5)
        pen.box(left, y + 5 * row, max(1.0, across * share), 3, colour, round_=1.5)


def _module(pen: _Pen, stage: Json) -> None:
    """The four branches of an Inception module, and the bar that joins them."""
    filters, wide = stage["filters"], stage["wide_kernel"]
    left, across = MARGIN + PAD, WIDTH - 2 * (MARGIN + PAD)
    column = (across - 3 * GAP) / 4
    lower: list[tuple[int, str]] = [
        (1, f"1×1  {filters['one']}"),
        (3, f"3×3  {filters['three']}"),
        (wide, f"{wide}×{wide}  {filters['five']}"),
        (1, f"1×1  {filters['pool']}") if stage["reductions"] else (0, "pool 3×3"),
    ]
    upper: list[tuple[int, str] | None] = [None, None, None, None]
    if stage["reductions"]:
        upper = [None, (1, f"1×1  {filters['three_in']}"), (1, f"1×1  {filters['five_in']}"), (0, "pool 3×3")]
    top = pen.y
    first, second = top + 14, top + 14 + (BOX + 14 if stage["reductions"] else 0)
    joined = second + BOX + 14
    centres = [left + at * (column + GAP) + column / 2 for at in range(4)]
    pen.line([(WIDTH / 2, top - 2), (WIDTH / 2, top + 4)])
    pen.line([(centres[0], top + 4), (centres[3], top + 4)])
    for centre, above, below in zip(centres, upper, lower, strict=True):
        pen.line([(centre, top + 4), (centre, joined)])
        for y, layer in ((first, above), (second, below)):
            if layer is not None:
                pen.box(centre - column / 2, y, column, BOX, COLOURS.get(layer[0], COLOURS[5]))
                pen.text(centre, y + 20, layer[1], anchor="middle")
    pen.box(left, joined, across, 16, JOINED)
    channels = (filters["one"], filters["three"], filters["five"])
    pooled = filters["pool"] if stage["reductions"] else None
    said = "side by side: " + " + ".join(map(str, channels)) + (f" + {pooled}" if pooled else " + the input's own")
    pen.text(WIDTH / 2, joined + 12, said, size=10, colour=GREY, anchor="middle")
    pen.y = joined + 16


def _after(pen: _Pen, stage: Json, described: Json) -> None:
    """A pool that belongs to the stage, below its module: a layer with a window outside the branches."""
    for layer in described["layers"]:
        if layer["stage"] == stage["name"] and layer["kind"] == "MaxPool2d" and "branch" not in layer["name"]:
            pen.line([(WIDTH / 2, pen.y), (WIDTH / 2, pen.y + 10)])
            pen.box(WIDTH / 2 - 70, pen.y + 10, 140, 24, COLOURS[0])
            pen.text(WIDTH / 2, pen.y + 26, _told(layer), anchor="middle")
            pen.y += 34


def _windows(pen: _Pen, stage: Json, described: Json) -> None:
    """The layers of a stage without branches, in words."""
    inside = [layer for layer in described["layers"] if layer["stage"] == stage["name"] and layer["output"]]
    shown = [layer for layer in inside if layer["kind"] in _WORDS]
    steps = [(name, len(list(same))) for name, same in groupby(map(_told, shown))]
    if len(steps) <= LISTED:
        said = [(name if times == 1 else f"{times} × {name}").replace(" ", TIED) for name, times in steps]
    else:
        kinds = [("Conv2d", "convolution"), ("Linear", "dense layer"), ("MaxPool2d", "pool")]
        numbers = [(sum(layer["kind"] == kind for layer in inside), word) for kind, word in kinds]
        said = [counted(number, word).replace(" ", TIED) for number, word in numbers if number]
    for row in wrap(", ".join(said), LETTERS, break_long_words=False, break_on_hyphens=False):
        pen.text(MARGIN + PAD, pen.y + 10, row, size=12)
        pen.y += 17


def _told(layer: Json) -> str:
    """`conv 7×7/2 64`, `max pool 3×3/2`, `dense 4096`."""
    window = layer["window"].replace("x", "×")
    width = layer["output"][0] if layer["kind"] == "Conv2d" else layer["output"][-1]
    return " ".join(filter(None, (_WORDS[layer["kind"]], window, "" if "Pool" in layer["kind"] else str(width))))


def _side_head(pen: _Pen, name: str, described: Json) -> None:
    """An auxiliary classifier, beside the wire below its stage."""
    part = next(one for one in described["side_heads"] if one["name"] == name)
    top, left = pen.y + 10, WIDTH / 2 + 16
    pen.line([(WIDTH / 2, pen.y), (WIDTH / 2, top + 46)])
    pen.line([(WIDTH / 2, top + 20), (left, top + 20)], colour=SECOND)
    pen.box(left, top, WIDTH - MARGIN - left, 40, HEAD)
    pen.text(left + 10, top + 17, f"side head, weight {described['side_weights'][name]:g}", size=12)
    pen.text(left + 10, top + 32, f"{part['parameters']:,} parameters", size=11, colour=GREY)
    pen.y = top + 46
