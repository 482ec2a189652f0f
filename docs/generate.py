"""Write what the documentation takes from the code, so that the two cannot drift apart.

    make docs-generate                  write the parts again
    python docs/generate.py --check     change nothing; say which are not as the code has them (exit code 1)

A page holds such a part between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of the page is written by hand.
A command that has no page yet gets one, whose text is then to be written.
"""

import dataclasses
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import typer.main
from typer.testing import CliRunner

import regraft
from regraft.doors.cli import app
from regraft.modalities.image.augment import Augmentation
from regraft.recipe import Recipe
from regraft.workbench.backbones import ArchitectureFacts, backbones
from regraft.workbench.describe import describe
from regraft.workbench.strategies import Field, fields_of, regularisers, strategies, tree_of_module

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "src" / "regraft"
COLUMNS = 100
PART = re.compile(r"<!-- generated: (?P<name>[^\n]+?) -->\n.*?<!-- end -->", re.DOTALL)


def commands() -> list[str]:
    """Every command, in the order of `regraft --help`."""
    return list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def help_of(name: str) -> str:
    """What `regraft NAME --help` prints, in a fixed width and without colour; without NAME that of the program."""
    words = [name, "--help"] if name else ["--help"]
    done = CliRunner().invoke(app, words, prog_name="regraft", color=False, terminal_width=COLUMNS)
    lines = [line.rstrip() for line in done.stdout.strip().splitlines()]
    return "\n".join(["```text", *lines, "```"])


def verbs() -> str:
    """A table of the commands with their first sentences."""
    every = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return table(
        ("command", "what it does"),
        ((f"[{name}]({name}.md)", (one.help or "").strip().partition("\n")[0]) for name, one in every.items()),
    )


