"""A whole run as a frozen value, written as TOML. Loading one runs no code; unknown keys are refused.

A recipe that a run wrote back has every default filled in and remembers in `[seen]` which weights and data it saw; a
rerun on others is refused.
"""

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from regraft.errors import BadRecipe, UnknownName, nearest

T = TypeVar("T")

FORMAT = 2
"""Of recipes that a run writes; raised when a field is renamed or means something else."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """How the data are read."""

    path_column: str = "path"
    """Column of a table that holds the paths."""
    folder: str = ""
    """Folder that these paths start from, itself relative to the table's own; empty: the table's own."""
    text_columns: tuple[str, ...] = ()
    """Columns of a table whose cells are the content itself (a text, a question and its context), instead of paths."""
    label_column: str = "label"
    """Column of a table that holds the labels."""
    label_columns: tuple[str, ...] = ()
    """Several columns of a table: of 0 and 1, each a label, or of numbers to predict."""
    label_delimiter: str = ""
    """What separates the labels of a cell such as `cat;dog`; an empty cell has none. Empty: a cell is one label."""
    split_column: str = "split"
    """Column of a table that holds train, val or test; may be missing from the table."""
    group_column: str = "group"
    """Column of a table that says which examples belong together (one patient, one plant); may be missing."""
    group_pattern: str = ""
    """Regular expression matched on an example's id; its first group is the example's group. Empty: none."""
    strip_labels: bool = False
    """Whether spaces around labels are removed."""
    val_share: float = 0.15
    """Share of the training examples set aside for validation, where none is given and enough are there."""
    test_share: float = 0.2
    """Share of the examples set aside for the test, where none is given and there are 500 or more."""
    train_share: float = 1.0
    """Share of the training and of the validation examples that are used, for learning curves."""
    allow_leaks: bool = False
    """Continue even if train, validation and test overlap; the report says so."""
    max_damaged_share: float = 0.05
    """Largest share of files that cannot be decoded before the run stops."""
    rehash: bool = False
    """Re-hash every file instead of trusting cached hashes (known by path, size, time and inode)."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is predicted of numbers and ranks."""

    transform: Literal["none", "log"] = "none"
    """`log`: the logarithm of positive numbers is learned, for prices and counts that differ by factors; predictions
    are in the user's units."""
    order: tuple[str, ...] = ()
    """Classes of an ordinal task from the lowest to the highest; empty: by number, where they are numbers."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where the line is drawn between two classes; of no effect on training."""

    positive: str = ""
    """Positive class of a binary task (ill, defective, fraud); empty: the second by name."""
    specificity: float = 0.9
    """Share of the other class that must stay unflagged; the sensitivity at that threshold is reported."""
    cost_false_positive: float = 0.0
    """Cost of flagging an example of the other class; 0 with the next: no threshold by cost."""
    cost_false_negative: float = 0.0
    """Cost of missing a positive example, in the same unit."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a run saw; a rerun on something else is refused."""

    backbone: str = ""
    """Digest of the backbone's tensors; empty accepts any."""
    data: str = ""
    """Fingerprint of the data set; empty accepts any."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run, in one value."""

    data: str
    """Folder or table of labelled examples."""
    backbone: str = "googlenet"
    """NAME[:VARIANT][@WEIGHTS], bundle:PATH, or the folder of a model; for `auto` several, with commas between them."""
    modality: str = ""
    """What the examples are: image, text, sound, table; empty: found out from the data."""
    task: str = "auto"
    """What is asked: classification, multilabel, regression, ordinal, detection, segmentation, verification; auto is
    what the data say (boxes, masks, pairs, a delimiter, several label columns), else classification."""
    strategy: str = "probe"
    """A strategy (probe, finetune, gradual, lora, distill, extend) or one of their presets (partial, full, lp_ft,
    scratch, pretrain), or `auto`: what `advise` says."""
    cut: str = ""
    """Last frozen stage, `input` or `output`; empty: the preset's own."""
    seed: int = 0
    """Random seed (splits, augmentation, initialisation, batch order)."""
    split_seed: int = -1
    """Random seed of splits and views alone, so that runs with several seeds share both; -1: the seed."""
    input_px: int = 0
    """Side of the square input in pixels; 0: the backbone's own size."""
    channels: int = 0
    """Channels of an input: 1 for grey, N for arrays of N; 0: the card's own, three where weights saw colour."""
    augmentation: str = "default"
    """How views differ from the plain one: default, colour, flips, strong or none."""
    views: int = -1
    """Augmented copies cached per example, the plain one included; 0 augments on the fly; -1: the preset's own."""
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """How activations are kept: auto is float16 at inner cuts and float32 at the output."""
    folds: int = 5
    """Folds of cross-validation, where the data are too small for a test split."""
    max_repeats: int = 10
    """Most repeats of that cross-validation for a probe; time may allow fewer, and the report says how many."""
    max_seconds: float = 0.0
    """Wall seconds that training may take, and before it an advice for `auto`; 0: no limit, and 10 minutes."""
    device: str = "auto"
    """cpu, cuda, mps, or auto: the fastest there is."""
    backend: Literal["auto", "torch"] = "auto"
    """What runs the frozen part: auto is ONNX Runtime on a CPU where it agrees with torch."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """In what the frozen part computes rows that are only trained on: bfloat16 by OpenVINO on processors with units for
    it, auto where it is 1.15 times as fast; what is scored, and the model, stay float32. A run writes what it took."""
    threads: int = 0
    """CPU threads of the network; 0: all cores."""
    source: Source = field(default_factory=Source)
    """How the data are read."""
    target: Target = field(default_factory=Target)
    """What is predicted of numbers and ranks."""
    decision: Decision = field(default_factory=Decision)
    """Where the line is drawn between two classes."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the strategy's options that differ from the preset's."""
    augment: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the augmentation that differ from the named one's, such as operations and magnitude."""
    prepare: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the preparation that differ from the backbone's own, such as the seconds of a recording."""
    seen: Seen = field(default_factory=Seen)
    """What an earlier run of this recipe saw."""

    @property
    def seed_of_data(self) -> int:
        """The seed of splits and views."""
        return self.seed if self.split_seed < 0 else self.split_seed


