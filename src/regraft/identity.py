"""Digests of content, and derived random seeds. Imports nothing heavy."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def digest_bytes(*parts: bytes) -> str:
    """Return the BLAKE2b digest (160 bits, hex) of `parts`, each preceded by its length."""
    state = hashlib.blake2b(digest_size=20)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_contents(data: bytes) -> str:
    """Return the digest of a file's bytes held in memory, equal to that of `digest_file`."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def digest_json(value: Any) -> str:
    """Return the digest of a JSON value; the order of keys does not matter."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def digest_file(path: Path) -> str:
    """Return the digest of the bytes of a file, read in blocks of 1 MiB."""
    state = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def digest_tensors(tensors: Mapping[str, Any]) -> str:
    """Return the digest of named numpy arrays: names, dtypes, shapes and values; the order of names does not matter."""
    return digest_bytes(*_tensor_parts(tensors))


def _tensor_parts(tensors: Mapping[str, Any]) -> Iterable[bytes]:
    import numpy as np

    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        yield f"{name} {array.dtype.str} {array.shape}".encode()
        yield array.tobytes()


def derive_seed(seed: int, *path: str | int) -> int:
    """Derive a seed in [0, 2**63) from the run's seed, for the purpose named by `path`.

    Different paths give unrelated seeds, so that adding a purpose changes no other (our choice).
    """
    parts = [str(seed), *map(str, path)]
    return int(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest(), 16) >> 1


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
