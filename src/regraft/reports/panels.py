"""A grid of images, or text excerpts, with captions, as a single SVG."""

import base64
from collections.abc import Sequence
from html import escape

SIDE = 180
"""Side of a panel, in SVG units."""
A_ROW = 4
"""Number of panels per row."""
LARGER = 1.5
"""How much larger panels are when there are two in a row."""
LINE, LINES = 24, 9
"""Characters of a caption and of a line of text, at most; lines of a text."""


def panels(cells: Sequence[tuple[str, bytes | str]], *, large: bool = False) -> str:
    """Render the grid from (caption, PNG or text) cells; `large` for images with details. Images keep their colours in
    dark mode."""
    made, a_row, scale = [], A_ROW // 2 if large else A_ROW, LARGER if large else 1
    for at, (caption, inside) in enumerate(cells):
        x, y = SIDE * (at % a_row) + 4, (SIDE + 24) * (at // a_row) + 4
        if isinstance(inside, bytes):
            data = base64.b64encode(inside).decode()
            made.append(
                f'<image x="{x}" y="{y}" width="{SIDE - 8}" height="{SIDE - 8}" href="data:image/png;base64,{data}"/>'
            )
        else:
            lines = [inside[start : start + LINE] for start in range(0, min(len(inside), LINE * LINES), LINE)]
            made += [f'<text x="{x}" y="{y + 14 + 16 * row}">{escape(line)}</text>' for row, line in enumerate(lines)]
        shown = caption if len(caption) <= LINE else f"{caption[: LINE // 3]}…{caption[1 + LINE // 3 - LINE :]}"
        made.append(f'<text x="{x}" y="{y + SIDE + 6}">{escape(shown)}<title>{escape(caption)}</title></text>')
    width, height = SIDE * min(a_row, len(cells)), (SIDE + 24) * -(-len(cells) // a_row) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width * scale:g}" height="{height * scale:g}" '
        'font-size="12" font-family="sans-serif" '
        f'style="filter: none !important; background: white">{"".join(made)}</svg>\n'
    )
