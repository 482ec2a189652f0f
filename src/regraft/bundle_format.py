"""Storage of tensors and metadata: safetensors and JSON, which cannot execute code. Does not import torch.

A saved model is a folder with `model.safetensors` and `bundle.json`. The JSON holds a digest of every part's tensors (a
part is a stage, the head, or the reference of the out-of-distribution score) and a digest of its own other fields. This
module reads saved models both for prediction and as backbones for further transfer.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from regraft.errors import BundleError
from regraft.files import atomic
from regraft.identity import digest_json, digest_tensors

FORMAT = 2
"""Version of the format of `bundle.json`, written and read by this version of the package."""
FACTS = "bundle.json"
TENSORS = "model.safetensors"

_COPY_AGAIN = "copy the whole folder again from its original location."
_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip
"""numpy's names of data types -> those of safetensors."""


def safetensors_layout(
    tensors: Sequence[tuple[str, np.dtype[Any], Sequence[int]]],
    *,
    metadata: Mapping[str, str] | None = None,
    align: int = 8,
) -> tuple[bytes, dict[str, int]]:
    """Return the start of a safetensors file, and the offset of each array by name; "" gives the end of the file.

    `tensors` gives name, data type and shape of each array in the order of the file; the first one starts at a multiple
    of `align` bytes. Source of the layout: https://github.com/huggingface/safetensors#format (length of the header in 8
    bytes, header as JSON, little-endian arrays without gaps).
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begins, end = {}, 0
    for name, dtype, shape in tensors:
        begins[name], end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype.name], "shape": list(shape), "data_offsets": [begins[name], end]}
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-(8 + len(written)) % align)
    head = len(written).to_bytes(8, "little") + written
    return head, {name: len(head) + at for name, at in begins.items()} | {"": len(head) + end}


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to a safetensors file, atomically and without a second copy in memory.

    Arrays with the widest data types come first, so that each array starts at a multiple of its element size.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    head, _ = safetensors_layout([(name, tensors[name].dtype, tensors[name].shape) for name in order])
    with atomic(path) as file:
        file.write(head)
        for name in order:
            array = tensors[name]
            file.write(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)


def read_tensors(path: Path, *, beginning: str | tuple[str, ...] = "") -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file, or only those whose names start with `beginning`.

    Raises:
        BundleError: the file is missing, truncated or not a safetensors file.
    """
    if not path.is_file():
        raise BundleError(f"{path} does not exist.", fix="copy the whole folder, including this file.")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(beginning)}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise BundleError(
            f"{path} is not a valid safetensors file ({error}); it may be truncated or damaged.",
            fix="download or copy the file again, or train the model again.",
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        BundleError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path} does not exist.", fix="check the path, or copy the whole folder again.") from error
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read ({error.strerror}).", fix="check the path and its permissions."
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path} is not valid JSON ({error}).", fix="copy the file again, or train the model again."
        ) from error


def bundle_folder(path: Path) -> Path:
    """Return the folder of the saved model at `path`: `path` itself, or the folder `model` of a run."""
    return path / "model" if (path / "model" / FACTS).is_file() else path


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `bundle.json`: the body, its format version, and a digest of both."""
    whole = {"format": FORMAT, **body}
    return {**whole, "digest": digest_json(whole)}


def read_facts(folder: Path) -> dict[str, Any]:
    """Read `bundle.json` in `folder`; check its format version and its digest.

    Raises:
        BundleError: it is missing, damaged, changed, of another format, or not a saved model.
    """
    if not (folder / FACTS).is_file():
        raise _no_model(folder)
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise BundleError(
            f"{folder / FACTS} has no format number, so Regraft did not save this model.",
            fix="pass the folder that `regraft fit` wrote.",
        )
    if facts["format"] != FORMAT:
        made_with = facts.get("made_with")
        version = made_with.get("regraft") if isinstance(made_with, dict) else None
        raise BundleError(
            f"{folder} has bundle format {facts['format']}; this version of regraft reads format {FORMAT}.",
            fix=f"install the version of regraft that saved it{f' ({version})' if version else ''}, or a later one.",
        )
    body = {name: value for name, value in facts.items() if name != "digest"}
    if digest_json(body) != facts.get("digest"):
        raise BundleError(
            f"{folder / FACTS} was changed after it was saved: its digest is {digest_json(body)[:12]}…, but the "
            f"recorded one is {str(facts.get('digest'))[:12]}….",
            fix=_COPY_AGAIN,
        )
    return facts


def _no_model(folder: Path) -> BundleError:
    if folder.is_dir():
        begun = (folder / "begun.json").is_file()
        return BundleError(
            f"{folder} contains no model: it has no {FACTS}, and neither does a subfolder `model`.",
            fix="the run is unfinished: repeat the same fit command with --out and --resume."
            if begun
            else "pass a run folder or a model folder; if this is one, copy the whole folder again.",
        )
    found = "is a file" if folder.exists() else "does not exist"
    return BundleError(f"{folder} {found}; expected a run folder or a model folder.", fix="check the path.")


def part_digests(tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the digest of each part's tensors; a tensor's part is its name up to the first `/`."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        parts.setdefault(name.partition("/")[0], {})[name] = array
    return {part: digest_tensors(inside) for part, inside in parts.items()}


def check_tensors(tensors: Mapping[str, np.ndarray], expected: Mapping[str, str], path: Path) -> None:
    """Compare tensors read from `path` with the digests of their parts.

    Raises:
        BundleError: a part is missing, changed or unexpected.
    """
    found = part_digests(tensors)
    for part in [*expected, *found]:
        if found.get(part) != expected.get(part):
            said = {part: digest[:12] + "…" for part, digest in expected.items()}
            raise BundleError(
                f"{path} was changed or is damaged: the digest of part {part!r} is "
                f"{found[part][:12] + '…' if part in found else 'missing'}, but {FACTS} records "
                f"{said.get(part, 'none')}.",
                fix=_COPY_AGAIN,
            )
