"""Open a backbone by name: find, fetch and convert its weights.

    NAME[:VARIANT][@WEIGHTS]     WEIGHTS = random | file:PATH | hf:ADDRESS | a published name: imagenet, package …
    bundle:PATH  or  PATH        a model saved by Regraft, as the start of the next transfer

An ADDRESS on the Hugging Face hub is OWNER/REPOSITORY[/FILE][@REVISION].

`googlenet` without `@` always means the weights shipped in this package: the choice never depends on what the network
connection can reach. Whatever their source, tensors are cached once under canonical names.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from regraft.backbones.backbone import Backbone, family_of
from regraft.backbones.convert import converted_file, drawn, resized, variant_of
from regraft.backbones.shipped import of_bundle, saved_backbone, shipped_weights
from regraft.bundle_format import FACTS, TENSORS, bundle_folder, read_facts, read_tensors
from regraft.contracts.family import PREFIX, Card, Family, Packaged, Published, facts_of, sized
from regraft.errors import BadRequest, UnknownName, WeightsMissing
from regraft.identity import digest_file, sha256_of
from regraft.values import Event, Notice, drained

Opening = Generator[Event, None, Backbone]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The parsed name of a backbone."""

    family: str
    """Name of the family; empty for a bundle."""
    variant: str
    """Name of the variant; empty if the weights decide."""
    weights: str
    """`shipped`, `random`, `file`, `hf`, `bundle` or the name of published weights."""
    path: str = ""
    """Path of the file or the bundle, or address on the hub."""


def parse(spec: str) -> Spec:
    """Parse `NAME[:VARIANT][@WEIGHTS]`, `bundle:PATH` or `PATH`.

    Raises:
        BadRequest: the name is empty, or `file:` has no path, or `hf:` no address.
    """
    if spec.startswith("bundle:"):
        return Spec(family="", variant="", weights="bundle", path=spec.removeprefix("bundle:"))
    if (bundle_folder(Path(spec).expanduser()) / FACTS).is_file():
        return Spec(family="", variant="", weights="bundle", path=spec)
    name, at, weights = spec.partition("@")
    family, _, variant = name.partition(":")
    if not family or (at and not weights):
        raise BadRequest(
            f"{spec!r} does not name a backbone.",
            fix="write NAME, NAME@imagenet, NAME@random, NAME@file:PATH or NAME@hf:OWNER/REPOSITORY.",
        )
    kind, colon, path = weights.partition(":")
    if colon and kind not in ("file", "hf"):
        raise BadRequest(
            f"{spec!r} requests weights of the unknown kind {kind!r}.",
            fix="the kinds with a path are file:PATH and hf:OWNER/REPOSITORY[/FILE][@REVISION].",
        )
    if kind == "hf":
        from regraft.backbones.fetch import hub_address

        hub_address(path)
    return Spec(family=family, variant=variant, weights=kind or "shipped", path=path)


def open_backbone(spec: str, *, input_px: int | None = None, seed: int = 0) -> Opening:
    """Find, fetch and convert the weights named by `spec`; yields events, returns the `Backbone`.

    `input_px` sets a square input size other than the card's; `seed` is used by `@random` only.

    Raises:
        UnknownName: the backbone, variant or published weights do not exist.
        BadRequest: `input_px` is smaller than the network's minimum input size.
        WeightsMissing: the weights cannot be reached; the message says which file is needed and where to put it.
        WeightsError: the file cannot be read.
        WeightsMismatch: the file contains tensors of another architecture.
        BundleError: a saved model is missing, damaged or modified.
    """
    parsed = parse(spec)
    if parsed.weights == "bundle":
        backbone = of_bundle(Path(parsed.path).expanduser())
        return resized(backbone, sized(backbone.family, backbone.card, input_px))
    family, variant = family_of(parsed.family, parsed.variant)
    if parsed.weights == "random":
        card = replace(family.card(variant or family.variants[0]), weights="random")
        return drawn(family, sized(family, card, input_px), seed)
    try:
        found = yield from _find(family, parsed)
    except WeightsMissing as error:
        if parsed.weights in ("file", "package"):
            raise
        from regraft.backbones.packages import offered

        also = offered(family.card(variant or family.variants[0]).modality)
        raise WeightsMissing(error.message, fix=f"{error.fix} {also}".rstrip()) from error
    content = digest_file(found.path)
    card = sized(family, _card(family, variant, found, content), input_px)
    for note in card.notes:
        yield Notice(text=note, topic="weights")
    return converted_file(family, card, found.path, content, found.read)


