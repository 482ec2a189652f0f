"""What a modality is: the only code that knows what an example is."""

from dataclasses import dataclass
from typing import Any

from regraft.registry import Shelf


@dataclass(frozen=True, kw_only=True)
class Modality:
    """One folder on the shelf of modalities defines one, as `ENTRY`."""

    name: str
    """The folder's name."""
    Preparation: type[Any]
    """How a raw input becomes the record that a network takes: a frozen dataclass, with `to_json` and `from_json`."""


MODALITIES: Shelf[Modality] = Shelf("modality", "regraft.modalities")
