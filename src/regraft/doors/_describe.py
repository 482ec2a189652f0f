"""The command `describe`, and what it prints."""

import json as json_
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer


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
    json: Annotated[bool, typer.Option("--json", help="All of it as JSON, to stdout.")] = False,
) -> None:
    """Look into a network: what every stage costs and sees.

    No weights are needed, and nothing is fetched.

    \b
    regraft describe googlenet:paper --layers
    """
    from regraft.files import write_text
    from regraft.workbench import describe as verb

    (name,) = names
    described = verb(name, input_px=input_px).to_json()
    if svg is not None:
        from regraft.reports.drawing import draw

        write_text(svg, draw(described))
    if html is not None:
        from regraft.reports.architecture_page import render

        write_text(html, render(described))
    print(json_.dumps(described, indent=2) if json else told(described, layers=layers))


def told(described: dict[str, Any], *, layers: bool) -> str:
    """A described network as text."""
    from regraft.doors._tables import WIDTH, aligned, listed
    from regraft.reports import architecture

    def shown(table: architecture.Table) -> str:
        return aligned(table.header, table.rows, left=table.left)

    def prose(sentences: Sequence[str]) -> str:
        return "\n".join(fill(one, WIDTH, break_long_words=False, break_on_hyphens=False) for one in sentences)

    cuts = ", ".join(f"{cut} (partial)" if cut == described["partial_cut"] else cut for cut in described["cuts"])
    facts = [("", described["title"]), ("cuts", cuts), *(("", one) for one in architecture.accuracies(described))]
    parts = [
        f"{architecture.headline(described)}\n{listed(facts)}",
        shown(architecture.stages(described)),
        shown(architecture.side_heads(described)) if described["side_heads"] else "",
        shown(architecture.layers(described)) if layers else "",
        prose(architecture.legend(described)),
    ]
    if described["paper"]:
        parts += [
            "The paper's own table, and what its filter counts give (K is 1024):",
            shown(architecture.paper(described)),
            listed(architecture.paper_notes(described)),
        ]
    return "\n\n".join(filter(None, parts))
