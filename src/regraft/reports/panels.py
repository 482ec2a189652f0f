"""Images side by side with a line of text under each, as one SVG that holds them."""

import base64
from collections.abc import Sequence
from html import escape

SIDE = 180
"""Sides of a panel, in units of the drawing."""
A_ROW = 4
"""Panels in a row."""
LINE = 24
"""Characters of a caption, at most."""


def panels(images: Sequence[tuple[str, bytes]]) -> str:
    """The drawing: caption and PNG of each. The colours are kept where a page turns drawings dark."""
    made = []
    for at, (caption, png) in enumerate(images):
        x, y = SIDE * (at % A_ROW) + 4, (SIDE + 24) * (at // A_ROW) + 4
        data = base64.b64encode(png).decode()
        shown = caption if len(caption) <= LINE else caption[: LINE - 1] + "…"
        made.append(
            f'<image x="{x}" y="{y}" width="{SIDE - 8}" height="{SIDE - 8}" href="data:image/png;base64,{data}"/>'
            f'<text x="{x}" y="{y + SIDE + 6}" font-size="12" font-family="sans-serif"><title>{escape(caption)}</title>'
            f"{escape(shown)}</text>"
        )
    width, height = SIDE * min(A_ROW, len(images)), (SIDE + 24) * -(-len(images) // A_ROW) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="filter: none !important; background: white">{"".join(made)}</svg>'
    )
