"""A model that Regraft saved, as the backbone of the next transfer."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.backbones.backbone import BACKBONES, Backbone, family_of
from regraft.bundle_format import FACTS, TENSORS, bundle_folder, check_tensors, read_facts, read_tensors
from regraft.contracts.card import Card
from regraft.errors import BundleError

_OUTPUTS = {"multilabel": "labels", "regression": "targets"}
"""What the outputs of a model are called, where they are not classes."""


def of_bundle(path: Path) -> Backbone:
    """The network of the saved model (or run) at `path`, its tensors checked; the head stays behind.

    Raises:
        BundleError: a file is missing, damaged or changed.
        UnknownName: the network's family, or its variant, is not on this machine's shelf.
        MissingExtra: the library that the network is made of is not installed.
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
    return replace(found, card=card)


def saved_backbone(facts: Mapping[str, Any], folder: Path) -> Backbone:
    """The network of the saved model in `folder`, whose facts were read.

    Raises:
        BundleError: the facts are not those of a network.
        UnknownName: the network's family, or its variant, is not on this machine's shelf.
        MissingExtra: the library that the network is made of is not installed.
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
    """The card, if its facts are of the kinds that a network is built from; a TypeError or ValueError if not."""
    for text in (card.family, card.variant, *card.stages):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is no name")
    if not card.stages or len(card.mean) != len(card.std):
        raise ValueError("stages, mean or std are not whole")
    for number in (*card.mean, *card.std, *card.input_px):
        if not isinstance(number, int | float) or not abs(number) < 1e5:
            raise TypeError(f"{number!r} is no mean, deviation or size")
    return card


def digests_in(facts: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The digest of every part of `model.safetensors`, as `bundle.json` has them.

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
        f"{folder / FACTS} does not describe a network as Regraft writes it ({type(error).__name__}: {error}).",
        fix="give the folder that `regraft fit` wrote.",
    )
