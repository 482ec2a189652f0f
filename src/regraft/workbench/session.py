"""A session: the data of a run, opened, fingerprinted and split once, with the task defined by their labels.

Every command that uses data starts with a session. It refers to examples by position; what they are is up to the
modality.

Letters: n examples.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from regraft.activations.fill import Inputs
from regraft.activations.slots import Slot
from regraft.backbones.backbone import Backbone
from regraft.contracts.example import Contents
from regraft.contracts.family import Card
from regraft.contracts.metric import main_metric
from regraft.contracts.modality import Modality, Placement, Record, View
from regraft.contracts.strategy import Finished
from regraft.contracts.task import TASKS, Task
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset, unpack
from regraft.data.scan import Scanned, scan
from regraft.data.splits import Splits, draw, fewer, whole
from regraft.errors import BadData, BadRecipe, UnknownName, nearest
from regraft.evaluation.thresholds import AtSpecificity, ByCost, Rule
from regraft.folds import split
from regraft.identity import derive_seed, digest_json
from regraft.recipe import Decision, Recipe, Source, Target
from regraft.values import Event, Notice
from regraft.words import parted

MIN_VALIDATION = 50
"""Below this number of validation examples there is no early stopping, and they are used for training."""
MAX_BESIDE = 10_000
"""Maximum number of training examples of the comparison probe: with many classes and examples, solving it would
otherwise take longer than the training it is compared with. Our choice."""

NOT_POOLED = "Other metrics, and the difference from the probe, would compare outputs of models from different folds."
"""Message if only the mean over folds is reported."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """Data with splits and a task."""

    recipe: Recipe
    """The recipe."""
    dataset: Dataset
    """The examples."""
    scanned: Scanned
    """Their fingerprints."""
    splits: Splits
    """Training, validation and test split."""
    task: Task
    """The task, fitted to the training targets."""
    targets: np.ndarray
    """Encoded target of every example."""
    holds_out: bool = True
    """Whether a test split, or cross-validation, evaluates the model here; otherwise the caller does."""
    old: Finished | None = None
    """The finished model to which classes are added; the examples then have its classes and new ones."""

    @property
    def modality(self) -> Modality:
        """Modality of the examples."""
        return self.dataset.reads

    @cached_property
    def augmentation(self) -> Any:
        """The augmentation."""
        return self.modality.augmentation(self.recipe.augmentation, self.recipe.augment)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Rules for choosing decision thresholds."""
        decision = self.recipe.decision
        at = AtSpecificity(specificity=decision.specificity)
        wrong, missed = decision.cost_false_positive, decision.cost_false_negative
        return (at, ByCost(false_positive=wrong, false_negative=missed)) if wrong or missed else (at,)

    @property
    def tests(self) -> bool:
        """Whether there is a test split; otherwise results come from cross-validation."""
        return bool(len(self.splits.test))

    @property
    def pools(self) -> bool:
        """Whether outputs of different folds may be pooled for metrics: not if a metric compares examples with one
        another, which different models have embedded."""
        return main_metric(self.task.kind).identities is None

    @cached_property
    def usable(self) -> Int[np.ndarray, "n"]:
        """Positions of all examples in any split."""
        return np.sort(np.concatenate([self.splits.train, self.splits.val, self.splits.test]))

    @cached_property
    def learnable(self) -> Int[np.ndarray, "n"]:
        """Positions of training and validation examples together."""
        return np.sort(np.concatenate([self.splits.train, self.splits.val]))

    @cached_property
    def validated(self) -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "v"]]:
        """Positions to train on and to validate on, for strategies with early stopping.

        A validation split of fewer than fifty examples is used for training instead. With cross-validation nothing is
        held out, as in its folds, so that their results apply to this model.
        """
        if (self.holds_out and not self.tests) or len(self.splits.val) < MIN_VALIDATION:
            return self.learnable, np.zeros(0, dtype=np.int64)
        return self.splits.train, self.splits.val

    @cached_property
    def beside(self) -> Int[np.ndarray, "n"]:
        """Positions to solve the comparison probe on: all training and validation examples, or a sample."""
        every = self.learnable
        if len(every) <= MAX_BESIDE:
            return every
        drawn, strata = derive_seed(self.recipe.seed, "probe", "beside"), self.task.strata(self.targets[every])
        return every[split(strata, self.splits.groups[every], MAX_BESIDE / len(every), drawn)]

    def user_groups(self, positions: Int[np.ndarray, "n"]) -> np.ndarray | None:
        """Return the groups given by the user, for intervals; None if there are none."""
        groups = self.dataset.groups
        return None if groups is None else groups[positions]

    def num_groups(self, positions: Int[np.ndarray, "n"]) -> int | None:
        """Return the number of the user's groups among these examples; None if there are none."""
        groups = self.user_groups(positions)
        return None if groups is None else len(np.unique(groups))

    def check(self, card: Card) -> Sequence[Notice]:
        """Check that a network with this card accepts the examples; return notices about unusual ones.

        Raises:
            BadData: the network cannot take one of the examples.
        """
        some = self.usable
        return self.modality.check([self.dataset.examples[at] for at in some.tolist()], self.scanned.rows[some], card)

    def inputs(self, card: Card, workers: int) -> Inputs:
        """Return how examples are prepared for this network, and how views are named."""
        return inputs_of(
            self.modality,
            [example.contents for example in self.dataset.examples],
            self.scanned.content,
            card.preparation,
            reader=self.scanned.reader,
            augmentation=self.augmentation,
            seed=self.recipe.seed_of_data,
            placed=self.task.moves,
            workers=workers,
        )


