"""Recipes: the complete settings of a run as a frozen dataclass, stored as TOML. Unknown keys are errors.

A recipe written by a run has every default filled in, and records the digests of its weights and data in `[seen]`; a
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
"""Version of the format of recipes; raised when a field is renamed or changes its meaning."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """How the data are read."""

    path_column: str = "path"
    """Table column with file paths."""
    folder: str = ""
    """Folder that these paths are relative to, itself relative to the table's folder; empty: the table's folder."""
    text_columns: tuple[str, ...] = ()
    """Table columns whose cells are the content itself (a text, a question and its context) instead of paths."""
    label_column: str = "label"
    """Table column with labels."""
    label_columns: tuple[str, ...] = ()
    """Several table columns: binary labels (0 or 1), or target values."""
    label_delimiter: str = ""
    """Delimiter of multiple labels in a cell, such as `cat;dog` (an empty cell has none). Empty: one label per cell."""
    split_column: str = "split"
    """Table column with train, val or test; optional."""
    group_column: str = "group"
    """Table column with the group of an example (patient, plant), which is never split; optional."""
    group_pattern: str = ""
    """Regular expression on example ids, whose first capture group is the example's group. Empty: none."""
    strip_labels: bool = False
    """Whether to strip whitespace around labels."""
    val_share: float = 0.15
    """Share of the training examples to hold out for validation, if there is no validation split and enough
    examples."""
    test_share: float = 0.2
    """Share of the examples to hold out for the test, if there is no test split and at least 500 examples."""
    train_share: float = 1.0
    """Share of the training and validation examples to use, for learning curves."""
    allow_leaks: bool = False
    """Continue even if train, validation and test overlap; the report says so."""
    max_damaged_share: float = 0.05
    """Maximum share of files that cannot be decoded; with more, the run stops."""
    rehash: bool = False
    """Re-hash every file instead of trusting cached hashes (known by path, size, time and inode)."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Target values and ordered classes."""

    transform: Literal["none", "log"] = "none"
    """`log`: train on the logarithm of positive targets, for prices and counts that differ by factors; predictions are
    in the original unit."""
    order: tuple[str, ...] = ()
    """Classes of an ordinal task from lowest to highest; empty: numerical order, if they are numbers."""
    beams: int = 1
    """Beams of the beam search of a task that generates text; 1: greedy decoding."""
    detector: Literal["single_stage", "faster_rcnn"] = "single_stage"
    """Detector of boxes: a single-stage head (FCOS), or Faster R-CNN with proposals."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Decision thresholds of binary tasks; no effect on training."""

    positive: str = ""
    """Positive class of a binary task (ill, defective, fraud); empty: the second in alphabetical order."""
    specificity: float = 0.9
    """Minimum specificity; the sensitivity at that threshold is reported."""
    cost_false_positive: float = 0.0
    """Cost of a false positive; if this and the next are 0, no threshold is chosen by cost."""
    cost_false_negative: float = 0.0
    """Cost of a false negative, in the same unit."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Digests of a run's weights and data; a rerun on others is refused."""

    backbone: str = ""
    """Digest of the backbone's tensors; empty: any."""
    data: str = ""
    """Fingerprint of the data set; empty: any."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run."""

    data: str
    """Folder, archive or table of labelled examples."""
    backbone: str = "googlenet"
    """NAME[:VARIANT][@WEIGHTS], bundle:PATH, or the folder of a model; comma-separated for `auto`."""
    modality: str = ""
    """Modality of the examples: image, text, sound or table; empty: detected."""
    task: str = "auto"
    """Task: classification, multilabel, regression, ordinal, detection, segmentation, verification, span, sequence,
    language, transcription, reconstruction; auto detects it from the data (boxes, masks, pairs, questions, parallel
    files, recordings with texts, a delimiter, several label columns), else classification."""
    strategy: str = "probe"
    """Strategy (probe, finetune, gradual, lora, distill, extend), preset (partial, full, lp_ft, scratch, pretrain), or
    `auto`: as recommended by `advise`."""
    cut: str = ""
    """Last frozen stage, `input` (train everything) or `output` (train the head); empty: the preset's."""
    seed: int = 0
    """Random seed (splits, augmentation, initialisation, batch order)."""
    split_seed: int = -1
    """Separate random seed of splits and views, so that runs with several seeds can share them; -1: `seed`."""
    input_px: int = 0
    """Side of the square input in pixels; 0: the backbone's default."""
    channels: int = 0
    """Input channels: 1 for greyscale, N for arrays with N; 0: the backbone's (3 for weights trained on RGB)."""
    augmentation: str = "default"
    """Data augmentation: default, colour, flips, strong or none."""
    views: int = -1
    """Stored views per example, including the plain one; 0: augment on the fly; -1: the preset's."""
    dtype: Literal["auto", "float16", "float32"] = "auto"
    """Data type of stored activations; auto: float16 at inner cuts, float32 at the output."""
    folds: int = 5
    """Folds of cross-validation, if the data are too small for a test split."""
    max_repeats: int = 10
    """Maximum repeats of that cross-validation for a probe; fewer if time is short (see the report)."""
    max_seconds: float = 0.0
    """Time limit of training in wall-clock seconds, and of the advice for `auto`; 0: no limit (advice: 10 minutes)."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    backend: Literal["auto", "torch"] = "auto"
    """Runtime of the frozen stages; auto: ONNX Runtime on a CPU if it agrees with torch."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Precision of frozen stages for training rows. bfloat16: OpenVINO, on processors that support it; auto: if at
    least 1.15 times as fast. Evaluation, and the model, stay float32. A run records what it used."""
    threads: int = 0
    """CPU threads; 0: all cores."""
    source: Source = field(default_factory=Source)
    """How the data are read."""
    target: Target = field(default_factory=Target)
    """Target values and ordered classes."""
    decision: Decision = field(default_factory=Decision)
    """Decision thresholds of binary tasks."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the strategy that differ from the preset's."""
    augment: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the augmentation to change, such as operations and magnitude."""
    prepare: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the preparation to change, such as the seconds of a recording."""
    seen: Seen = field(default_factory=Seen)
    """Digests recorded by an earlier run of this recipe."""

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
    Target: {"beams": (lambda beams: beams >= 1, "1 or more")},
    Decision: {
        "specificity": (lambda share: 0 < share < 1, "in (0, 1)"),
        "cost_false_positive": _COST,
        "cost_false_negative": _COST,
    },
    Recipe: {
        "data": (bool, "a path"),
        "seed": (lambda seed: 0 <= seed < 2**63, "0 or more and less than 2**63"),
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
"""Checks of values beyond their type, with a description."""

_KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", tuple: "a list of strings"}


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        BadRecipe: the file is missing, not TOML, of another format, or has an unknown key or a value of the wrong type.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadRecipe(f"{path} cannot be read ({error.strerror}).", fix="pass the path of a recipe.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path} is not valid TOML: {error}.", fix="correct that line; see `regraft show`.") from error
    given = value.pop("format", None)
    seen: Any = value.get("seen")
    written = isinstance(seen, dict) and all(seen.get(name) not in (None, "") for name in ("backbone", "data"))
    if given not in (None, FORMAT) or (given is None and written):
        raise BadRecipe(
            f"{path} has recipe format {given or 1}; this version of regraft reads format {FORMAT}.",
            fix="create it again: `regraft show DATA` writes a recipe, `regraft strategies NAME` lists the options.",
        )
    return built(Recipe, value, where=str(path))


def write_recipe(recipe: Recipe) -> str:
    """Return the recipe as TOML, with all fields."""
    return f"# The file format; other versions of regraft may read other formats.\nformat = {FORMAT}\n" + _toml(
        _plain(recipe), ()
    )


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with some fields changed, by dotted path (`options.lr`, `source.rehash`).

    Raises:
        BadRecipe: there is no such field, or the value is of the wrong kind.
    """
    value = _plain(recipe)
    for path, new in settings.items():
        at, names = value, path.split(".")
        for name in names[:-1]:
            if not isinstance(at.get(name), dict):
                known = _sections(at)
                fix = nearest(name, known) if known else f"set the field itself: --set {'.'.join(names[:-1])}=VALUE."
                raise BadRecipe(f"A recipe has no section {name!r} ({path}).", fix=fix)
            at = at[name]
        at[names[-1]] = new
    return built(Recipe, value, where="--set")


def parse_setting(text: str) -> tuple[str, Any]:
    """Parse `path=value`; the value is parsed as TOML, or taken as plain text if it is not valid TOML.

    Raises:
        BadRecipe: there is no `=`.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise BadRecipe(
            f"{text!r} is not of the form path=value.", fix="write --set path=value, for example --set options.lr=1e-4."
        )
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path.strip(), value


def preset(presets: Mapping[str, T], name: str, changes: Mapping[str, Any], *, what: str = "augmentation") -> T:
    """Return the named augmentation with some fields changed; `what` is its name in errors.

    Raises:
        UnknownName: there is no augmentation of this name.
        BadRecipe: a field is unknown, of the wrong kind or out of range.
    """
    if name not in presets:
        raise UnknownName(what, name, presets)
    named: Any = presets[name]
    return built(type(named), {**asdict(named), **changes}, where="augment")


def built(kind: type[T], value: Mapping[str, Any], *, where: str) -> T:
    """Build a dataclass from a mapping; check keys, types and ranges.

    Raises:
        BadRecipe: a key is unknown or missing, or a value has the wrong type or is out of range.
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
        raise BadRecipe(f"{where}: {missing} is missing.", fix='add it, for example data = "photos".') from error


def _instead(entry: "Field[Any]") -> str:
    """Return advice on what to write instead of an invalid value."""
    if entry.default is not MISSING:
        return f"write {entry.name} = {_literal(_plain(entry.default))}, the default, or another value."
    if entry.default_factory is not MISSING:
        return f"set its fields individually, under [{entry.name}] or as {entry.name}.NAME."
    return f'write {entry.name} = "photos", for example.'


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
        raise BadRecipe(f"{where} is {given!r}, which is not valid Unicode and cannot be stored in a recipe.",
                        fix="rename the file or folder.")  # fmt: skip
    if isinstance(kind, type) and isinstance(given, kind) and not (kind is int and isinstance(given, bool)):
        return given
    raise BadRecipe(f"{where} is {given!r}; expected {_KINDS.get(kind, 'a section')}.", fix=instead)


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
