"""What a run is about: the data, their parts, and how an example becomes a prepared input."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from regraft.activations.fill import Inputs
from regraft.activations.states import DeviceStates, States
from regraft.contracts.card import Card
from regraft.contracts.task import TASKS, Task
from regraft.data.dataset import Dataset
from regraft.data.memory import ScanMemory
from regraft.data.scan import Scanned, scan
from regraft.data.splits import Parts, draw
from regraft.errors import BadData, BadRecipe, nearest
from regraft.evaluation.thresholds import AtSpecificity, ByCost, Rule
from regraft.identity import digest_json
from regraft.labels import parted
from regraft.modalities.image.augment import preset, view
from regraft.modalities.image.planes import Planes, fits
from regraft.modalities.image.prepare import Preparation
from regraft.recipe import Decision, Recipe, Source, Target
from regraft.values import Event
from regraft.words import counted
from regraft.workbench._dataset import opening

if TYPE_CHECKING:
    from regraft.modalities.image.types import Picture

MIN_VALIDATION = 50
"""Below this many validation examples, they train along and the number of steps is fixed (DESIGN, promise 7)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """Data, scanned and split, with the task they pose."""

    dataset: Dataset
    """The examples."""
    scanned: Scanned
    """What decoding them showed."""
    parts: Parts
    """Who trains, validates and tests."""
    task: Task
    """The task that the labels pose."""
    targets: np.ndarray
    """Encoded target of every example."""
    rules: tuple[Rule, ...] = ()
    """How thresholds are chosen where there are two classes."""

    @property
    def usable(self) -> Int[np.ndarray, "n"]:
        """Positions of all examples that lie in some part."""
        return np.sort(np.concatenate([self.parts.train, self.parts.val, self.parts.test]))

    def user_groups(self, positions: Int[np.ndarray, "n"]) -> np.ndarray | None:
        """The groups that the user named, for intervals; None where there are none."""
        groups = self.dataset.groups
        return None if groups is None else groups[positions]


def open_subject(recipe: Recipe, *, workers: int) -> Generator[Event, None, Subject]:
    """Open, scan and split the recipe's data; yields events, returns the subject.

    Raises:
        BadRecipe: the positive class is none of the two, or there are more than two; or a setting of the target means
            nothing for this task.
        RegraftError: whatever is wrong with the data.
    """
    source, decision, seed = recipe.source, recipe.decision, recipe.seed
    dataset = yield from opening(Path(recipe.data), source, task=recipe.task, target=recipe.target)
    task = task_of(dataset, recipe)
    dataset = replace(dataset, classes=task.classes)
    yield from dataset.notes
    _refuse_transform(dataset, task, recipe.target)
    targets = task.encode([example.label for example in dataset.examples])
    memory = ScanMemory()
    scanned = yield from scanning(dataset, source, memory, workers=workers)
    dataset = scanned.dataset
    parts = draw(
        dataset,
        scanned,
        seed=seed,
        val_share=source.val_share,
        test_share=source.test_share,
        allow_leaks=source.allow_leaks,
        memory=memory,
        strata=None if task.exclusive else task.strata(targets),
    )
    yield from parts.notes
    return Subject(
        dataset=dataset,
        scanned=scanned,
        parts=parts,
        task=task.prepared(targets[parts.train]),
        targets=targets,
        rules=rules_of(decision),
    )


def task_of(dataset: Dataset, recipe: Recipe) -> Task:
    """The task that the labels pose.

    Raises:
        BadRecipe: the recipe transforms or ranks what cannot be.
    """
    for name, kind, given in (
        ("transform", "regression", recipe.target.transform != "none"),
        ("order", "ordinal", recipe.target.order),
    ):
        if given and dataset.kind != kind:
            raise BadRecipe(
                f"target.{name} is set, but this is a {dataset.kind} task; only a {kind} task has a use for it.",
                fix=f"leave target.{name} out, or say --task {kind}.",
            )
    facts = {"transform": recipe.target.transform, "delimiter": recipe.source.label_delimiter}
    classes = ordered(dataset.classes, recipe.decision, dataset.kind)
    task: Task = TASKS.get(dataset.kind)(classes, facts)
    return task


def _refuse_transform(dataset: Dataset, task: Task, target: Target) -> None:
    """Raises: BadData: a number has no logarithm, and one was asked for."""
    if target.transform != "log":
        return
    for example in dataset.examples:
        for name, text in zip(task.classes, parted(example.label), strict=True):
            if not float(text) > 0:
                where = example.id if example.row is None else f"{dataset.root.name} row {example.row}"
                raise BadData(
                    f"{where}: {name} is {text}; target.transform is log, which needs numbers above zero.",
                    fix="correct the number, or leave target.transform out.",
                )


