"""Conversion of dataclasses to JSON and back, by their annotations: reports, findings, events. Imports nothing
heavy."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from math import isfinite, nan
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Convert dataclasses, mappings, sequences, arrays and numbers to plain JSON values; non-finite numbers become
    None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if type(value).__module__ == "numpy":  # which is not imported for this
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be converted to JSON.")


def from_json(kind: type[T], value: Any) -> T:
    """Rebuild a dataclass of type `kind` from the output of `to_json`; numbers that were not finite become NaN.

    Raises:
        TypeError, ValueError, KeyError: the value is not the JSON of such a dataclass.
    """
    return _read(kind, value)


class Record:
    """Base class of dataclasses stored as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; non-finite numbers become None."""
        return cast("dict[str, Any]", to_json(self))

    @classmethod
    def from_json(cls: type[T], value: Mapping[str, Any]) -> T:
        """Rebuild the dataclass from the output of `to_json`.

        Raises:
            TypeError, ValueError, KeyError: the value is not the JSON of this dataclass.
        """
        return from_json(cls, value)


@lru_cache(maxsize=256)
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or origin is Literal:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        rest = [one for one in inner if one is not type(None)]
        return _read(rest[0], value) if len(rest) == 1 else value
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
        hints = _hints(kind)
        if hasattr(kind, "hints_of"):  # a field whose class depends on the other fields
            hints = hints | kind.hints_of(value)
        return kind(**{name: _read(hints[name], inside) for name, inside in value.items()})
    if origin is tuple or kind is tuple:
        each = inner if inner and inner[-1] is not Ellipsis else (inner[0] if inner else Any,) * len(value)
        return tuple(_read(one, inside) for one, inside in zip(each, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {int(key) if inner[0] is int else key: _read(inner[1], inside) for key, inside in value.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return tuple(_read(inner[0], inside) for inside in value)
    if kind is float:
        return nan if value is None else float(value)
    return Path(value) if kind is Path else value
