"""What a modality is: one folder in `modalities/`, and the only code that knows what an example is.

A modality reads contents, says which examples are the same or nearly so, and makes of each example the *record* that a
network begins with: named arrays without a row axis. Above it nothing sees a raw file, below it nothing sees anything
but records.

Letters: n examples, m pairs, d columns.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from regraft.contracts.example import Content, Contents, Example, File
from regraft.errors import BadRequest
from regraft.registry import Shelf
from regraft.values import Event, Notice

if TYPE_CHECKING:
    from torch import nn

    from regraft.contracts.family import Card

Record = Mapping[str, np.ndarray]
"""Named arrays of one example, without a row axis."""
Shapes = Mapping[str, tuple[tuple[int | None, ...], str]]
"""By name of an array: its shape, without a row axis, and its dtype; None is an axis of any length (ragged)."""
Placement = Mapping[str, np.ndarray]
"""How a view was cut out of its example, free of labels: an image's crop and flips, a text's token offsets. It is kept
with the row, so that stored views can move boxes, masks and spans. Empty where a target never moves."""

FINGERPRINT = [
    ("content", "u1", 20),  # digest of the contents' bytes, as identity.digest_contents makes it
    ("decoded", "u1", 20),  # digest of what is decoded: equal where two examples are the same to a network
    ("group", "<u8"),  # stands for the group that the content itself names (a patient); else 0
    ("reader", "<u8"),  # stands for the version of an optional library that read it; else 0
    ("error", "S120"),  # why it cannot be read, UTF-8; empty when it can
]
"""The fields that every fingerprint has; a modality adds those by which it finds near copies and checks sizes."""


class Preparation(Protocol):
    """How a raw input becomes a record: a frozen dataclass of the modality, and part of a backbone's card."""

    def digest_fields(self) -> Mapping[str, Any]:
        """What decides the record, as JSON, for the key of the activation store."""

    def to_json(self) -> Mapping[str, Any]:
        """The fields as JSON; the class's `from_json` reads them back."""


