"""Weights made by Regraft: those in this package (`weights/NAME.safetensors`, described by `NAME.json`), and saved
models used as the backbone of the next transfer. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.backbone import BACKBONES, Backbone, family_of
from regraft.bundle_format import FACTS, TENSORS, bundle_folder, check_tensors, read_facts, read_json, read_tensors
from regraft.contracts.family import Card
from regraft.contracts.task import TASKS
from regraft.errors import BundleError, WeightsError
from regraft.identity import sha256_of

if TYPE_CHECKING:
    import numpy as np

REINSTALL = "reinstall regraft: the installed package differs from the released one."


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value for the weights, with its 95 % interval."""

    what: str
    """What was measured, and on which data."""
    value: float
    """The estimate."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    source: str = ""
    """Command that reproduces it."""
    signed: bool = False
    """Whether it is a difference, which may be negative."""

    @property
    def numbers(self) -> str:
        """Return the estimate with its interval, as displayed on all pages."""
        form = "+.3f" if self.signed else ".3f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"

    def __str__(self) -> str:
        return f"{self.what}: {self.numbers}"


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """One set of weights in the package."""

    path: Path
    """File with the tensors, under the original's names: float16, batch norm's statistics float32."""
    sha256: str
    """Digest of that file, in hex."""
    card: Card
    """The metadata of the weights."""
    recipe: Mapping[str, Any]
    """How they were trained: command, settings, epochs, number of examples seen, seconds, training curve."""
    figures: tuple[Figure, ...]
    """Measured values."""
    limits: tuple[str, ...]
    """Known limitations, a sentence each."""
    corpus_sha256: str = ""
    """Digest of the file with features of the pretraining data, in hex; empty if there is none."""

    def check(self) -> None:
        """Check the file's digest.

        Raises:
            WeightsError: the file is not the one described by its card.
        """
        _check(self.path, self.sha256)

    def source_features(self) -> "Mapping[str, np.ndarray] | None":
        """Return the network's features of m examples that it was pretrained on, at the card's input size:
        `mean` (d), `axes` (k d) of the leading principal components, over the square root of the total variance, and
        the sample's coordinates on these, `rows` (m k). None if the card has none.

        Raises:
            WeightsError: the file is not the one described by the card.
        """
        if not self.corpus_sha256:
            return None
        path = corpus_file(self.path.stem)
        _check(path, self.corpus_sha256)
        return read_tensors(path)


def weights_folder() -> Path:
    """Return the folder with the weights of this package."""
    return Path(str(resources.files("regraft") / "weights"))


def corpus_file(family: str) -> Path:
    """Return the path of the features of the pretraining data (`Shipped.source_features`)."""
    return weights_folder() / "corpus" / f"{family}.safetensors"


def shipped_weights(family: str) -> Shipped | None:
    """Return the shipped weights of that family; None if there are none.

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
            corpus_sha256=str(written.get("corpus_sha256", "")),
        )
    except (BundleError, TypeError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path.with_suffix('.json')} does not describe the weights beside it ({error}).", fix=REINSTALL
        ) from error


def _check(path: Path, digest: str) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} is missing; it is named in a card.", fix=REINSTALL)
    if (found := sha256_of(path)) != digest:
        raise WeightsError(f"{path} has the SHA-256 {found[:12]}…, but its card records {digest[:12]}….", fix=REINSTALL)


_OUTPUTS = {"multilabel": "labels", "regression": "targets"}
"""What a model's outputs are called if they are not classes."""


def of_bundle(path: Path) -> Backbone:
    """Return the network of the saved model (or run) at `path`, its tensors checked, without its head.

    Raises:
        BundleError: a file is missing, damaged or modified.
        UnknownName: the network's family or variant is not available on this machine.
        MissingExtra: the library that implements the network is not installed.
    """
    folder = bundle_folder(path)
    facts = read_facts(folder)
    check_tensors(read_tensors(folder / TENSORS), digests_in(facts, folder), folder / TENSORS)
    found = saved_backbone(facts, folder)
    task = facts.get("task")
    classes = task.get("classes", ()) if isinstance(task, dict) else ()
    outputs = _OUTPUTS.get(str(task.get("kind")), "classes") if isinstance(task, dict) else "classes"
    before = found.card.trained_on or found.card.weights
    name = folder.resolve().parent.name if folder.name == "model" else folder.resolve().name
    card = replace(
        found.card,
        weights=f"bundle:{name}",
        trained_on=f"{before}; then {len(classes)} {outputs} of the user's ({name})" if classes else before,
    )
    made = TASKS.get(str(task.get("kind")))(()) if isinstance(task, dict) else None
    if made is not None and (made.generates or made.ready):  # the output layer is reused
        return replace(found, card=replace(card, num_source_classes=card.preparation.vocabulary), head="head/1.")
    return replace(found, card=card)


def saved_backbone(facts: Mapping[str, Any], folder: Path) -> Backbone:
    """Return the network of the saved model in `folder`, from its metadata.

    Raises:
        BundleError: the metadata do not describe a network.
        UnknownName: the network's family or variant is not available on this machine.
        MissingExtra: the library that implements the network is not installed.
    """
    try:
        described = facts["backbone"]
        card = _whole(replace(Card.from_json(described["card"]), source_classes=(), num_source_classes=0))
        digests = {stage: str(described["stages"][stage]) for stage in card.stages}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_ours(folder, error) from error
    family = BACKBONES.get(card.family) if card.config else family_of(card.family, card.variant)[0]
    return Backbone(card=card, family=family, tensors_path=folder / TENSORS, stage_digests=digests)


def _whole(card: Card) -> Card:
    """Return the card, after checking the types of its fields. Raises TypeError or ValueError."""
    for text in (card.family, card.variant, *card.stages):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is not a name")
    if not card.stages or len(card.mean) != len(card.std):
        raise ValueError("stages, mean or std are incomplete")
    for number in (*card.mean, *card.std, *card.input_px):
        if not isinstance(number, int | float) or not abs(number) < 1e5:
            raise TypeError(f"{number!r} is not a mean, standard deviation or size")
    return card


def digests_in(facts: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the digest of every part of `model.safetensors`, from `bundle.json`.

    Raises:
        BundleError: it has none.
    """
    try:
        named = {**facts["backbone"]["stages"], **facts["parts"]}
    except (KeyError, TypeError) as error:
        raise _not_ours(folder, error) from error
    return {part: str(digest) for part, digest in named.items() if digest}


def _not_ours(folder: Path, error: Exception) -> BundleError:
    return BundleError(
        f"{folder / FACTS} is not a valid Regraft network description ({type(error).__name__}: {error}).",
        fix="pass the folder that `regraft fit` wrote.",
    )