_SHARE = (lambda share: 0 <= share < 1, "in [0, 1)")
_COST = (lambda cost: 0 <= cost < math.inf, "0 or a positive number")
_COUNT = (lambda count: count >= 0, "0 or more")

_RANGES: Mapping[type, Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    Source: {
        "val_share": _SHARE,
        "test_share": _SHARE,
        "train_share": (lambda share: 0 < share <= 1, "in (0, 1]"),
        "max_damaged_share": (lambda share: 0 <= share <= 1, "in [0, 1]"),
    },
    Decision: {
        "specificity": (lambda share: 0 < share < 1, "in (0, 1)"),
        "cost_false_positive": _COST,
        "cost_false_negative": _COST,
    },
    Recipe: {
        "data": (bool, "a path"),
        "seed": (lambda seed: 0 <= seed < 2**63, "0 or more, and below 2 to the power of 63"),
        "input_px": _COUNT,
        "split_seed": (lambda seed: seed >= -1, "-1 or more"),
        "channels": _COUNT,
        "views": (lambda views: views >= -1, "-1 or more"),
        "folds": (lambda folds: folds >= 2, "2 or more"),
        "max_repeats": (lambda repeats: repeats >= 1, "1 or more"),
        "max_seconds": (lambda seconds: 0 <= seconds < math.inf, "0 or a positive number"),
        "threads": _COUNT,
    },
}
"""What a value must be beyond its kind, with the words for it."""

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a list of texts"}


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        BadRecipe: the file is missing, not TOML, of another format, or has an unknown key or a value of the wrong kind.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadRecipe(f"{path} cannot be read ({error.strerror}).", fix="give the path of a recipe.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path} is not valid TOML: {error}.", fix="correct that line; see `regraft show`.") from error
    given = value.pop("format", None)
    seen: Any = value.get("seen")
    written = isinstance(seen, dict) and all(seen.get(name) not in (None, "") for name in ("backbone", "data"))
    if given not in (None, FORMAT) or (given is None and written):
        raise BadRecipe(
            f"{path} is a recipe of format {given or 1}; this version of regraft reads format {FORMAT}.",
            fix="make it again: `regraft show DATA` writes a recipe, `regraft strategies NAME` lists the options.",
        )
    return built(Recipe, value, where=str(path))


def write_recipe(recipe: Recipe) -> str:
    """The recipe as TOML, every field with its value."""
    return f"# Of this file: other versions of regraft may read other formats.\nformat = {FORMAT}\n" + _toml(
        _plain(recipe), ()
    )


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields changed; a name with dots reaches inside (`options.lr`, `source.rehash`).

    Raises:
        BadRecipe: there is no such field, or the value is of the wrong kind.
    """
    value = _plain(recipe)
    for path, new in settings.items():
        at, names = value, path.split(".")
        for name in names[:-1]:
            if not isinstance(at.get(name), dict):
                known = _sections(at)
                fix = nearest(name, known) if known else f"write the field alone: --set {'.'.join(names[:-1])}=VALUE."
                raise BadRecipe(f"A recipe has no section {name!r} ({path}).", fix=fix)
            at = at[name]
        at[names[-1]] = new
    return built(Recipe, value, where="--set")


def parse_setting(text: str) -> tuple[str, Any]:
    """`path=value` as a pair; the value is read as TOML, and as plain text where it is none.

    Raises:
        BadRecipe: there is no `=`.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise BadRecipe(
            f"{text!r} is not a setting.", fix="write --set path=value, for instance --set options.lr=1e-4."
        )
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), value


