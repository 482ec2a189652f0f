"""The network that a spec names, as far as it is known without its weights: nothing is fetched. Imports no torch."""

from dataclasses import replace
from pathlib import Path

from regraft.backbones._open import parse
from regraft.backbones._saved import saved_backbone
from regraft.backbones._shipped import shipped_weights
from regraft.backbones.backbone import family_of
from regraft.bundle_format import TENSORS, bundle_folder, read_facts, read_tensors
from regraft.contracts.card import Card
from regraft.contracts.family import Family, sized
from regraft.errors import UnknownName, WeightsMissing
from regraft.identity import digest_file


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


def card_at_hand(spec: str, input_px: int | None = None) -> tuple[Family, Card]:
    """`named_card` for square inputs of `input_px` pixels, with what files at hand know beyond the name.

    Of a model of ours the number of classes is its head's; of a file of weights the variant is found out from its
    tensors unless the spec names it.

    Raises:
        RegraftError: as `named_card`, and BadRequest where the network takes no inputs of that size, WeightsMissing
            where the file does not exist, WeightsError where it cannot be read.
    """
    parsed, (family, card) = parse(spec), named_card(spec)
    path = Path(parsed.path).expanduser()
    if parsed.weights == "bundle":
        head = read_tensors(bundle_folder(path) / TENSORS, beginning="head/weight")
        card = replace(card, num_source_classes=len(next(iter(head.values()))))
    elif parsed.weights == "file":
        if not path.is_file():
            raise WeightsMissing(f"{path} is not there; a file of weights is expected.", fix="check the path.")
        if not parsed.variant and family.narrowed is None and len(family.variants) > 1:
            from regraft.backbones._convert import variant_of

            form = family.formats.get(path.suffix)
            card = family.card(form.variant if form else variant_of(path, digest_file(path), family))
    return family, sized(family, card, input_px)
