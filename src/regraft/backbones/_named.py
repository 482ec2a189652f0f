"""The network that a spec names, as far as it is known without its weights: nothing is fetched. Imports no torch."""

from dataclasses import replace
from pathlib import Path

from regraft.backbones._open import parse
from regraft.backbones._saved import saved_backbone
from regraft.backbones._shipped import shipped_weights
from regraft.backbones.backbone import family_of
from regraft.bundle_format import bundle_folder, read_facts
from regraft.contracts.card import Card
from regraft.contracts.family import Family
from regraft.errors import UnknownName


def named_card(spec: str) -> tuple[Family, Card]:
    """Family and card of the architecture that `spec` names.

    Of published and shipped weights, and of a model of ours, the card has the variant and the facts; of a file or an
    address on the hub it has those of the variant that the spec names, or else of the family's default.

    Raises:
        UnknownName: no such backbone, variant or published weights.
        BadRequest: the spec names nothing.
        BundleError: a saved model's facts cannot be read.
        MissingExtra: the library that knows the architecture is not installed.
    """
    parsed = parse(spec)
    if parsed.weights == "bundle":
        folder = bundle_folder(Path(parsed.path).expanduser())
        backbone = saved_backbone(read_facts(folder), folder)
        return backbone.family, backbone.card
    family, variant = family_of(parsed.family, parsed.variant)
    if parsed.weights in family.published:
        published = family.published[parsed.weights]
        card = family.card(variant or published.variant)
        return family, replace(card, weights=parsed.weights, source=published.url, **published.facts)
    if parsed.weights not in ("shipped", "random", "file", "hf"):
        raise UnknownName(f"set of weights of {family.name}", parsed.weights, [*family.published, "random"])
    if parsed.weights == "shipped" and not variant and (shipped := shipped_weights(family.name)):
        variant = shipped.card.variant
    return family, family.card(variant or family.variants[0])