def open_for_channels(spec: str, *, channels: int, **options: Any) -> Opening:
    """Open a backbone for inputs with `channels` channels; 0 for the network's own number. Otherwise as
    `open_backbone`.

    Raises:
        BadRequest: the network does not begin with a convolution, or was already adapted to other channels by Regraft.
    """
    backbone = yield from open_backbone(spec, **options)
    if channels in (0, backbone.card.channels):
        return backbone
    from regraft.backbones.channels import with_channels

    adapted = with_channels(backbone, channels)
    yield Notice(text=adapted.card.notes[-1], topic="weights")
    return adapted


def _card(family: Family, variant: str, found: "_Found", content: str = "") -> Card:
    """Return the card of the weights found. `variant` is the one in the spec, `content` the digest of the file."""
    form = family.formats.get(found.path.suffix)
    variant = variant or found.variant or (form.variant if form else "")
    variant = variant or variant_of(found.path, content or digest_file(found.path), family)
    return replace(family.card(variant), weights=found.label, **{**(form.facts if form else {}), **found.facts})


def expected_card(spec: str, *, channels: int, side: int | None) -> Card:
    """Return the card that `open_for_channels` would give, as far as it is known without fetching anything: for weights
    on the hub that are not listed here, the architecture's card. `side` is that of square inputs; None for the
    network's own.

    Raises:
        RegraftError: as `open_for_channels`, except for errors in the tensors.
    """
    parsed = parse(spec)
    if parsed.weights in ("bundle", "hf", "random"):
        family, card = named_card(spec)
        card = replace(card, weights="random") if parsed.weights == "random" else card
    else:
        family, variant = family_of(parsed.family, parsed.variant)
        if published := family.published.get(parsed.weights):
            found = _known(Path(published.file_name), parsed.weights, published)
        else:  # a local file, or a name without published weights
            found = drained(_find(family, parsed))
        card = _card(family, variant, found)
    card = sized(family, card, side)
    if channels in (0, card.channels):
        return card
    from regraft.backbones.channels import adapted_card

    return adapted_card(card, channels)


def named_card(spec: str) -> tuple[Family, Card]:
    """Return the family and the card of the architecture named by `spec`, without fetching anything.

    For published and shipped weights and for a saved model, the card has their variant and metadata; for a file or an
    address on the hub, those of the variant in the spec, or of the family's default variant.

    Raises:
        UnknownName: the backbone, variant or published weights do not exist.
        BadRequest: the spec is empty.
        BundleError: a saved model's metadata cannot be read.
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
    """Return `named_card` for square inputs of `input_px` pixels, completed from local files.

    For a saved model, the number of classes is its head's; for a file of weights, the variant is inferred from its
    tensors unless the spec names it.

    Raises:
        RegraftError: as `named_card`; also BadRequest if the network does not accept inputs of that size,
            WeightsMissing if the file does not exist, WeightsError if it cannot be read.
    """
    parsed, (family, card) = parse(spec), named_card(spec)
    path = Path(parsed.path).expanduser()
    if parsed.weights == "bundle":
        head = read_tensors(bundle_folder(path) / TENSORS, beginning="head/weight")
        card = replace(card, num_source_classes=len(next(iter(head.values()), ())))
    elif parsed.weights == "file":
        if not path.is_file():
            raise WeightsMissing(f"{path} does not exist; expected a weights file.", fix="check the path.")
        if not parsed.variant and family.narrowed is None and len(family.variants) > 1:
            form = family.formats.get(path.suffix)
            card = family.card(form.variant if form else variant_of(path, digest_file(path), family))
    return family, sized(family, card, input_px)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A file of weights and its metadata."""

    path: Path
    label: str
    variant: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Reader for a package's own format; None for the usual formats."""