def inputs_of(
    modality: Modality,
    contents: Sequence[Contents],
    digests: Sequence[str],
    preparation: Any,
    *,
    reader: str,
    augmentation: Any = None,
    seed: int = 0,
    placed: bool = False,
    workers: int = 2,
) -> Inputs:
    """Return how these contents are prepared for a network; without an augmentation, plain views only.

    `digests` are those of the contents, `reader` identifies the decoder: both are part of the store's key. `placed`:
    whether to store placements with the rows, for tasks whose targets move.

    Raises:
        BadRecipe: placements are needed, but the augmentation does not support them.
    """
    rule = digest_json({"seed": seed, **augmentation.digest_fields()})[:16] if augmentation is not None else ""

    def load(example: int, number: int, piece: int) -> tuple[Record, Placement]:
        wanted = View(number=number, seed=seed, content=digests[example], augmentation=augmentation)
        record, placement = modality.load(contents[example], preparation, wanted if number else None, piece)
        return record, placement if placed else {}

    return Inputs(
        contents=digests,
        load=load,
        view_name=lambda number: "plain" if number == 0 else f"{number}:{rule}",
        fields={"modality": modality.name, "preparation": preparation.digest_fields(), "reader": reader},
        pieces_of=lambda example: modality.pieces(contents[example], preparation),
        placement=[
            Slot(name=name, shape=shape, dtype=dtype)
            for name, (shape, dtype) in modality.placements(preparation, augmentation).items()
        ]
        if placed
        else (),
        workers=workers,
    )


def open_session(
    recipe: Recipe, dataset: Dataset | None = None, *, holds_out: bool = True, workers: int
) -> Generator[Event, None, Session]:
    """Open, fingerprint and split the recipe's data, or `dataset` if already opened.

    With `holds_out=False` the caller holds back a test split: all examples are for training or validation, and damaged
    ones are not left out.

    Raises:
        BadRecipe: the positive class is not one of exactly two; or a target setting does not apply to this task.
        RegraftError: the data are not usable.
    """
    source = recipe.source
    if dataset is None:
        dataset = yield from opening(
            Path(recipe.data), source, modality=recipe.modality, task=recipe.task, target=recipe.target
        )
    task = task_of(dataset, recipe)
    dataset = replace(dataset, classes=task.classes)
    yield from dataset.notes
    _refuse_transform(dataset, task, recipe.target)
    targets = task.targets(dataset.examples)
    allowed = source if holds_out else replace(source, max_damaged_share=0.0)
    scanned = yield from scanning(dataset, allowed, workers=workers)
    strata = None if task.exclusive else task.strata(targets)
    together = task.identities(targets) if task.split_rule == "disjoint classes" else None
    rules: dict[str, Any] = {
        "seed": recipe.seed_of_data, "val_share": source.val_share, "strata": strata, "together": together,
        "untaught": lambda outside, inside: task.untaught(targets[outside], targets[inside]),
    }  # fmt: skip
    if holds_out:
        splits = draw(scanned.dataset, scanned, test_share=source.test_share, allow_leaks=source.allow_leaks, **rules)
    else:
        splits = whole(scanned.dataset, scanned, **rules)
    yield from splits.notes
    if source.train_share < 1:
        splits = fewer(splits, task.strata(targets), source.train_share, recipe.seed)
        yield Notice(
            text=f"Only {source.train_share:.0%} of the training examples are used: {splits.describe()}.", topic="split"
        )
    return Session(
        recipe=recipe,
        dataset=scanned.dataset,
        scanned=scanned,
        splits=splits,
        task=task.prepared(targets[splits.train]),
        targets=targets,
        holds_out=holds_out,
    )


def fitted_to(
    session: Session, backbone: Backbone, train: Int[np.ndarray, "t"] | None = None
) -> tuple[Session, Backbone]:
    """Fit the preparation (vocabulary, means) to the training examples at the positions `train` (None: those that
    strategies train on); return both arguments updated."""
    chosen = session.validated[0] if train is None else train
    before, contents = backbone.card.preparation, [session.dataset.examples[at].contents for at in chosen.tolist()]
    preparation = session.modality.fitted(before, contents)
    if preparation != before:
        backbone = replace(backbone, card=replace(backbone.card, preparation=preparation))
    return replace(session, task=session.task.for_preparation(preparation)), backbone