def ordered(classes: tuple[str, ...], decision: Decision, kind: str) -> tuple[str, ...]:
    """The classes with the positive one last, where the recipe names it.

    Raises:
        BadRecipe: it is none of the classes, or these are more than two, or no classes to choose from.
    """
    positive = decision.positive
    if not positive:
        return classes
    if kind != "classification":
        raise BadRecipe(
            f"decision.positive is {positive!r}, but this is a {kind} task; a line is drawn between two classes.",
            fix="leave decision.positive out.",
        )
    if positive not in classes:
        raise BadRecipe(
            f"decision.positive is {positive!r}; the classes are {', '.join(classes)}.",
            fix=nearest(positive, list(classes)),
        )
    if len(classes) > 2:
        raise BadRecipe(
            f"decision.positive is {positive!r}, but there are {len(classes)} classes; a line is drawn between two.",
            fix="leave decision.positive out.",
        )
    return (*(name for name in classes if name != positive), positive)


def rules_of(decision: Decision) -> tuple[Rule, ...]:
    """How thresholds are chosen."""
    at = AtSpecificity(specificity=decision.specificity)
    wrong, missed = decision.cost_false_positive, decision.cost_false_negative
    return (at, ByCost(false_positive=wrong, false_negative=missed)) if wrong or missed else (at,)


def scanning(dataset: Dataset, source: Source, memory: ScanMemory, *, workers: int) -> Generator[Event, None, Scanned]:
    """Scan, passing events on; returns what was found."""
    found = None
    for event in scan(
        dataset, memory, max_damaged_share=source.max_damaged_share, rehash=source.rehash, workers=workers
    ):
        if isinstance(event, Scanned):
            found = event
        else:
            yield event
    assert found is not None
    return found


def check_channels(subject: Subject, card: Card) -> None:
    """Refuse examples that cannot be given to a network of the card's channels.

    Raises:
        BadData: there is one.
    """
    found = subject.scanned.rows["channels"]
    wrong = [at for at in subject.usable.tolist() if not fits(int(found[at]), card.channels)]
    if not wrong:
        return
    counts = set(found[wrong].tolist())
    if card.channels == 3 and len(counts) == 1 and len(wrong) == len(subject.usable):
        fix = f"set channels to {found[wrong[0]]} (--set channels={found[wrong[0]]}): the first layer is adapted."
    else:
        fix = f"give data of {counted(card.channels, 'channel')} alone, or take a backbone for others."
    raise BadData(
        f"{subject.dataset.examples[wrong[0]].id} has {counted(int(found[wrong[0]]), 'channel')}; {card.name} takes "
        f"{card.channels} ({len(wrong):,} of {len(subject.usable):,} examples do not fit).",
        fix=fix,
    )


def inputs_of(
    dataset: Dataset, scanned: Scanned, preparation: Preparation, channels: int, recipe: Recipe, workers: int
) -> Inputs:
    """How examples become prepared inputs, and what names each view."""
    augmentation, decoded = preset(recipe.augmentation, recipe.augment), _decoded(dataset, channels)
    rule = digest_json({"seed": recipe.seed, **augmentation.digest_fields()})[:16]
    contents = scanned.content

    def load(example: int, number: int, piece: int) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
        picture, content = decoded(example), contents[example]
        pixels = view(picture, preparation, augmentation, number=number, seed=recipe.seed, content=content)
        return {"pixels": pixels}, {}

    return Inputs(
        contents=contents,
        load=load,
        view_name=lambda number: "plain" if number == 0 else f"{number}:{rule}",
        fields={"preparation": preparation.digest_fields(), "channels": channels, "decoder": scanned.decoder},
        workers=workers,
    )


def device_states(
    plain: States,
    examples: np.ndarray,
    dataset: Dataset,
    scanned: Scanned,
    preparation: Preparation,
    channels: int,
    recipe: Recipe,
    *,
    workers: int,
    device: str,
) -> Generator[Event, None, DeviceStates]:
    """These examples held on the device, their views made there; `plain` gives the plain ones of all."""
    from regraft.modalities.image.on_device import HeldPictures

    held = HeldPictures(
        _decoded(dataset, channels),
        scanned.content,
        preparation,
        preset(recipe.augmentation, recipe.augment),
        seed=recipe.seed,
        device=device,
        workers=workers,
    )
    yield from held.hold(examples.tolist())
    return DeviceStates(plain, lambda asked, numbers: {"pixels": held.batch(asked, numbers)})


def _decoded(dataset: Dataset, channels: int) -> "Callable[[int], Picture | Planes]":
    """What decodes the example at a position."""
    from regraft.modalities.image.decode import decode

    return lambda example: decode(dataset.examples[example].path, channels=channels)


def small_validation_trains(parts: Parts, *, validates: bool) -> tuple[np.ndarray, np.ndarray]:
    """Train and validation positions: one under fifty is not worth its cost, and trains along."""
    if not validates or len(parts.val) < MIN_VALIDATION:
        return np.sort(np.concatenate([parts.train, parts.val])), np.zeros(0, dtype=np.int64)
    return parts.train, parts.val
