"""What the table of probes puts into the cards of the networks that are shipped."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from _pooled import Table, interval, mean_of
from _probe_page import Page, n_told

from regraft.backbones.shipped import Figure, Shipped, shipped_weights
from regraft.bundle_format import read_json
from regraft.files import write_json

PROBES = "linear probes"
"""What the name of each of these figures begins with; a later measurement takes their places."""
LESS = " less that of "
"""What stands before the other network's name where the figure is a difference."""


def carded(labels: Sequence[str], sides_px: Sequence[int]) -> dict[str, Shipped]:
    """Those of the labels that are names of shipped networks, at a side for which their card is made.

    Raises:
        SystemExit: there are none, or the side is not among those that are measured.
    """
    found = {label: shipped for label in labels if (shipped := shipped_weights(label)) is not None}
    if not found:
        raise SystemExit(f"None of {', '.join(labels)} is shipped with regraft, so there is no card to write into.")
    for label, shipped in found.items():
        if (px := side_of(shipped)) not in sides_px:
            raise SystemExit(f"{label} is shipped for inputs of {px} pixels: add {px} to --px.")
    return found


def side_of(shipped: Shipped) -> int:
    """Side of the input that the card names."""
    return shipped.card.preparation.input_px[0]


def figures(found: Page, label: str, px: int, command: str) -> list[Figure]:
    """The mean over tasks and n of one network, and its difference to what the page compares with: its first network,
    or of that one to every other.

    Raises:
        SystemExit: not every probe of it ran, or there are too few seeds for an interval.
    """
    sizes = ", ".join(map(n_told, found.sizes))
    alone = Figure(**_ends(found.tables(label, px, found.sizes), label), source=command,
                   what=f"{PROBES} on {len(found.data)} target tasks ({sizes}; {px} px), mean accuracy")  # fmt: skip
    others, first = [], next(iter(found.weights))
    for other in found.weights:
        if other != label and first in (label, other):
            less = found.less((label, px), (other, px), found.sizes)
            others.append(replace(alone, **_ends(less, other), what=f"{alone.what}{LESS}{other}", signed=True))
    return [alone, *others]


def write_figures(shipped: Shipped, figures: Sequence[Figure]) -> None:
    """Put them into the card, in place of those that an earlier table wrote."""
    path = shipped.path.with_suffix(".json")
    kept = [asdict(figure) for figure in shipped.figures if not figure.what.startswith(PROBES)]
    write_json(path, {**read_json(path), "figures": [*kept, *map(asdict, figures)]})


def _ends(tables: Sequence[Table], label: str) -> dict[str, float]:
    ends = interval(tables)
    if ends is None:
        raise SystemExit(f"The probes of {label} did not all run, or have too few seeds for an interval.")
    return {"value": mean_of(tables), "low": ends[0], "high": ends[1]}
