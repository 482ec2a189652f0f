"""A modality: one kind of data, such as images. No other code depends on what an example is.

A modality reads contents, finds duplicates and near-duplicates, and prepares the *record* of an example, the network's
input: named arrays without a row axis. To add one, put a folder in `modalities/` whose `__init__.py` defines `ENTRY`,
an instance of a subclass of `Modality`.

Letters: n examples, m pairs, d columns.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from regraft.contracts.example import Content, Contents, Example, File, Marks
from regraft.errors import BadRequest
from regraft.registry import Shelf
from regraft.values import Event, Notice

if TYPE_CHECKING:
    from torch import nn

    from regraft.contracts.family import Card

Record = Mapping[str, np.ndarray]
"""The prepared input of one piece of an example: named arrays without a row axis."""
Shapes = Mapping[str, tuple[tuple[int | None, ...], str]]
"""Shape (without a row axis) and dtype by array name; None in a shape is an axis of variable length (ragged)."""
Placement = Mapping[str, np.ndarray]
"""How a view was cut out of its example, independent of labels: an image's crop and flips, a text's token offsets. It
is stored with the row, so that boxes, masks and spans can be moved along. Empty if targets never move."""

FINGERPRINT = [
    ("content", "u1", 20),  # digest of the contents' bytes, as identity.digest_contents makes it
    ("decoded", "u1", 20),  # digest of what is decoded: equal where two examples are the same to a network
    ("group", "<u8"),  # stands for the group that the content itself names (a patient); else 0
    ("reader", "<u8"),  # stands for the version of an optional library that read it; else 0
    ("error", "S120"),  # why it cannot be read, UTF-8; empty when it can
]
"""Fields of every fingerprint; a modality adds its own for near-duplicates and size checks."""


class Preparation(Protocol):
    """How raw inputs are prepared for a network: a frozen dataclass of the modality, part of a backbone's card."""

    def digest_fields(self) -> Mapping[str, Any]:
        """Return everything the record depends on, as JSON, for the key of the activation store."""

    def to_json(self) -> Mapping[str, Any]:
        """Return the fields as JSON; the class's `from_json` restores them."""


