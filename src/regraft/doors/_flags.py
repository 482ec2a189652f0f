"""Flags of the command line. Flags for fields of the recipe take name, type and help text from there, so that all
commands that read labelled data have the same ones."""

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from regraft.errors import BadRequest
from regraft.recipe import parse_setting
from regraft.workbench.strategies import recipe_fields


def flag(sentence: str) -> Any:
    """Return a flag with this help text."""
    return typer.Option(help=sentence)


def given(sentence: str) -> Any:
    """Return a flag whose help text states its default, or which has none."""
    return typer.Option(help=sentence, show_default=False)


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Do not show progress (results, errors and notices about skipped data remain)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Abstain = Annotated[
    float | None,
    given("Reject out-of-distribution inputs: OOD score above this quantile of the training set (0.99, say)."),
]
Target = Annotated[
    str, typer.Argument(metavar="DATA_OR_RECIPE", help="Data (folder, archive or table), or recipe.toml.")
]
COLUMNS = (
    "source.path_column", "source.text_columns", "source.label_column", "source.label_delimiter", "source.split_column",
    "source.group_column", "source.group_pattern",
)  # fmt: skip
"""Fields for reading labelled examples."""
RECIPE = (
    "backbone", "task", "strategy", "cut", "seed", "input_px", "views", "augmentation", "device", *COLUMNS,
    "source.allow_leaks",
)  # fmt: skip
"""Fields with a flag of their own; all others are set with `--set`."""
_KINDS = {"str": str, "int": int, "float": float}
_SET = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Set any field of the recipe, such as options.lr=1e-4. Repeatable."
    ),
]
_DURATION = re.compile(r"(?:([0-9.]+)d)?(?:([0-9.]+)h)?(?:([0-9.]+)m(?:in)?)?(?:([0-9.]+)s?)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0)


def with_flags(*paths: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter `settings` by a flag for each of these recipe fields, and `--set`; the command
    receives the given values by path."""

    def changed(command: Callable[..., None]) -> Callable[..., None]:
        flags = [*map(_parameter, paths), _keyword("set_", _SET, None)]
        parameters = list[inspect.Parameter]()
        for own in inspect.signature(command).parameters.values():
            parameters += flags if own.name == "settings" else [own.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

        def called(**given: Any) -> None:
            used, others = {path: given.pop(_name(path)) for path in paths}, given.pop("set_") or []
            command(**given, settings=settings(used, others))

        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return changed


def settings(flags: Mapping[str, Any], given: list[str]) -> dict[str, Any]:
    """Return used flags by the path of their field, overridden by `--set path=value`.

    Raises:
        BadRecipe: a setting has no `=`.
    """
    used = {path: value for path, value in flags.items() if value is not None and value is not False}
    if columns := used.pop("source.label_column", None):
        used |= {"source.label_column": columns[0]} if len(columns) == 1 else {"source.label_columns": columns}
    return used | dict(map(parse_setting, given))


def seconds(text: str) -> float:
    """Parse a duration like `600`, `90s`, `10m`, `1h30m` or `2d` into seconds.

    Raises:
        BadRequest: it is not a duration above zero.
    """
    found = _DURATION.fullmatch(text.strip().replace(" ", ""))
    parts = zip(found.groups(), _UNITS_S, strict=True) if found else ()
    try:
        total = sum(float(part) * unit for part, unit in parts if part)
    except ValueError:
        total = 0
    if total <= 0:
        raise BadRequest(
            f"{text!r} is not a valid duration.", fix="write it as 600, 90s, 10m, 1h30m or 2d, for example."
        )
    return total


def between_commas(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [one.strip() for one in text.split(",") if one.strip()]


def percent(text: str) -> float:
    """Parse a percentage like `10` or `10%` into a share.

    Raises:
        BadRequest: it is not a number.
    """
    try:
        return float(text.strip().rstrip("%")) / 100
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a percentage.", fix="write, for example, 10,20,50,100%.") from error


def _parameter(path: str) -> inspect.Parameter:
    """Return the flag for a field, with its description, and its default if that is text."""
    field, name = recipe_fields()[path], _name(path)
    default = ast.literal_eval(field.default) if field.default else ""
    help_ = field.sentence + (f" Default: {default}." if default and isinstance(default, str) else "")
    if path == "source.label_column":
        help_ += " Repeat it for several label or target columns."
    option = typer.Option(f"--{name.replace('_', '-')}", help=help_, show_default=False)
    if field.kind.startswith("tuple"):
        option = typer.Option(
            f"--{name.removesuffix('s').replace('_', '-')}", help=f"{help_} Repeatable.", show_default=False
        )
        return _keyword(name, Annotated[list[str] | None, option], None)
    if field.kind == "bool":
        return _keyword(name, Annotated[bool, option], False)
    kind: Any = list[str] if path == "source.label_column" else _KINDS[field.kind]
    return _keyword(name, Annotated[kind | None, option], None)


def _keyword(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _name(path: str) -> str:
    return path.rpartition(".")[2]
