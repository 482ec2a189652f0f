"""Digests of content, perceptual hashes of near-duplicates, and derived random seeds.

Shapes: u distinct hashes, m pairs. Does not import torch.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8, UInt64

MAX_BITS = 20
"""Maximum number of differing bits, of 256, between hashes of near-duplicates."""


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


def digest_tensors(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the digest of named arrays: names, dtypes, shapes and values; the order of names does not matter."""
    return digest_bytes(*_tensor_parts(tensors))


def _tensor_parts(tensors: Mapping[str, np.ndarray]) -> Iterable[bytes]:
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


def hash_pairs(hashes: UInt8[np.ndarray, "u 32"], max_bits: int) -> Iterator[Int[np.ndarray, "m 2"]]:
    """Yield all pairs of rows that differ in at most `max_bits` bits, in batches; a pair may occur more than once."""
    if len(hashes) < 2:
        return
    words = np.ascontiguousarray(hashes).view(np.uint64)
    for band in _bands(hashes, max_bits + 1):
        order = np.argsort(band, kind="stable")
        keys, ordered = band[order], words[order]
        at = np.flatnonzero(keys[1:] == keys[:-1])
        step = 1
        while len(at):
            near = np.bitwise_count(ordered[at] ^ ordered[at + step]).sum(axis=1, dtype=np.int64) <= max_bits
            if near.any():
                yield np.stack([order[at[near]], order[at[near] + step]], axis=1)
            step += 1
            at = at[at + step < len(keys)]
            at = at[keys[at + step] == keys[at]]


def _bands(hashes: UInt8[np.ndarray, "u 32"], num_bands: int) -> Iterator[UInt64[np.ndarray, " u"]]:
    """Yield the bits distributed over bands of at most 64, each band as an integer.

    The bits that vary most over the data are distributed first, so that all bands are about equally informative: images
    on a plain background share whole rows of bits.
    """
    bits = np.unpackbits(hashes, axis=1)
    share = bits.mean(axis=0)
    by_variety = np.argsort(-(share * (1 - share)), kind="stable")
    for band in range(num_bands):
        chosen = bits[:, by_variety[band::num_bands]].astype(np.uint64)
        yield (chosen << np.arange(chosen.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