def _find(family: Family, parsed: Spec) -> Generator[Event, None, _Found]:
    if parsed.weights == "file":
        return (yield from _given(family, Path(parsed.path).expanduser()))
    if parsed.weights == "hf":
        return (yield from _from_hub(parsed.path))
    if parsed.weights == "shipped":
        return _shipped(family, parsed.variant)
    if parsed.weights not in family.published:
        raise UnknownName(
            f"set of weights of {family.name}", parsed.weights, [*family.published, "random", "file:PATH", "hf:ADDRESS"]
        )
    published = family.published[parsed.weights]
    if published.url.startswith(PREFIX):
        found = yield from _from_hub(published.url.removeprefix(PREFIX))
        facts = {**found.facts, **published.facts}
        return replace(found, label=parsed.weights, variant=published.variant, facts=facts, read=published.read)
    if isinstance(published, Packaged):
        from regraft.backbones.packages import packaged_file

        path = packaged_file(published)
    elif published.url.startswith("file:"):
        return (yield from _in_folder(published, parsed.weights))
    else:
        from regraft.backbones.fetch import fetch

        path = yield from fetch(published.url, published.sha256, size_mb=published.size_mb)
    return _known(path, parsed.weights, published)


def _in_folder(published: Published, label: str) -> Generator[Event, None, _Found]:
    """Find the file of weights in a folder that the user named."""
    from regraft.backbones.fetch import published_at

    _, path = published_at(published.url)
    if not path.is_file():
        raise WeightsMissing(f"{path} is not there; a file of weights is expected.",
                             fix="save the network with save_pretrained, in a single safetensors file.")  # fmt: skip
    yield from ()
    return _known(path, label, published)


def _known(path: Path, label: str, published: Published) -> _Found:
    """Return a published file that is available locally, with its metadata."""
    facts = {**published.facts, "source": published.url}
    return _Found(path=path, label=label, variant=published.variant, facts=facts, read=published.read)


def _from_hub(address: str) -> Generator[Event, None, _Found]:
    from regraft.backbones.fetch import fetch_from_hub

    fetched = yield from fetch_from_hub(address)
    facts = {"source": fetched.source, **({"licence": fetched.licence} if fetched.licence else {})}
    return _Found(path=fetched.path, label=f"{PREFIX}{address}", facts=facts)


def _given(family: Family, path: Path) -> Generator[Event, None, _Found]:
    """Return the user's file. A published file with its original name and digest keeps the published metadata."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsMissing(f"{path} {found}; expected a weights file.", fix="check the path after file:.")
    label = f"file:{path.name}"
    for name, published in family.published.items():
        named = published.sha256 and path.name == published.file_name
        if named and sha256_of(path).startswith(published.sha256):
            yield Notice(
                text=f"{path.name} is the published {family.name}@{name}: its normalisation is used.", topic="weights"
            )
            return _known(path, label, published)
    return _Found(path=path, label=label, facts={"source": "a user-provided file"})


def _shipped(family: Family, variant: str) -> _Found:
    shipped = shipped_weights(family.name)
    if shipped is None or variant not in ("", shipped.card.variant):
        named = f"{family.name}:{variant}" if variant else family.name
        others = [f"{named}@{name}" for name in (*family.published, "random", "file:PATH", "hf:ADDRESS")]
        raise WeightsMissing(
            f"No weights for {named} are shipped with this version of regraft.",
            fix=f"choose the weights: {', '.join(others)}.",
        )
    shipped.check()
    return _Found(path=shipped.path, label="shipped", variant=shipped.card.variant, facts=facts_of(shipped.card))
