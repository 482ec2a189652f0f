"""Describe: a network of the shelf, stage by stage and layer by layer, counted; no weights are needed."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones._named import named_card
from regraft.backbones._open import parse
from regraft.bundle_format import TENSORS, bundle_folder, read_tensors
from regraft.contracts.card import Card
from regraft.contracts.family import Family, sized
from regraft.errors import WeightsMissing
from regraft.identity import digest_file
from regraft.values import Event
from regraft.workbench._device import choose_device, num_threads
from regraft.workbench._speed import Speed, Timing, measured

if TYPE_CHECKING:
    from regraft.backbones.costs import LayerCosts, NetworkCosts, PartCosts
    from regraft.nn.stated import StatedCost


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """A row of the paper's own table, beside what was counted."""

    stated: "StatedCost"
    """What the paper says, and what the filter counts in the same row say."""
    parameters: int
    """Numbers that the network described holds there: weights, biases, batch norm's scales and shifts."""
    multiply_adds: int
    """Multiply-adds of the network described."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What a publisher states of weights of the family."""

    spec: str
    """The weights, as `--backbone` takes them."""
    same: bool
    """Whether they are of the very variant that is described."""
    top1_percent: float
    """Accuracy on ImageNet-1k's validation part, one central crop, in percent."""
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
    paper: tuple[PaperRow, ...]
    """The paper's own table, where it has one for this architecture and input size."""
    accuracies: tuple[Accuracy, ...]
    """What is stated of published weights for the architecture; of the family's default, of others too."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON, with the sums."""
        costs = self.costs
        said = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("costs", "paper")}
        return {
            **said,
            "accuracies": [asdict(one) for one in self.accuracies],
            "parameters": costs.parameters,
            "multiply_adds": costs.multiply_adds,
            "kept_bytes": costs.kept_bytes,
            "running_bytes": costs.running_bytes,
            "stages": [asdict(part) for part in costs.stages],
            "head": asdict(costs.head) if costs.head else None,
            "side_heads": [asdict(part) for part in costs.side_heads],
            "layers": [asdict(layer) for layer in costs.layers],
            "paper": [
                {
                    **asdict(row.stated),
                    "agrees": row.stated.agrees,
                    "parameters_here": row.parameters,
                    "multiply_adds_here": row.multiply_adds,
                }
                for row in self.paper
            ],
        }


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
    return _described(spec, *_found(spec, input_px))


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


def _found(spec: str, input_px: int | None) -> tuple[Family, Card]:
    """Family and card for that input size, where files at hand know more of them than the name says."""
    family, card = _of_files(spec, *named_card(spec))
    return family, sized(family, card, input_px)


def _of_files(spec: str, family: Family, card: Card) -> tuple[Family, Card]:
    parsed = parse(spec)
    if parsed.weights == "bundle":
        head = read_tensors(bundle_folder(Path(parsed.path).expanduser()) / TENSORS, beginning="head/weight")
        return family, replace(card, num_source_classes=len(next(iter(head.values()))))
    if parsed.weights == "file":
        path = Path(parsed.path).expanduser()
        if not path.is_file():
            raise WeightsMissing(f"{path} is not there; a file of weights is expected.", fix="check the path.")
        if not parsed.variant and family.narrowed is None and len(family.variants) > 1:
            from regraft.backbones._convert import variant_of

            form = family.formats.get(path.suffix)
            return family, family.card(form.variant if form else variant_of(path, digest_file(path), family))
    return family, card


def _paper(family: Family, card: Card, costs: "NetworkCosts") -> Iterator[PaperRow]:
    for stated in family.stated(card) if family.stated else ():
        parts: list[LayerCosts] | list[PartCosts]
        if stated.convolutions is not None:
            parts = _of_convolutions(costs, stated.stage, *stated.convolutions)
        else:
            parts = [part for part in costs.parts if part.name == (stated.stage or "head")]
        yield PaperRow(
            stated=stated,
            parameters=sum(part.parameters for part in parts),
            multiply_adds=sum(part.multiply_adds for part in parts),
        )


def _of_convolutions(costs: "NetworkCosts", stage: str, first: int, end: int) -> "list[LayerCosts]":
    """Some convolutions of a stage, each with the layers up to the next."""
    found, number = [], -1
    for layer in costs.layers:
        if layer.stage == stage:
            number += layer.kind == "Conv2d"
            if first <= number < end:
                found.append(layer)
    return found


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
        for at, one in enumerate(self.described):
            said = one.to_json()
            sums = ("spec", "name", "input_px", "parameters", "multiply_adds", "kept_bytes", "running_bytes")
            speed = self.speeds[at].to_json(self.speeds[0]) if self.speeds else None
            rows.append({name: said[name] for name in (*sums, "accuracies")} | {"speed": speed})
        return {"networks": rows, "timing": asdict(self.timing) if self.timing else None}


def side_by_side(
    specs: Sequence[str], *, input_px: int | None = None, timing: Timing | None = None
) -> Generator[Event, None, None]:
    """Describe several networks and, with `timing`, measure them; yields progress and last a `SideBySide`.

    Raises:
        RegraftError: as `describe`, for any of them.
    """
    networks = [_found(spec, input_px) for spec in specs]
    described = tuple(_described(spec, *network) for spec, network in zip(specs, networks, strict=True))
    speeds = () if timing is None else (yield from measured(networks, timing))
    yield SideBySide(described=described, speeds=speeds, timing=timing)


def timing_of(*, batch: int, rounds: int, threads: int, device: str) -> Timing:
    """How to measure, with the machine's own answers for `threads` 0 and device `auto`.

    Raises:
        BadRequest: the device does not work here, or a number is out of range.
    """
    return Timing(batch=batch, rounds=rounds, threads=num_threads(threads), device=choose_device(device))
