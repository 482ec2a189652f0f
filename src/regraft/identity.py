"""Who is who: digests of content, and seeds derived from one another. Imports no torch."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def digest_bytes(*parts: bytes) -> str:
    """BLAKE2b digest (160 bits, hex) of `parts`, each preceded by its length."""
    state = hashlib.blake2b(digest_size=20)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_contents(data: bytes) -> str:
    """Digest of the bytes of a file that is in memory: what `digest_file` gives for it on the disk."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def digest_json(value: Any) -> str:
    """Digest of a JSON value; the order of keys does not matter."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def digest_file(path: Path) -> str:
    """Digest of the bytes of a file, read in pieces of 1 MiB."""
    state = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def digest_tensors(tensors: Mapping[str, np.ndarray]) -> str:
    """Digest of named arrays: names, dtypes, shapes and values; the order of names does not matter."""
    return digest_bytes(*_tensor_parts(tensors))


def _tensor_parts(tensors: Mapping[str, np.ndarray]) -> Iterable[bytes]:
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        yield f"{name} {array.dtype.str} {array.shape}".encode()
        yield array.tobytes()


def derive_seed(seed: int, *path: str | int) -> int:
    """A seed in [0, 2**63) for one purpose, named by `path`, under the run's one seed.

    Different paths give unrelated seeds, so that adding a purpose moves no other (our choice).
    """
    parts = [str(seed), *map(str, path)]
    return int(hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest(), 16) >> 1


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
