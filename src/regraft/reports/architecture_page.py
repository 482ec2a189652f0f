"""A described network as a web page: one file, with the drawing and the tables in it, for a desktop and a telephone."""

from collections.abc import Mapping
from html import escape
from typing import Any

from regraft.reports import architecture
from regraft.reports.architecture import Table
from regraft.reports.drawing import draw

Json = Mapping[str, Any]

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1400px; padding: 16px; color: #1d2730; background: #fff;
       font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
h1 { font-size: 26px; margin: 8px 0 0; } h2 { font-size: 19px; margin: 32px 0 8px; }
p, li { max-width: 70ch; } .facts { color: #5f6b76; margin: 4px 0; } .note { color: #5f6b76; font-size: 14px; }
.drawing svg { width: 100%; max-width: 420px; height: auto; display: block; margin: 16px auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 8px; border-bottom: 1px solid #e2e8ed; text-align: right; white-space: nowrap; }
th { color: #5f6b76; font-weight: 600; white-space: normal; vertical-align: bottom; } .word { text-align: left; }
tr.marked td { background: #fdeee7; } tr:last-child td { border-bottom: none; }
summary { cursor: pointer; font-size: 19px; font-weight: 600; margin: 32px 0 8px; }
@media (min-width: 1000px) {
  main { display: grid; grid-template-columns: 400px minmax(0, 1fr); gap: 24px; align-items: start; }
}
"""


def render(described: Json) -> str:
    """The page as HTML text."""
    name = escape(described["name"])
    sections = [
        _section("Stage by stage", architecture.stages(described)),
        "".join(f'<p class="note">{escape(one)}</p>' for one in architecture.legend(described)),
        _section("Side heads", architecture.side_heads(described)) if described["side_heads"] else "",
        _paper(described) if described["paper"] else "",
        f"<details><summary>Layer by layer</summary>{_table(architecture.layers(described))}</details>",
    ]
    facts = [
        architecture.headline(described),
        described["title"],
        described["source"],
        *architecture.accuracies(described),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{name}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
        + "".join(f'<p class="facts">{escape(one)}</p>\n' for one in facts)
        + f'<main>\n<div class="drawing">{draw(described)}</div>\n<div>\n'
        + "\n".join(filter(None, sections))
        + "\n</div>\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, table: Table) -> str:
    return f"<h2>{escape(title)}</h2>{_table(table)}"


def _paper(described: Json) -> str:
    notes = "".join(
        f"<li><b>{escape(name)}</b>: {escape(note)}</li>" for name, note in architecture.paper_notes(described)
    )
    return (
        f"{_section('The paper’s own table', architecture.paper(described))}"
        f'<p class="note">K is 1024. Three rows do not follow from their own filter counts:</p><ul>{notes}</ul>'
    )


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str, marked: bool = False) -> str:
        shown = "".join(
            f'<{tag} class="word">{escape(cell)}</{tag}>' if at < table.left else f"<{tag}>{escape(cell)}</{tag}>"
            for at, cell in enumerate(cells)
        )
        return f'<tr class="marked">{shown}</tr>' if marked else f"<tr>{shown}</tr>"

    body = "\n".join(row(cells, "td", at in table.marked) for at, cells in enumerate(table.rows))
    return f'<div class="wide"><table><thead>{row(table.header, "th")}</thead>\n<tbody>{body}</tbody></table></div>'
