"""Small problems for strategies: painted inputs, a backbone, and states held in memory."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from kinds import LABELS, posed
from regraft.activations.states import States
from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_backbone
from regraft.contracts.strategy import STRATEGIES, Fitted, Other, Preset, Problem, Strategy
from regraft.strategies.probe import start_of
from regraft.strategies.regularisers.regulariser import REGULARISERS
from regraft.strategies.tail import Batch, Tail
from regraft.values import Event

CLASSES = LABELS["classification"][0]
MIXED = {
    "mixup": Preset(title="states mixed in pairs", cut=None, options={"mixup": 0.2}, views=2),
    "cutmix": Preset(
        title="inputs and areas of them mixed", cut="input", options={"cutmix": 1.0, "mixup": 0.2}, views=2
    ),
    "ema": Preset(title="an average of the weights", cut=None, options={"ema": 0.9}, views=2),
}
"""Ways of their own for every strategy that has these options."""


def opened(spec: str, input_px: int | None = None, seed: int = 0) -> Backbone:
    """The backbone that `spec` names."""
    opening: Generator[Event, None, Backbone] = open_backbone(spec, input_px=input_px, seed=seed)
    while True:
        try:
            next(opening)
        except StopIteration as stop:
            return stop.value


def painted(targets: np.ndarray, px: int, seed: int = 0) -> np.ndarray:
    """Noise on grey, stripes or a warm tint (n px px 3), by class: what any convolution tells apart."""
    random = np.random.default_rng(seed)
    pixels = random.integers(60, 160, (len(targets), px, px, 3))
    pixels[targets == 1, ::4] += 90
    pixels[targets == 2, :, :, 0] += 90
    return np.clip(pixels, 0, 255).astype(np.uint8)


class MemoryStates(States):
    """States at `cut` of painted inputs; `views` 0 computes a new one at every call. Remembers what it was asked."""

    def __init__(self, backbone: Backbone, pixels: np.ndarray, cut: str, views: int, view: str = "pooled") -> None:
        self._backbone, self._pixels, self._cut, self._view, self._views = backbone, pixels, cut, view, views
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []
        examples = np.repeat(np.arange(len(pixels)), views)
        self._kept = self._run(examples, np.tile(np.arange(views), len(pixels))) if views else {}

    @property
    def num_views(self) -> int | None:
        return self._views or None

    def batch(self, examples: np.ndarray, views: np.ndarray, pieces: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self.asked.append((examples.copy(), views.copy()))
        if self._views:
            return {name: array[examples * self._views + views] for name, array in self._kept.items()}
        return self._run(examples, views)

    def _run(self, examples: np.ndarray, views: np.ndarray) -> dict[str, np.ndarray]:
        """View 0 is the input as it is, view v the same shifted by 5 v places along both axes."""
        shifted = [np.roll(self._pixels[e], (5 * v, 5 * v), axis=(0, 1)) for e, v in zip(examples, views, strict=True)]
        network = self._backbone.network
        with torch.no_grad():
            state = network.run({"pixels": torch.from_numpy(np.stack(shifted))}, upto=self._cut)
            if self._cut == "output":
                state = {self._view: network.readouts(state)[self._view]}
        return {name: tensor.numpy() for name, tensor in state.items()}


@dataclass(frozen=True)
class Changed(States):
    """Other states with some rows of one array overwritten."""

    inner: States
    examples: tuple[int, ...]
    value: float

    @property
    def num_views(self) -> int | None:
        return self.inner.num_views

    def batch(self, examples: np.ndarray, views: np.ndarray, pieces: np.ndarray | None = None) -> dict[str, np.ndarray]:
        arrays = {name: array.copy() for name, array in self.inner.batch(examples, views).items()}
        for array in arrays.values():
            array[np.isin(examples, self.examples)] = self.value
        return arrays


def problem(
    backbone: Backbone,
    cut: str,
    *,
    views: int = 1,
    examples: int = 30,
    val: int = 0,
    seed: int = 0,
    kind: str = "classification",
) -> Problem:
    """The painted classes in turn, asked about as a task of this kind; the last `val` examples are for validation.
    `views` 0: a new view each time."""
    numbers = np.arange(examples) % len(CLASSES)
    pixels = painted(numbers, backbone.card.preparation.input_px[0])
    task, targets = posed(kind, numbers)
    positions = np.arange(examples)
    return Problem(
        backbone=backbone,
        cut=cut,
        task=task,
        states=MemoryStates(backbone, pixels, cut, views),
        top=MemoryStates(backbone, pixels, "output", 1),
        targets=targets,
        groups=positions,
        train=positions[: examples - val],
        val=positions[examples - val :],
        seed=seed,
        solve_start=start_of,
    )


class TeacherStates(States):
    """A teacher's pooled readout, standardised over the examples' plain views."""

    def __init__(self, pooled: MemoryStates, examples: int) -> None:
        self.pooled = pooled
        plain = self.batch(np.arange(examples), np.zeros(examples, dtype=np.int64))["features"]
        self.mean, self.std = plain.mean(axis=0), np.maximum(plain.std(axis=0), 0.1 * plain.std())

    mean: Any = 0.0
    std: Any = 1.0

    @property
    def num_views(self) -> int | None:
        return self.pooled.num_views

    def batch(self, examples: np.ndarray, views: np.ndarray, pieces: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return {"features": (self.pooled.batch(examples, views)["pooled"] - self.mean) / self.std}


def with_teacher(asked: Problem, teacher: Backbone) -> Problem:
    """The problem, and what the teacher sees of the same painted inputs."""
    assert isinstance(asked.top, MemoryStates)
    views = asked.states.num_views or 1
    pooled = MemoryStates(teacher, asked.top._pixels, "output", views)
    return replace(asked, others=(Other(backbone=teacher, states=TeacherStates(pooled, len(asked.targets))),))


@dataclass(frozen=True, eq=False)
class Way:
    """A strategy, in one of its presets or with its defaults."""

    strategy: str
    preset: Preset | None
    name: str
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> Strategy:
        return STRATEGIES.get(self.strategy)

    @property
    def taught(self) -> bool:
        """Whether it learns from another network."""
        return "teacher" in {field.name for field in fields(self.module.Options)}

    def options(self, **changes: Any) -> Any:
        """The preset's options, with those of `changes` that this strategy has."""
        known = {field.name for field in fields(self.module.Options)}
        given = {**(self.preset.options if self.preset else {}), **self.changed}
        if self.taught:
            given = {"teacher": "googlenet", **given}
        return self.module.Options(**given | {name: value for name, value in changes.items() if name in known})

    def problem(self, backbone: Backbone, **size: Any) -> Problem:
        """A problem at the preset's cut and number of views, at an inner cut where it names none; with a teacher, which
        is the backbone as it was, where one is asked for."""
        cut = (self.preset.cut if self.preset else None) or backbone.card.partial_cut
        asked = problem(backbone, cut, views=self.preset.views if self.preset else 2, **size)
        return with_teacher(asked, backbone) if self.taught else asked


