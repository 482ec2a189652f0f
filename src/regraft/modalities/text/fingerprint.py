"""Fingerprints of texts: digests, lengths, and bits for finding near-duplicates.

Two texts are equal if they differ only in white space and Unicode normalisation. They are near-duplicates if their sets
of five-character sequences, ignoring case and punctuation, have a Jaccard similarity of about 0.84 or more: each of 256
bits is the parity of the minimum hash of the set, so that two sets of similarity J differ in a share (1 - J) / 2 of the
bits, and 20 bits correspond to 0.84. A shorter text is a single sequence.

Source: Broder 1997 (minwise hashing); Li & König 2010, arXiv:0910.3349 (b-bit minwise hashing with one bit). The
lengths and the limit are our choice. Letters: n texts, m pairs, s sequences.
"""

import unicodedata
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8, UInt32

from regraft.contracts.example import Contents
from regraft.errors import Undecodable
from regraft.files import shortened
from regraft.folds import MAX_BITS, hash_pairs
from regraft.identity import digest_bytes
from regraft.modalities.text.read import text_and_encoding

LENGTH = 5
"""Number of characters of a sequence."""
BITS = 256
"""Number of bits per text."""
_CHUNK = 1 << 14
"""Number of sequences hashed at a time."""


def measure(contents: Contents, kind: np.dtype[Any]) -> Shaped[np.ndarray, ""]:
    """Read one example and return its fingerprint of dtype `kind`. If it is unreadable or empty, `error` is set."""
    row = np.zeros((), dtype=kind)
    try:
        texts, encodings = zip(*map(text_and_encoding, contents.values()), strict=True)
        row["content"] = _number(digest(contents, texts))
        if empty := [name for name, text in zip(contents, texts, strict=True) if not text.strip()]:
            raise Undecodable(f"the text is empty{f' ({empty[0]})' if len(texts) > 1 else ''}")
    except Undecodable as error:
        row["error"] = shortened(error.reason)
        return row
    plain = [" ".join(unicodedata.normalize("NFC", text).split()) for text in texts]
    row["decoded"] = _number(digest_bytes(*(text.encode(errors="surrogatepass") for text in plain)))
    row["characters"] = sum(map(len, texts))
    row["encoding"] = next(filter(None, encodings), "").encode()
    row["bits"] = bits_of("\0".join(plain))
    return row


def digest(contents: Contents, texts: tuple[str, ...]) -> str:
    """Return the digest of the texts and their names."""
    return digest_bytes(
        *(part.encode(errors="surrogatepass") for pair in zip(contents, texts, strict=True) for part in pair)
    )


def near_pairs(prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
    """Return the pairs of different texts that are near-duplicates, lower position first; equal texts are represented
    by one."""
    whole = np.flatnonzero(prints["error"] == b"")
    _, first = np.unique(prints["decoded"][whole], axis=0, return_index=True)
    picked = whole[np.sort(first)]
    found = list(hash_pairs(np.ascontiguousarray(prints["bits"][picked]), MAX_BITS))
    if not found:
        return np.zeros((0, 2), dtype=np.int64)
    return np.unique(np.sort(picked[np.concatenate(found)], axis=1), axis=0)


def bits_of(text: str) -> UInt8[np.ndarray, "32"]:
    """Compute the 256 bits of a text."""
    letters = ("".join(filter(str.isalnum, text.casefold())) or text).ljust(LENGTH, "\0")
    codes = np.frombuffer(letters.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    count = len(codes) - LENGTH + 1
    sequences = codes[:count] * _FACTORS[0]
    for at in range(1, LENGTH):
        sequences = sequences + codes[at : at + count] * _FACTORS[at]
    sequences = _mixed(sequences)
    smallest = np.full(BITS, np.iinfo(np.uint32).max, dtype=np.uint32)
    for at in range(0, count, _CHUNK):
        smallest = np.minimum(smallest, (sequences[at : at + _CHUNK, None] * _FACTORS).min(axis=0))
    return np.packbits((_mixed(smallest) & 1).astype(bool))


def _mixed(numbers: UInt32[np.ndarray, "..."]) -> UInt32[np.ndarray, "..."]:
    """Mix each number over all 32 bits with the finaliser of MurmurHash3 (A. Appleby)."""
    mixed = (numbers ^ (numbers >> 16)) * np.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * np.uint32(0xC2B2AE35)
    return mixed ^ (mixed >> 16)


def _number(digest: str) -> UInt8[np.ndarray, "20"]:
    return np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)


_FACTORS = _mixed(np.arange(1, BITS + 1, dtype=np.uint32)) | np.uint32(1)
"""Odd factors: multiplication by each is a permutation of the 32-bit integers."""