def preset(presets: Mapping[str, T], name: str, changes: Mapping[str, Any], *, what: str = "augmentation") -> T:
    """The augmentation of this name, some of its fields changed; `what` errors call it.

    Raises:
        UnknownName: there is none.
        BadRecipe: a field is unknown, of the wrong kind or out of range.
    """
    if name not in presets:
        raise UnknownName(what, name, presets)
    named: Any = presets[name]
    return built(type(named), {**asdict(named), **changes}, where="augment")


def built(kind: type[T], value: Mapping[str, Any], *, where: str) -> T:
    """A dataclass from a mapping; its keys, and the kinds and ranges of its values, are checked.

    Raises:
        BadRecipe: an unknown key (the nearest is offered), a missing one, or a value of the wrong kind or out of range.
    """
    hints = get_type_hints(kind)
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    arguments = {}
    for name, given in value.items():
        if name not in known:
            raise BadRecipe(f"{where}: there is no field {name!r}.", fix=nearest(name, list(known)))
        hint, instead = hints[name], _instead(known[name])
        if is_dataclass(hint) and isinstance(given, Mapping):
            arguments[name] = built(hint, given, where=f"{where}: [{name}]")  # type: ignore[arg-type]
            continue
        arguments[name] = _checked(hint, given, f"{where}: {name}", instead)
        holds, wanted = _RANGES.get(kind, {}).get(name, (lambda _: True, ""))
        if not holds(arguments[name]):
            raise BadRecipe(f"{where}: {name} is {given!r}; it must be {wanted}.", fix=instead)
    try:
        return kind(**arguments)
    except TypeError as error:
        missing = str(error).rpartition(": ")[2]
        raise BadRecipe(f"{where}: {missing} must be given.", fix='add it, for instance data = "photos".') from error


def _instead(entry: "Field[Any]") -> str:
    """What to write in place of a value that does not do."""
    if entry.default is not MISSING:
        return f"write {entry.name} = {_literal(_plain(entry.default))}, for instance, which is the default."
    if entry.default_factory is not MISSING:
        return f"set its fields one by one, under [{entry.name}] or as {entry.name}.NAME."
    return f'write {entry.name} = "photos", for instance.'


def _checked(hint: Any, given: Any, where: str, instead: str) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        choices = list(map(str, get_args(hint)))
        if given not in get_args(hint):
            raise BadRecipe(
                f"{where} is {given!r}; it must be one of {', '.join(choices)}.", fix=nearest(str(given), choices)
            )
        return given
    if origin in (Union, UnionType):
        for option in get_args(hint):
            if option is NoneType and given is None:
                return None
            try:
                return _checked(option, given, where, instead)
            except BadRecipe:
                continue
    kind = origin or hint
    if kind is Any:
        return given
    if kind is float and isinstance(given, int) and not isinstance(given, bool) and abs(given) < 1e300:
        return float(given)
    if kind is tuple and isinstance(given, list) and all(isinstance(one, str) for one in given):
        return tuple(given)
    if isinstance(given, str) and not given.isascii() and given != given.encode(errors="replace").decode():
        raise BadRecipe(f"{where} is {given!r}, which is not valid Unicode; a recipe cannot hold it.",
                        fix="rename the file or folder.")  # fmt: skip
    if isinstance(kind, type) and isinstance(given, kind) and not (kind is int and isinstance(given, bool)):
        return given
    raise BadRecipe(f"{where} is {given!r}; {_KINDS.get(kind, 'a section')} is expected.", fix=instead)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _sections(value: Mapping[str, Any]) -> list[str]:
    return [name for name, inner in value.items() if isinstance(inner, dict)]


def _toml(value: Mapping[str, Any], path: tuple[str, ...]) -> str:
    lines = [f"{_key(name)} = {_literal(inner)}" for name, inner in value.items() if not isinstance(inner, dict)]
    text = "\n".join(lines) + "\n" if lines else ""
    for name, inner in value.items():
        if isinstance(inner, dict):
            here = (*path, name)
            text += f"\n[{'.'.join(map(_key, here))}]\n" + _toml(inner, here)
    return text


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