def fresh_strategies() -> list[str]:
    """Those that need no finished model to add to; `extend`, which does, has its promises tested with real runs."""
    return [name for name in STRATEGIES if (entry := STRATEGIES.get(name)).needs(entry.Options()).old_data is None]


def ways() -> list[Way]:
    """Every strategy on the shelf as its name alone means it, every other preset of it, each regulariser it may take,
    and it mixing examples where it can."""
    found = []
    for strategy in fresh_strategies():
        presets = dict(STRATEGIES.get(strategy).presets)
        found.append(Way(strategy, presets.pop(strategy, None), strategy))
        known = {field.name for field in fields(STRATEGIES.get(strategy).Options)}
        mixed = {name: preset for name, preset in MIXED.items() if preset.options.keys() <= known}
        found += [Way(strategy, preset, f"{strategy}-{name}") for name, preset in (presets | mixed).items()]
        if "regulariser" in known:
            found += [Way(strategy, None, f"{strategy}-{name}", {"regulariser": name}) for name in REGULARISERS]
    return found


def batch_of(tail: Tail, state: dict[str, torch.Tensor], asked: Problem) -> Batch:
    """A training step's batch of all examples of the problem, as a term of the loss gets it."""
    loss = asked.task.objective(asked.targets, balanced=False, smoothing=0.0)
    return Batch(state=state, passed=tail.passed(state), targets=torch.from_numpy(asked.targets), loss=loss)


def drained(fitting: Generator[Event, None, Fitted]) -> tuple[list[Event], Fitted]:
    """All events of a fit, and the model that it returns."""
    events = []
    while True:
        try:
            events.append(next(fitting))
        except StopIteration as end:
            return events, end.value


def fitted(way: Way, asked: Problem, options: Any) -> Fitted:
    """What the strategy makes of the problem."""
    return drained(way.module.fit(asked, options))[1]


def log_loss(model: Fitted, asked: Problem, positions: np.ndarray) -> float:
    """Mean negative log probability of the true class, in nats."""
    probabilities = asked.task.outputs(model.logits(asked, positions))
    return float(-np.log(probabilities[np.arange(len(positions)), asked.targets[positions]]).mean())


def losses(model: Fitted) -> list[dict[str, float]]:
    """The curve without its times."""
    return [{name: value for name, value in record.items() if name != "seconds"} for record in model.curve]


def in_folder(asked: Problem, folder: Any) -> Problem:
    """The same problem, keeping checkpoints."""
    return replace(asked, folder=folder)


def same(one: Fitted, other: Fitted) -> bool:
    """Whether two models have bit-identical tensors."""
    return one.tensors.keys() == other.tensors.keys() and all(
        np.array_equal(array, other.tensors[name]) for name, array in one.tensors.items()
    )