def opening(
    path: Any,
    source: Source,
    *,
    task: str,
    target: Target,
    modality: str = "",
    learnable: bool = True,
    known: tuple[str, ...] = (),
) -> Generator[Event, None, Dataset]:
    """Open the labelled examples at `path` according to a recipe; yields progress of unpacking archives.

    `path` may be a data frame; `known` are the classes of a finished model.

    Raises:
        UnknownName: there is no such task.
        RegraftError: the data are not usable.
    """
    if task != "auto" and task not in TASKS.names():
        raise UnknownName("task", task, ["auto", *TASKS.names()])
    if isinstance(path, Path):
        yield from unpack(path)
    return open_dataset(
        path, modality=modality, task=task, order=target.order, known=known, learnable=learnable, **vars(source)
    )


def opening_for(task: Task, path: Path, source: Source) -> Generator[Event, None, Dataset]:
    """Open the labelled examples at `path` to evaluate a model of `task` on; yields events.

    Unless `source` says otherwise, labels have the same delimiter as in training, and label columns the same names.

    Raises:
        RegraftError: the data are not usable.
    """
    delimiter = task.facts.get("delimiter")
    if delimiter and not source.label_delimiter and not source.label_columns:
        source = replace(source, label_delimiter=delimiter)
    elif task.columns and not source.label_columns and source.label_column == Source().label_column:
        source = replace(source, label_columns=task.columns)
    order = task.classes if task.ranked else ()
    ranked, known = Target(order=order), task.classes
    return (yield from opening(path, source, task=task.kind, target=ranked, learnable=False, known=known))


def scanning(dataset: Dataset, source: Source, *, workers: int) -> Generator[Event, None, Scanned]:
    """Fingerprint the examples, passing events on.

    Raises:
        DamagedData: too many examples cannot be read.
    """
    found = None
    for event in scan(dataset, max_damaged_share=source.max_damaged_share, rehash=source.rehash, workers=workers):
        if isinstance(event, Scanned):
            found = event
        else:
            yield event
    assert found is not None, "a scan ends with what it found"
    return found


def task_of(dataset: Dataset, recipe: Recipe) -> Task:
    """Return the task defined by the labels.

    Raises:
        BadRecipe: the recipe asks for a transform or ranking that the labels do not allow.
    """
    for name, kind, given in (
        ("transform", "regression", recipe.target.transform != "none"),
        ("order", "ordinal", recipe.target.order),
        ("beams", "sequence", recipe.target.beams > 1),
        ("detector", "detection", recipe.target.detector != "single_stage"),
    ):
        if given and dataset.kind != kind:
            raise BadRecipe(
                f"target.{name} is set, but this is a {dataset.kind} task; it applies to {kind} tasks only.",
                fix=f"leave out target.{name}, or use --task {kind}.",
            )
    facts = {**vars(recipe.target), "delimiter": recipe.source.label_delimiter}
    classes = ordered(dataset.classes, recipe.decision, dataset.kind)
    return TASKS.get(dataset.kind)(classes, facts)


def _refuse_transform(dataset: Dataset, task: Task, target: Target) -> None:
    """Raise `BadData` if a log transform is requested for a number that has no logarithm."""
    if target.transform != "log":
        return
    for example in dataset.examples:
        for name, text in zip(task.classes, parted(example.label), strict=True):
            if not float(text) > 0:
                where = example.id if example.row is None else f"{dataset.root.name} row {example.row}"
                raise BadData(
                    f"{where}: {name} is {text}; target.transform is log, which requires positive numbers.",
                    fix="correct the number, or leave out target.transform.",
                )


def ordered(classes: tuple[str, ...], decision: Decision, kind: str) -> tuple[str, ...]:
    """Return the classes with the positive one last, if the recipe names it.

    Raises:
        BadRecipe: it is not one of exactly two classes, or the task has no classes.
    """
    positive = decision.positive
    if not positive:
        return classes
    weighable = TASKS.get(kind)(classes).weighable
    if not weighable or len(classes) > 2:
        why = f"there are {len(classes)} classes" if weighable else f"this is a {kind} task"
        raise BadRecipe(
            f"decision.positive is {positive!r}, but {why}; a decision threshold requires exactly two classes.",
            fix="leave out decision.positive.",
        )
    if positive not in classes:
        raise BadRecipe(
            f"decision.positive is {positive!r}; the classes are {', '.join(classes)}.",
            fix=nearest(positive, list(classes)),
        )
    return (*(name for name in classes if name != positive), positive)