def recipe() -> str:
    """The fields of a recipe, section by section."""
    kinds = get_type_hints(Recipe)
    top = fields_of(tree_of_module(Recipe.__module__), Recipe.__name__)
    sections: list[tuple[str, str, tuple[Field, ...]]] = [
        ("Top of the file", "Before the first section.", tuple(one for one in top if is_plain(one.name)))
    ]
    for one in top:
        kind = kinds[one.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            fields = fields_of(tree_of_module(kind.__module__), kind.__name__)
            sections.append((f"`[{one.name}]`", one.sentence, fields))
    sections.append(
        (
            "`[augment]`",
            "How views differ from the plain one. What is not set is the preset's (`augmentation`).",
            fields_of(tree_of_module(Augmentation.__module__), Augmentation.__name__),
        )
    )
    told = [f"## {title}\n\n{sentence}\n\n{settings(fields)}" for title, sentence, fields in sections]
    told.append("## `[options]`\n\nThe options of the strategy: [strategies](strategies.md).")
    return "\n\n".join(told)


def is_plain(name: str) -> bool:
    """Whether a field of the recipe is a value of its own, not a section."""
    kind = get_type_hints(Recipe)[name]
    return not dataclasses.is_dataclass(kind) and name not in ("options", "augment")


def settings(fields: Iterable[Field]) -> str:
    """Fields as a table."""
    return table(
        ("name", "kind", "default", "meaning"),
        ((code(one.name), code(one.kind), code(one.default), prose(one.sentence)) for one in fields),
    )


def strategies_page() -> str:
    """Every strategy with its presets and options."""
    told = []
    for one in strategies():
        presets = (
            (
                code(name),
                preset.title,
                f"`{preset.cut}`" if preset.cut else "the backbone's",
                str(preset.views) if preset.views else "a new one every epoch",
                ", ".join(code(f"{option}={value}") for option, value in preset.options.items()),
            )
            for name, preset in one.presets.items()
        )
        head = table(("`--strategy`", "what is trained", "cut", "views", "options that differ"), presets)
        told.append(f"## {one.name}\n\n{one.title}\n\n{head}\n\n### Options of {one.name}\n\n{settings(one.options)}")
    held = table(
        ("`options.regulariser`", "what it is", "weight"),
        ((code(one.name), one.title, f"{one.weight:g}") for one in regularisers()),
    )
    return "\n\n".join([*told, f"## Regularisers\n\nFor strategies that have the option `regulariser`.\n\n{held}"])


def sides(about: ArchitectureFacts) -> tuple[str, str]:
    """Side of the input in pixels, and of the smallest; of networks of texts there is none."""
    return (f"{about.input_px[0]}", f"{about.smallest_px}") if about.input_px else ("–", "–")


def backbones_page() -> str:
    """Every backbone with its architecture and weights; nothing that depends on the machine."""
    rows, told = [], []
    for one in backbones():
        about = one.architecture
        facts = ("each its own",) * 4
        if about is not None:
            facts = (*sides(about), f"{about.width or '–'}", code(about.partial_cut) if about.partial_cut else "–")
        rows.append((f"[{one.name}](#{one.name})", one.title, *facts))
        weights = table(
            ("`--backbone`", "trained on", "to fetch", "terms", "when to prefer them"),
            (
                (
                    code(each.spec), each.trained_on, "" if each.size_mb is None else f"{each.size_mb:g} MiB",
                    each.licence, each.prefer,
                )
                for each in one.weights
            ),
        )  # fmt: skip
        cuts = "" if about is None else f"Cuts: {', '.join(map(code, about.cuts))}.\n\n"
        variants = f"Variants: {', '.join(map(code, one.variants))}.\n\n" if len(one.variants) > 1 else ""
        prefer = f"Prefer it {one.prefer}.\n\n"
        told.append(f"## {one.name}\n\n{one.title}. {one.source}\n\n{prefer}{variants}{cuts}{weights}")
    columns = ("name", "network", "input, pixels", "smallest", "features", "partial cut")
    return "\n\n".join([table(columns, rows), *told])


def api() -> str:
    """Directives for the public names of the package."""
    names = [name for name in regraft.__all__ if not name.startswith("_")]
    return "\n\n".join(f"::: {getattr(regraft, name).__module__}.{name}" for name in names)


def contracts() -> str:
    """Directives for every file of the contracts."""
    names = sorted(path.stem for path in (PACKAGE / "contracts").glob("[!_]*.py"))
    return "\n\n".join(f"::: regraft.contracts.{name}" for name in names)


def stages_of(specs: Sequence[str]) -> str:
    """What every stage costs: of one network with its shapes and filters, of several next to each other."""
    found = [describe(spec) for spec in specs]
    parts = [[*one.costs.stages, *([one.costs.head] if one.costs.head else [])] for one in found]
    if len(found) > 1:
        header = ["stage", *(f"{name}, {of}" for name in specs for of in ("parameters", "multiply-adds"))]
        rows = [[stage[0].name, *(cell for one in stage for cell in cost(one))] for stage in zip(*parts, strict=True)]
        return table(header, [*rows, ["together", *(cell for one in found for cell in cost(one.costs))]])
    branches = BRANCHES if any(one.filters for one in parts[0]) else ()
    rows = [
        [one.name, "×".join(map(str, (*one.output[1:], one.output[0]))), *cost(one), *filters_of(one)[: len(branches)]]
        for one in parts[0]
    ]
    total = ["together", "", *cost(found[0].costs), *("" for _ in branches)]
    return table(("stage", "output", "parameters", "multiply-adds", *branches), [*rows, total])


BRANCHES = ("1×1", "3×3", "5×5", "pool")


def filters_of(one: Any) -> list[str]:
    """Filters of the four branches of an Inception module; behind a reduction, those of both."""
    if one.filters is None:
        return ["", "", "", ""]
    each = one.filters
    return [f"{each.one}", f"{each.three_in} → {each.three}", f"{each.five_in} → {each.five}", f"{each.pool}"]


def cost(one: Any) -> list[str]:
    """Parameters, and multiply-adds in millions."""
    return [f"{one.parameters:,}", f"{one.multiply_adds / 1e6:,.1f}M"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def prose(text: str) -> str:
    """A sentence in which brackets that follow brackets are no link."""
    return text.replace("][", "]\\[")


def code(text: str) -> str:
    """As code, where there is any."""
    return f"`{text}`" if text else ""


PARTS: dict[str, Callable[[], str]] = {
    "verbs": verbs, "recipe": recipe, "strategies": strategies_page, "backbones": backbones_page, "api": api,
    "contracts": contracts, "help": lambda: help_of(""),
}  # fmt: skip


def part(name: str) -> str:
    """The text of a generated part.

    Raises:
        ValueError: there is none of this name.
    """
    if name.startswith("help "):
        return help_of(name.removeprefix("help "))
    if name.startswith("stages "):
        return stages_of(name.split()[1:])
    if name not in PARTS:
        raise ValueError(
            f"no generated part is called {name!r}; there are {', '.join(PARTS)}, 'help COMMAND' and 'stages NETWORK …'"
        )
    return PARTS[name]()


def page(text: str) -> str:
    """A page with its generated parts as the code has them."""
    return PART.sub(lambda found: f"<!-- generated: {found['name']} -->\n\n{part(found['name'])}\n\n<!-- end -->", text)


def draft(name: str) -> str:
    """The first text of a command's page."""
    return textwrap.dedent(f"""\
        # {name}

        ## Help

        <!-- generated: help {name} -->
        <!-- end -->
        """)


def wanted() -> dict[Path, str]:
    """Every page that has generated parts, as it should be."""
    found = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
    drafts = {DOCS / "verbs" / f"{name}.md": draft(name) for name in commands()}
    every = drafts | {path: text for path, text in found.items() if PART.search(text)}
    return {path: page(text) for path, text in every.items()}


def main() -> int:
    """Write or check; returns the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for path, text in wanted().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(DOCS.parent))
            if not check:
                path.write_text(text, encoding="utf-8")
    known = (*commands(), "README")
    gone = [path.relative_to(DOCS.parent) for path in (DOCS / "verbs").glob("*.md") if path.stem not in known]
    for name in gone:
        print(f"{name} is about a command that does not exist: delete it, and its line in verbs/README.md")
    for name in stale:
        print(f"{name} {'is not as the code has it' if check else 'written'}")
    if check and stale:
        print("fix: make docs-generate")
    return 1 if gone or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
