"""The command `describe`, and what it prints."""

import json as json_
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from regraft.reports.architecture import Table


def describe(
    names: Annotated[
        list[str], typer.Argument(metavar="BACKBONE...", help="NAME[:VARIANT][@WEIGHTS], or a model's folder.")
    ],
    input_px: Annotated[
        int | None, typer.Option(help="Side of the square input, in pixels. Default: the network's own.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Every layer, not stages alone.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write a drawing of the network here.", show_default=False)] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with drawing and tables here.", show_default=False)
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="One line a network; so with several anyway.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Compare, and measure examples a second on this machine.")
    ] = False,
    batch: Annotated[int, typer.Option(help="With --measure: examples in a batch.")] = 8,
    rounds: Annotated[int, typer.Option(help="With --measure: how often each network is measured.")] = 3,
    threads: Annotated[int, typer.Option(help="With --measure: CPU threads; 0 for all cores.")] = 0,
    device: Annotated[str, typer.Option(help="With --measure: cpu, cuda, mps or auto.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="All of it as JSON, to stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; errors and results remain.")] = False,
) -> None:
    """Look into a network: what every stage costs and sees.

    No weights are needed, and nothing is fetched. With several, one line each.

    \b
    regraft describe googlenet:paper --html googlenet.html
    regraft describe googlenet alexnet vgg16 resnet50 --measure
    """
    from regraft.errors import BadRequest

    if len(names) > 1 or compare or measure:
        if layers or svg or html:
            raise BadRequest("--layers, --svg and --html are of one network.", fix="describe the networks one by one.")
        timing = {"batch": batch, "rounds": rounds, "threads": threads, "device": device} if measure else None
        found = _side_by_side(names, input_px, timing, quiet=quiet)
        print(json_.dumps(found, indent=2) if json else side_by_side(found))
        return

    from regraft.files import write_text
    from regraft.reports.architecture_page import draw, render
    from regraft.workbench import describe as verb

    described = verb(names[0], input_px=input_px).to_json()
    if svg is not None:
        write_text(svg, draw(described))
    if html is not None:
        write_text(html, render(described))
    print(json_.dumps(described, indent=2) if json else told(described, layers=layers))


def told(described: Mapping[str, Any], *, layers: bool) -> str:
    """A described network as text."""
    from regraft.doors._tables import listed
    from regraft.reports import architecture

    cuts = ", ".join(f"{cut} (partial)" if cut == described["partial_cut"] else cut for cut in described["cuts"])
    facts = [("family", described["title"]), ("source", described["source"]), ("cuts", cuts)]
    facts += [("published", one) for one in architecture.accuracies(described)]
    blocks = [f"{architecture.headline(described)}\n{listed(facts)}"]
    for title, table, notes in architecture.sections(described, every_layer=layers):
        blocks += [f"{title}:", _shown(table), _prose(notes)]
    return "\n\n".join(filter(None, blocks))


def side_by_side(compared: Mapping[str, Any]) -> str:
    """Several networks as text."""
    from regraft.doors._tables import listed
    from regraft.reports import architecture

    notes = f"{_prose(architecture.side_by_side_notes(compared))}\n{listed(architecture.sources(compared))}"
    return f"{_shown(architecture.side_by_side(compared))}\n\n{notes}"


def _side_by_side(
    names: list[str], input_px: int | None, timing: Mapping[str, Any] | None, *, quiet: bool
) -> dict[str, Any]:
    from regraft.doors._terminal import watched
    from regraft.workbench.describe import SideBySide, timing_of
    from regraft.workbench.describe import side_by_side as verb

    events = verb(names, input_px=input_px, timing=None if timing is None else timing_of(**timing))
    (found,) = (event for event in watched(events, quiet=quiet) if isinstance(event, SideBySide))
    return found.to_json()


def _shown(table: "Table") -> str:
    from regraft.doors._tables import aligned

    return aligned(table.header, table.rows, left=table.left)


def _prose(sentences: Iterable[str]) -> str:
    from regraft.doors._tables import WIDTH

    return "\n".join(fill(one, WIDTH, break_long_words=False, break_on_hyphens=False) for one in sentences)