class Augmentation(Protocol):
    """Data augmentation: a frozen dataclass of the modality, set by the recipe's [augment]."""

    @property
    def varies(self) -> bool:
        """Whether views can differ from the plain one; if not, there is only one."""

    def digest_fields(self) -> Mapping[str, Any]:
        """Return everything a view depends on, as JSON, for the key of the activation store."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Identifies an augmented copy of an example, which depends on these fields only."""

    number: int
    """Number of the view; 0 is the plain one."""
    seed: int
    """The run's seed."""
    content: str
    """Digest of the example's content."""
    augmentation: Any
    """The modality's `Augmentation`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trait:
    """A measurement of every example that does not depend on its subject: width, brightness."""

    name: str
    """Name, as it follows `the`: `brightness`."""
    values: Float[np.ndarray, " n"]
    """Value for every example; nan if undefined."""
    unit: str = ""
    """Unit, as it follows the number."""
    range: tuple[float, float] = (-math.inf, math.inf)
    """Values outside are reported as odd."""
    outliers: bool = False
    """Whether to report outliers on a logarithmic scale."""
    advice: str = ""
    """What to do about odd values."""
    recorded: Literal["", "partly", "wholly"] = ""
    """Whether it reflects how the example was recorded or stored, and so should not predict the class."""
    seen: bool = False
    """Whether it is a visible property that devices, stains or lighting cause: colour, brightness."""
    kinds: bool = False
    """Whether it is categorical (file formats, say)."""


class Modality(ABC):
    """One kind of data."""

    name: str
    """Name of its folder."""
    one: str
    """Singular noun for an example: `image`."""
    many: str
    """Plural noun: `images`."""
    layout: int
    """Version of the fingerprint; raise it when fingerprints change, so that cached ones are recomputed."""
    measured: Sequence[tuple[Any, ...]]
    """Fields of a fingerprint beyond `FINGERPRINT`, as a numpy dtype specification."""
    Preparation: type[Any]
    """The modality's preparation class."""
    Augmentation: type[Any]
    """The modality's augmentation class."""

    standalone_packages: Sequence[str] = ()
    """PyPI packages that `standalone` needs besides numpy."""
    inline: bool = False
    """Whether a table cell may hold the content itself."""
    columns: Sequence[str] = ()
    """Usual names, in lower case, of columns whose cells hold the content."""
    baselines: Sequence[str] = ()
    """Names of baselines that read its contents (`contracts/baseline.py`)."""
    gives_way: bool = False
    """Whether its files count as examples only if a folder holds none of another modality."""

    recorder: Literal["", "camera", "microphone"] = ""
    """The device with which a browser can record an example; empty: none."""
    rows: bool = False
    """Whether each table row is an example, made of all its numeric columns."""

    @property
    def limit(self) -> int:
        """Size limit of an example, in the modality's own unit; 0: none."""
        return 0

    @property
    def row(self) -> np.dtype[Any]:
        """The numpy dtype of a fingerprint."""
        return np.dtype([*FINGERPRINT, *self.measured])

    @abstractmethod
    def claims(self, name: str, head: Callable[[], bytes]) -> bool:
        """Return whether a file of this name is an example. `head()` reads its first bytes; call it only if the name is
        not enough."""

    @abstractmethod
    def fingerprint(self, contents: Contents, limit: int = 0) -> Shaped[np.ndarray, ""]:
        """Compute digests and the features used to find near-duplicates, as a scalar of dtype `row`. Unreadable
        contents set `error`.

        A `limit` other than 0 overrides the modality's.
        """

    @abstractmethod
    def identity(self, contents: Contents) -> tuple[str, bool]:
        """Return the digest of the contents' bytes, and whether an optional library decodes them; decode nothing.

        Raises:
            Undecodable: the file cannot be read.
        """

    @abstractmethod
    def near_copies(self, prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
        """Return pairs of near-duplicates, lower position first; the first of several equal examples represents them
        all."""

    def cropped_copies(self, contents: Sequence[Contents], pairs: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
        """Return which of these pairs are copies after alignment: cropped or mirrored. `pairs` index `contents`;
        unreadable examples match nothing."""
        return np.zeros(len(pairs), dtype=bool)

    def traits(self, prints: Shaped[np.ndarray, " n"], preparation: Any) -> Sequence[Trait]:
        """Return measurements that do not depend on the examples' subjects, from their scan rows: fingerprints, and
        file `size` in bytes."""
        return ()

    @property
    @abstractmethod
    def near_copy_rule(self) -> str:
        """Version string of the `near_copies` method; changing it invalidates cached pairs."""

    @abstractmethod
    def reader(self, *, optional: bool = False) -> str:
        """Return name and version of the decoding library, for cache keys; with `optional`, of optional ones too."""

    def reader_number(self) -> int:
        """Return a number for the version of the optional decoding library; 0 if there is none."""
        return 0

    def grouped(
        self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"]
    ) -> tuple[Sequence[Example], Sequence[Notice]]:
        """Return the examples with groups read from their contents (the patient of a DICOM file) where none was given,
        and notices about it."""
        return examples, ()

    @abstractmethod
    def augmentation(self, name: str, changes: Mapping[str, Any]) -> Any:
        """Return the named augmentation with some fields changed.

        Raises:
            UnknownName: there is no augmentation of this name.
            BadRecipe: a field is unknown, of the wrong type or out of range.
        """

    def fitted(self, preparation: Any, contents: Sequence[Contents]) -> Any:
        """Return the preparation fitted to training examples: a vocabulary, means and standard deviations.

        Called with training examples only, once per fold. A preparation that is already fitted, or comes with trained
        weights (a tokenizer's vocabulary), is returned unchanged. The fitted state is part of `digest_fields` (the
        store's key) and of `to_json` (the bundle).
        """
        return preparation

    def whole(self, preparation: Any) -> Any:
        """Return the preparation that shows the whole example, uncropped (`Reads.whole`)."""
        return preparation

    def itself(self, preparation: Any, parts: str) -> Any:
        """Return the preparation whose rows name what is to be predicted of the input itself (`Reads.itself`); with no
        `parts`, one that hides nothing.

        Raises:
            BadRequest: the network predicts nothing of the kind.
        """
        if parts:
            raise BadRequest(f"The task predicts {parts} of the input itself, and {self.many} have none.",
                             fix="name another --task.")  # fmt: skip
        return preparation

    def varies(self, augmentation: Any, preparation: Any) -> bool:
        """Return whether views can differ from the plain one."""
        return bool(augmentation.varies)

    def pieces(self, contents: Contents, preparation: Any) -> int:
        """Return the number of pieces of an example: windows of a long text, slices of a volume; usually 1."""
        return 1

    @abstractmethod
    def load(self, contents: Contents, preparation: Any, view: View | None, piece: int = 0) -> tuple[Record, Placement]:
        """Load the record of one piece of an example in one view (None: the plain one), and its placement.

        Raises:
            Undecodable: the contents cannot be read.
        """

    @abstractmethod
    def shapes(self, preparation: Any) -> Shapes:
        """Return shapes and dtypes of a record's arrays."""

    def placements(self, preparation: Any, augmentation: Any = None) -> Shapes:
        """Return shapes and dtypes of a placement's arrays; empty if targets never move.

        Raises:
            BadRecipe: the augmentation makes changes that a placement cannot describe.
        """
        del preparation, augmentation
        return {}

    @abstractmethod
    def golden(self, seed: int, preparation: Any) -> list[Contents]:
        """Generate examples from a seed, identical on every platform, to check saved models with. They contain no user
        data."""

    @abstractmethod
    def golden_digests(self, seed: int, preparation: Any) -> list[str]:
        """Return a digest of each golden example, before it is encoded in a file format."""

    @abstractmethod
    def given(self, value: Any) -> Contents:
        """Convert any input a user may pass to a model to contents: a path, the bytes of a file, an array …

        Raises:
            Undecodable: the value is none of these.
        """

    @abstractmethod
    def is_one(self, value: Any) -> bool:
        """Return whether a user's input is a single example rather than several."""

    def bridged(self, card: "Card") -> "Card | None":
        """Adapt the card of another modality's network to this one: with a preparation of this modality that yields
        records of the same names, shapes and dtypes. Return None if there is no such preparation."""
        return None

    def shaped(self, card: "Card", contents: Contents) -> "Card":
        """Return the card completed with what the shape of all records depends on (the columns of a table), read from
        one example's `contents`. Unchanged if nothing is missing."""
        return card

    def of_rows(self, names: Sequence[str], values: Float32[np.ndarray, "n d"]) -> Sequence[Contents]:
        """Return the contents of every row of a table (NaN: empty cell); only for modalities with `rows`."""
        return ()

    def check(self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"], card: "Card") -> Sequence[Notice]:
        """Check that the network accepts all examples; return notices about unusual ones.

        Raises:
            BadData: the network cannot take one of the examples.
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
        """Keep these examples on the device; return a function that augments them there: (examples, view numbers above
        0) -> record.

        Raises:
            BadRequest: the modality cannot augment on the device.
        """
        yield from ()
        raise BadRequest(f"Views of {self.many} cannot be computed on the device.", fix="leave out augment.on_device.")

    def standalone(self) -> str:
        """Return the source of two functions for an export's `predict.py`. `inputs(path)` lists the examples in a file;
        `prepare(given, preparation, folder)` converts one of them to the record the graph takes, with the placement
        arrays the task needs (`Task.places`). `preparation` is the JSON from `handed`, `folder` the export's folder.

        The functions may use the standard library, numpy, and the library that reads this kind of data, but not
        regraft. `csv`, `io`, `json`, `math`, `np`, `Path`, `Any`, `ceil`, `floor` and `lru_cache` are already imported.

        Raises:
            BadRequest: this kind of data cannot be read without regraft.
        """
        raise BadRequest(f"Models of {self.many} cannot be exported yet.", fix="predict with Regraft itself.")

    def outside(self, preparation: Any) -> Any:
        """Return the part of a preparation that runs outside the exported graph; `inside` is the rest.

        Raises:
            BadRequest: the preparation splits an example into several rows.
        """
        return preparation

    def inside(self, preparation: Any) -> "nn.Module | None":
        """Return the part of a preparation that runs in the exported graph: a module from record to record, or None."""
        return None

    def handed(self, preparation: Any) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        """Return the preparation as JSON for the export's `prepare`, and the extra files it needs, by name."""
        return preparation.to_json(), {}

    def filed(self, contents: Contents, preparation: Any) -> tuple[str, bytes]:
        """Return contents as a file that `inputs` can read: suffix and bytes."""
        (content,) = contents.values()
        return "", content.path.read_bytes() if isinstance(content, File) else bytes(content.value)

    def explained(self, record: Record, weights: np.ndarray) -> bytes | str:
        """Render a prepared input with an attribution map, in the form of `preview`; empty if not supported.

        `weights` has the network's spatial resolution (rows, columns), or one value per token (including tokens that
        the network prepends); positive values support the prediction."""
        return ""

    def marked(self, content: Content, marks: Marks, longest: int = 0) -> Mapping[str, bytes]:
        """Return files that show what a prediction marks (`Task.marks`) in an example, by the ends of their names; none
        if nothing can be marked in such examples. `longest` is the longer side of overlays; 0: that of the
        example."""
        return {}

    @abstractmethod
    def preview(self, content: Content) -> bytes | str:
        """Return a thumbnail (PNG bytes) or a text excerpt for reports."""


MODALITIES: Shelf[Modality] = Shelf("modality", "regraft.modalities")
