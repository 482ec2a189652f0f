"""One plot as SVG text, drawn by matplotlib, which is loaded when it is asked for: that costs about a second."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SECOND = "#20639b", "#d1603d"
LONG_NAME = 24
"""Names are cut to so many characters."""


def svg(draw: "Callable[[Axes], None]", inches: tuple[float, float]) -> str:
    """One plot as SVG text, the same bytes for the same numbers."""
    return svg_of_panels([draw], inches)


def svg_of_panels(draws: "list[Callable[[Axes], None]]", inches: tuple[float, float]) -> str:
    """Plots side by side, each `inches` wide and high."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "regraft",
        "text.parse_math": False,  # a `$` in a class name is a `$`
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(inches[0] * len(draws), inches[1]), layout="constrained")
        for at, draw in enumerate(draws):
            draw(figure.add_subplot(1, len(draws), at + 1))
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="svg", metadata={"Date": None}, bbox_inches="tight"
        )  # a title was cut off without
    return buffer.getvalue().decode()


def short(name: str) -> str:
    """A name no longer than a plot has room for."""
    return name if len(name) <= LONG_NAME else name[: LONG_NAME - 1] + "…"
