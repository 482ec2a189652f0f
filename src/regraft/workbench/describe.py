"""Describe: a network of the shelf, stage by stage and layer by layer, counted; no weights are needed."""

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
    """What a publisher states of weights of the family."""

    spec: str
    """The weights, as `--backbone` takes them."""
    same: bool
    """Whether they are of the very variant that is described."""
    top1_percent: float
    """Accuracy on ImageNet-1k's validation split, one central crop, in percent."""
    source: str
    """Who states it, and where the weights lie."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """One network."""

    spec: str
    """What was asked for."""
    name: str
    """`family:variant`."""
    title: str
    """One line for people."""
    source: str
    """The paper."""
    input_px: tuple[int, int]
    """Height and width of the input, in pixels."""
    channels: int
    """Channels of the input."""
    num_classes: int
    """Outputs of the classifier; 0 where there is none."""
    cuts: tuple[str, ...]
    """Where it can be cut, from the input upwards."""
    partial_cut: str
    """Where partial fine-tuning cuts it unless told otherwise; empty where it cannot be cut inside."""
    side_weights: Mapping[str, float]
    """Stages with an auxiliary head, and the weight of its loss."""
    costs: "NetworkCosts"
    """Everything that was counted."""
    paper: "tuple[StatedCost, ...]"
    """The paper's own table beside what was counted, where it has one for this architecture and input size."""
    accuracies: tuple[Accuracy, ...]
    """What is stated of published weights for the architecture; of the family's default, of others too."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON, with the sums."""
        said: dict[str, Any] = asdict(self)
        sums = ("parameters", "multiply_adds", "kept_bytes", "running_bytes")
        return {**said, **said.pop("costs"), **{name: getattr(self.costs, name) for name in sums}}


def describe(spec: str, *, input_px: int | None = None) -> Description:
    """The network that `spec` names, for square inputs of `input_px` pixels or else of its own size.

    Nothing is fetched, and no weights are needed. Of a model of ours the classifier is its own head; of a file of
    weights the variant is found out from its tensors unless the spec names it.

    Raises:
        UnknownName: no such backbone, variant or published weights.
        BadRequest: the spec names nothing, or the network takes no inputs of that size.
        WeightsMissing: the file that the spec names does not exist.
        WeightsError: it cannot be read.
        BundleError: the saved model cannot be read.
        MissingExtra: the library that knows the architecture is not installed.
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
    """The last event of `side_by_side`: several networks, described and perhaps measured."""

    described: tuple[Description, ...]
    """The networks in the order asked for."""
    speeds: tuple[Speed, ...] = ()
    """What each reached; empty where nothing was measured."""
    timing: Timing | None = None
    """How it was measured; None where nothing was."""

    def to_json(self) -> dict[str, Any]:
        """A record for each network, and how they were measured."""
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
    """Describe several networks and, with `timing`, measure them; yields progress and last a `SideBySide`.

    Raises:
        RegraftError: as `describe`, for any of them.
    """
    networks = [card_at_hand(spec, input_px) for spec in specs]
    described = tuple(_described(spec, *network) for spec, network in zip(specs, networks, strict=True))
    speeds = () if timing is None else (yield from measured(networks, timing))
    yield SideBySide(described=described, speeds=speeds, timing=timing)


def timing_of(*, batch: int, rounds: int, threads: int, device: str) -> Timing:
    """How to measure, with this machine's values for `threads` 0 and device `auto`.

    Raises:
        BadRequest: the device does not work here, or a number is out of range.
    """
    return Timing(batch=batch, rounds=rounds, threads=num_threads(threads), device=choose_device(device))
