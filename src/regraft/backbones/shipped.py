"""The weights that lie inside this package: `weights/NAME.safetensors`, and beside it `NAME.json`, which says what they
are. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from regraft.bundle_format import read_json
from regraft.contracts.card import Card
from regraft.errors import BundleError, WeightsError
from regraft.identity import sha256_of

REINSTALL = "install regraft again: the package on the disk is not the one that was released."


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that was measured of the weights, with its 95 % interval."""

    what: str
    """What was measured, and on what."""
    value: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    source: str = ""
    """The command that measures it again."""
    signed: bool = False
    """Whether it is a difference, above or below zero."""

    @property
    def numbers(self) -> str:
        """The estimate with its interval, as every page shows it."""
        form = "+.3f" if self.signed else ".3f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def __str__(self) -> str:
        return f"{self.what}: {self.numbers}"


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """One set of weights in the package."""

    path: Path
    """The tensors, under the original's names: float16, batch norm's statistics float32."""
    sha256: str
    """Digest of that file, in hex."""
    card: Card
    """The facts that travel with the weights."""
    recipe: Mapping[str, Any]
    """How they were trained: command, settings, epochs, examples seen, seconds, the curve."""
    figures: tuple[Figure, ...]
    """What was measured of them."""
    limits: tuple[str, ...]
    """What they are not good for, a sentence each."""

    def check(self) -> None:
        """Raises: WeightsError: the file is not the one that its card describes."""
        if (found := sha256_of(self.path)) != self.sha256:
            raise WeightsError(
                f"{self.path} has the SHA-256 {found[:12]}…, and {self.sha256[:12]}… is written in its card.",
                fix=REINSTALL,
            )


def weights_folder() -> Path:
    """Where the weights of this package lie."""
    return Path(str(resources.files("regraft") / "weights"))


def shipped_weights(family: str) -> Shipped | None:
    """The shipped weights of that family; None where there are none.

    Raises:
        WeightsError: their card is missing or damaged.
    """
    path = weights_folder() / f"{family}.safetensors"
    if not path.is_file():
        return None
    try:
        written = read_json(path.with_suffix(".json"))
        return Shipped(
            path=path,
            sha256=written["sha256"],
            card=Card.from_json(written["card"]),
            recipe=written["recipe"],
            figures=tuple(Figure(**figure) for figure in written["figures"]),
            limits=tuple(written["limits"]),
        )
    except (BundleError, TypeError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path.with_suffix('.json')} does not describe the weights beside it ({error}).", fix=REINSTALL
        ) from error