class Augmentation(Protocol):
    """How views differ from the plain one: a frozen dataclass of the modality, set by the recipe's [augment]."""

    @property
    def varies(self) -> bool:
        """Whether any view can differ from the plain one; if not, one view is all there is."""

    def digest_fields(self) -> Mapping[str, Any]:
        """What decides a view, as JSON, for the key of the activation store."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Which augmented copy of an example is wanted; a pure function of these fields."""

    number: int
    """0 is the plain one."""
    seed: int
    """The run's seed."""
    content: str
    """Digest of the example's content."""
    augmentation: Any
    """The modality's `Augmentation`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trait:
    """A number that every example has, whatever it shows: its width, its brightness."""

    name: str
    """What it is, as it continues `the`: `brightness`."""
    values: Float[np.ndarray, " n"]
    """Of every example; nan where it has none."""
    unit: str = ""
    """As it follows the number."""
    range: tuple[float, float] = (-math.inf, math.inf)
    """What lies outside is odd by itself."""
    outliers: bool = False
    """Whether what lies far from the others, on a logarithmic scale, is odd."""
    advice: str = ""
    """What to do about odd ones."""
    recorded: Literal["", "partly", "wholly"] = ""
    """How far it is of how the example was recorded and kept, not of what it shows; that should tell no class."""
    seen: bool = False
    """Whether it is a plain impression that a device, a stain or the light leaves: colour, brightness."""
    kinds: bool = False
    """Whether it numbers kinds, such as formats, rather than measures."""


class Modality(ABC):
    """One kind of data."""

    name: str
    """The name of its folder."""
    one: str
    """What people call an example: `image`."""
    many: str
    """The same for several: `images`."""
    layout: int
    """Raised whenever a fingerprint changes for the same content, so that remembered ones are made again."""
    measured: Sequence[tuple[Any, ...]]
    """The fields of a fingerprint beyond `FINGERPRINT`, as numpy describes them."""
    Preparation: type[Any]
    """Its class of preparations."""
    Augmentation: type[Any]
    """Its class of augmentations."""

    standalone_packages: Sequence[str] = ()
    """What `standalone` needs beside numpy, as pip calls it."""
    inline: bool = False
    """Whether the cell of a table may hold the content itself."""
    columns: Sequence[str] = ()
    """What columns are usually called whose cells hold the content, in lower case."""
    baselines: Sequence[str] = ()
    """Plain methods that read its contents, shown beside a model (`contracts/baseline.py`)."""
    gives_way: bool = False
    """Whether its files are examples only where a folder holds none of another kind."""

    rows: bool = False
    """Whether a row of a table is an example, all its numbers together."""

    @property
    def limit(self) -> int:
        """The largest example that is read, in the modality's own unit; 0: any."""
        return 0

    @property
    def row(self) -> np.dtype[Any]:
        """A fingerprint as one record of numpy."""
        return np.dtype([*FINGERPRINT, *self.measured])

    @abstractmethod
    def claims(self, name: str, head: Callable[[], bytes]) -> bool:
        """Whether a file of this name is an example; `head()` reads its first bytes, and is called only where the name
        does not say."""

    @abstractmethod
    def fingerprint(self, contents: Contents, limit: int = 0) -> Shaped[np.ndarray, ""]:
        """Digests, and what near copies are found by: a record of type `row`. What cannot be read gives `error`.

        `limit` stands for that of the modality; 0 does not.
        """

    @abstractmethod
    def identity(self, contents: Contents) -> tuple[str, bool]:
        """Digest of the contents' bytes, and whether an optional library reads them; nothing is decoded.

        Raises:
            Undecodable: the system cannot read them.
        """

    @abstractmethod
    def near_copies(self, prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
        """Pairs of examples that are nearly the same, lower position first; of equal ones the first stands for all."""

    def cropped_copies(self, contents: Sequence[Contents], pairs: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
        """Which of these pairs are near copies once one is laid on the other: cropped, mirrored. `contents` are those
        of all examples that `pairs` count; those that cannot be read are none."""
        return np.zeros(len(pairs), dtype=bool)

    def traits(self, prints: Shaped[np.ndarray, " n"], preparation: Any) -> Sequence[Trait]:
        """What can be said of examples without looking at what they show, from their rows in a scan: fingerprints, and
        the `size` of their files in bytes."""
        return ()

    @property
    @abstractmethod
    def near_copy_rule(self) -> str:
        """What `near_copies` rests on; another text makes remembered pairs invalid."""

    @abstractmethod
    def reader(self, *, optional: bool = False) -> str:
        """Name and version of what reads contents, for keys; with `optional`, of optional libraries too."""

    def reader_number(self) -> int:
        """Stands for the version of an optional library that reads some contents; 0 where there is none."""
        return 0

    def grouped(
        self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"]
    ) -> tuple[Sequence[Example], Sequence[Notice]]:
        """The examples with the groups that their contents name (a patient in a DICOM file) where none was given, and
        what to say of it."""
        return examples, ()

    @abstractmethod
    def augmentation(self, name: str, changes: Mapping[str, Any]) -> Any:
        """The augmentation of that name, some of its fields changed.

        Raises:
            UnknownName: there is none.
            BadRecipe: a field is unknown, of the wrong kind or out of range.
        """

    def fitted(self, preparation: Any, contents: Sequence[Contents]) -> Any:
        """The preparation with what it learns from training examples: a vocabulary, means and standard deviations.

        Called with training examples only, again in every fold. A preparation that came with trained weights (a
        tokenizer's vocabulary) or was fitted before comes back as it is. What was fitted is in `digest_fields`, and so
        in the store's key, and in `to_json`, and so in the bundle.
        """
        return preparation

    def whole(self, preparation: Any) -> Any:
        """The preparation that shows all of an example, nothing cut off (`Reads.whole`)."""
        return preparation

    def pieces(self, contents: Contents, preparation: Any) -> int:
        """How many rows an example has: windows of a long text, slices of a volume; 1 for most."""
        return 1

    @abstractmethod
    def load(self, contents: Contents, preparation: Any, view: View | None, piece: int = 0) -> tuple[Record, Placement]:
        """The record of one piece of an example in one view (None: the plain one), and how it was placed.

        Raises:
            Undecodable: it cannot be read.
        """

    @abstractmethod
    def shapes(self, preparation: Any) -> Shapes:
        """The arrays of a record."""

    def placements(self, preparation: Any, augmentation: Any = None) -> Shapes:
        """The arrays of a placement; empty where a target never moves.

        Raises:
            BadRecipe: views of this augmentation are changed in ways that a placement does not describe.
        """
        del preparation, augmentation
        return {}

    @abstractmethod
    def golden(self, seed: int, preparation: Any) -> list[Contents]:
        """Examples made from a seed alone, the same on every platform, by which a saved model is checked: never a
        user's own."""

    @abstractmethod
    def golden_digests(self, seed: int, preparation: Any) -> list[str]:
        """A digest of each golden example, before it is encoded in any format."""

    @abstractmethod
    def given(self, value: Any) -> Contents:
        """Whatever a user may hand to a model, as contents: a path, the bytes of a file, an array …

        Raises:
            Undecodable: it is none of these.
        """

    @abstractmethod
    def is_one(self, value: Any) -> bool:
        """Whether a value that a user hands over is a single example rather than several."""

    def bridged(self, card: "Card") -> "Card | None":
        """The card of a network made for another kind of data, so that it takes this one: with a preparation of this
        modality that makes records of the same names, shapes and dtypes. None where there is no such preparation."""
        return None

    def shaped(self, card: "Card", contents: Contents) -> "Card":
        """The card of a network, knowing what all examples share that decides the shape of their records: the columns
        of a table. As it is where it knows that already, or nothing does; `contents` are one example's."""
        return card

    def of_rows(self, names: Sequence[str], values: Float32[np.ndarray, "n d"]) -> Sequence[Contents]:
        """The contents of every row of a table, NaN where a cell is empty; none unless `rows`."""
        return ()

    def check(self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"], card: "Card") -> Sequence[Notice]:
        """Refuse examples that this network cannot take; says what is odd about those that it can.

        Raises:
            BadData: there is one.
        """
        return ()

    def on_device(
        self,
        contents: Sequence[Contents],
        digests: Sequence[str],
        preparation: Any,
        augmentation: Any,
        *,
        examples: Sequence[int],
        seed: int,
        device: str,
        workers: int,
    ) -> Generator[Event, None, Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]]:
        """Hold these examples on the device; returns what makes views there: (examples, numbers above 0) -> record.

        Raises:
            BadRequest: this kind of data has no views of that kind.
        """
        yield from ()
        raise BadRequest(f"Views of {self.many} cannot be made on the device.", fix="leave augment.on_device out.")

    def standalone(self) -> str:
        """The text of two functions for the `predict.py` of an export. `inputs(path)` lists what a file holds;
        `prepare(given, preparation, folder)` makes of one of these the record that the export's graph takes, and of
        placements what tasks ask for (`Task.places`). `preparation` is what `handed` gives, `folder` the export's.

        The functions may use what Python has, numpy, and what reads this kind of data, but nothing of regraft. `csv`,
        `io`, `json`, `math`, `np`, `Path`, `Any`, `ceil`, `floor` and `lru_cache` are imported there.

        Raises:
            BadRequest: this kind of data cannot be read without regraft.
        """
        raise BadRequest(f"Models of {self.many} cannot be exported yet.", fix="predict with regraft itself.")

    def outside(self, preparation: Any) -> Any:
        """What of a preparation stands outside the graph of an export, as a preparation; `inside` does the rest.

        Raises:
            BadRequest: what it makes of an example is no single row.
        """
        return preparation

    def inside(self, preparation: Any) -> "nn.Module | None":
        """What follows `outside` in the graph: a module from a record to a record of tensors; None: nothing."""
        return None

    def handed(self, preparation: Any) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        """What stands outside the graph as JSON for `prepare`, and the files that it needs beside it, by name."""
        return preparation.to_json(), {}

    def filed(self, contents: Contents, preparation: Any) -> tuple[str, bytes]:
        """Contents as a file that `inputs` reads: its ending and its bytes."""
        (content,) = contents.values()
        return "", content.path.read_bytes() if isinstance(content, File) else bytes(content.value)

    def explained(self, record: Record, weights: np.ndarray) -> bytes | str:
        """A prepared input with what an attribution says of its places (as `preview` gives it); empty: it shows none.

        `weights` lie over rows and columns, as many as a network leaves of them, or over tokens (those that a network
        puts before the input's own among them); above 0 where a place speaks for the prediction.
        """
        return ""

    @abstractmethod
    def preview(self, content: Content) -> bytes | str:
        """A small image (PNG bytes) or an excerpt of text, for pages."""


MODALITIES: Shelf[Modality] = Shelf("modality", "regraft.modalities")
