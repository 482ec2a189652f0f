"""Describe: costs of a network by stage and layer, counted without weights."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from regraft.backbones.opening import card_at_hand
from regraft.contracts.family import Card, Family
from regraft.values import Event
from regraft.workbench._machine import choose_device, num_threads
from regraft.workbench._speed import Speed, Timing, measured

if TYPE_CHECKING:
    from regraft.backbones.costs import NetworkCosts
    from regraft.nn.stated import StatedCost


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Published accuracy of weights of the family."""

    spec: str
    """The weights, as a value for `--backbone`."""
    same: bool
    """Whether they are of the described variant."""
    top1_percent: float
    """Top-1 accuracy on the ImageNet-1k validation split, single centre crop, in percent."""
    source: str
    """Source of the figure and the weights."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """Description of one network."""

    spec: str
    """Requested name."""
    name: str
    """`family:variant`."""
    title: str
    """One-line description."""
    source: str
    """The paper that introduced it."""
    input_px: tuple[int, int]
    """Height and width of the input, in pixels."""
    channels: int
    """Channels of the input."""
    num_classes: int
    """Number of outputs of the classifier; 0 without one."""
    cuts: tuple[str, ...]
    """Names of the cuts, from the input upwards."""
    partial_cut: str
    """Default cut of partial fine-tuning; empty if there is no inner cut."""
    side_weights: Mapping[str, float]
    """Stages with an auxiliary head, and the weight of its loss."""
    costs: "NetworkCosts"
    """Counted costs."""
    paper: "tuple[StatedCost, ...]"
    """The paper's own cost table, if it has one for this architecture and input size."""
    accuracies: tuple[Accuracy, ...]
    """Published accuracies of weights for this architecture; for the family's default, also of other variants."""

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON, with totals."""
        said: dict[str, Any] = asdict(self)
        sums = ("parameters", "multiply_adds", "kept_bytes", "running_bytes")
        return {**said, **said.pop("costs"), **{name: getattr(self.costs, name) for name in sums}}


def describe(spec: str, *, input_px: int | None = None) -> Description:
    """Describe the network `spec` for square inputs of `input_px` pixels (default: the network's own size).

    Downloads nothing and needs no weights. For a saved model the classifier is its own head; for a weights file the
    variant is detected from its tensors unless the spec names it.

    Raises:
        UnknownName: there is no such backbone, variant or published weights.
        BadRequest: the spec is empty, or the network does not accept this input size.
        WeightsMissing: the named file does not exist.
        WeightsError: the file cannot be read.
        BundleError: the saved model cannot be read.
        MissingExtra: the library that defines the architecture is not installed.
    """
    return _described(spec, *card_at_hand(spec, input_px))


def _described(spec: str, family: Family, card: Card) -> Description:
    from regraft.backbones.costs import costs_of

    costs = costs_of(family, card)
    return Description(
        spec=spec,
        name=f"{card.family}:{card.variant}",
        title=family.title,
        source=family.source,
        input_px=card.preparation.input_px,
        channels=card.channels,
        num_classes=card.num_source_classes,
        cuts=card.cuts,
        partial_cut=card.partial_cut,
        side_weights=dict(card.side_heads),
        costs=costs,
        paper=tuple(_paper(family, card, costs)),
        accuracies=tuple(
            Accuracy(
                spec=f"{family.name}:{one.variant}@{weights}",
                same=one.variant == card.variant,
                top1_percent=one.top1_percent,
                source=f"{one.top1_source}, {one.url}",
            )
            for weights, one in family.published.items()
            if one.top1_percent is not None and card.variant in (one.variant, family.variants[0])
        ),
    )


def _paper(family: Family, card: Card, costs: "NetworkCosts") -> "Iterator[StatedCost]":
    for row in family.stated(card) if family.stated else ():
        layers = [one for one in costs.layers if one.stage == row.stage and one.name.startswith(row.layers)]
        parameters, multiply_adds = (sum(getattr(one, of) for one in layers) for of in ("parameters", "multiply_adds"))
        yield replace(row, parameters_here=parameters, multiply_adds_here=multiply_adds)


@dataclass(frozen=True, kw_only=True, eq=False)
class SideBySide(Event):
    """The last event of `side_by_side`."""

    described: tuple[Description, ...]
    """The networks, in the given order."""
    speeds: tuple[Speed, ...] = ()
    """Their speeds; empty if not measured."""
    timing: Timing | None = None
    """Settings of the measurement; None if not measured."""

    def to_json(self) -> dict[str, Any]:
        """Return an object per network, and the settings of the measurement."""
        rows = []
        told = ("spec", "name", "input_px", "parameters", "multiply_adds", "kept_bytes", "running_bytes", "accuracies")
        for at, one in enumerate(self.described):
            said = one.to_json()
            speed = self.speeds[at].to_json(self.speeds[0]) if self.speeds else None
            rows.append({name: said[name] for name in told} | {"speed": speed})
        if not self.timing:
            return {"networks": rows, "timing": None}
        from regraft.activations.openvino import processor

        name, units = processor()
        return {"networks": rows, "timing": {**asdict(self.timing), "processor": name, "units": units}}


def side_by_side(
    specs: Sequence[str], *, input_px: int | None = None, timing: Timing | None = None
) -> Generator[Event, None, None]:
    """Describe several networks and, with `timing`, measure their speed; yields progress, and last a `SideBySide`.

    Raises:
        RegraftError: as `describe`, for any of them.
    """
    networks = [card_at_hand(spec, input_px) for spec in specs]
    described = tuple(_described(spec, *network) for spec, network in zip(specs, networks, strict=True))
    speeds = () if timing is None else (yield from measured(networks, timing))
    yield SideBySide(described=described, speeds=speeds, timing=timing)


def timing_of(*, batch: int, rounds: int, threads: int, device: str) -> Timing:
    """Return settings of a measurement, with this machine's values for `threads` 0 and device `auto`.

    Raises:
        BadRequest: the device does not work here, or a number is out of range.
    """
    return Timing(batch=batch, rounds=rounds, threads=num_threads(threads), device=choose_device(device))
