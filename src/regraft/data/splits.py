"""Which examples train, which validate, which test: the user's own division kept, or one that leaks nothing.

Shapes: n examples, k of them in a part.

A group is what the user calls one, joined with clusters of equal and nearly equal pictures; no division of ours parts
a group. In a division of the user's, equal pixels or a group on two sides stop the run unless leaks are allowed; near
copies are told. The test labels choose nothing, so where only train and val are given, val is the test part and
validation is carved from train. The thresholds (500 examples for a test part, 10 for validation) are our choice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from regraft.contracts.modality import Modality
from regraft.data._leaks import conflicting_labels, crossing, report
from regraft.data.copies import clusters, union
from regraft.data.dataset import SPLITS, Dataset
from regraft.data.scan import Scanned
from regraft.errors import BadData, LeakedSplit
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.values import Notice
from regraft.words import counted, named

LEAST_FOR_TEST = 500
"""With fewer usable examples and no test part given, none is drawn: cross-validation is the main figure."""
LEAST_VALIDATION = 10
"""A validation part smaller than this is not drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Positions among the data set's examples; no position twice, damaged files nowhere."""

    train: Int[np.ndarray, " t"]
    """What is learned from."""
    val: Int[np.ndarray, " v"]
    """What decides when to stop; may be empty."""
    test: Int[np.ndarray, " s"]
    """What the final figures come from; empty where cross-validation is the main figure."""
    groups: Int[np.ndarray, " n"]
    """A number for every example of the data set: the user's group joined with near-duplicate clusters."""
    drawn_by_us: bool
    """Whether the test part, or its absence, is our choice and not the user's."""
    notes: tuple[Notice, ...]
    """How the parts came about, and what is odd about them."""

    def describe(self) -> str:
        """One line: `train 340, val 60, test 100 (drawn)`."""
        test = (
            f"test {len(self.test)} ({'drawn' if self.drawn_by_us else 'given'})" if len(self.test) else "no test part"
        )
        return f"train {len(self.train)}, val {len(self.val)}, {test}"


def draw(
    dataset: Dataset,
    scanned: Scanned,
    *,
    seed: int,
    val_share: float = 0.15,
    test_share: float = 0.2,
    allow_leaks: bool = False,
    strata: Int[np.ndarray, " n"] | None = None,
    together: Int[np.ndarray, " n"] | None = None,
) -> Splits:
    """Divide the usable examples, seeded and stratified; shares are of what is divided.

    `strata` are what every part gets its share of where examples are not of one class each; None: their classes, of
    which training then keeps every one. `together`: examples with equal numbers are in one split (those of an identity
    that is tested without having been trained on).

    Raises:
        LeakedSplit: the user's own parts share pixels, groups or what is `together`, and `allow_leaks` is not set.
        BadData: too few usable classes, or a class whose training examples are all damaged.
    """
    alike = clusters(scanned)
    groups = _joined(_joined(alike, dataset.groups), together)
    usable = np.flatnonzero(scanned.usable)
    if strata is None:
        _refuse_lost(dataset, usable, dataset.classes, "the data")
    elif len(usable) < 2:
        raise BadData(f"{counted(len(usable), 'file')} can be used; at least two are needed.", fix="mend the files.")
    notes = [*conflicting_labels(dataset, scanned), *_copies(scanned.modality, alike, usable)]
    none = np.zeros(0, dtype=np.int64)
    given = {name: usable[[dataset.examples[at].split == name for at in usable.tolist()]] for name in dataset.splits}
    if len(given) > 1 and "train" in given:
        drawn_by_us = False
        notes += _check_given(dataset, scanned, alike, together, allow_leaks)
        train, val, test = (given.get(name, none) for name in SPLITS)
        if strata is None:
            _refuse_lost(dataset, train, {dataset.examples[at].label for at in usable.tolist()}, "train")
        elif len(train) < 2:
            raise BadData(f"{counted(len(train), 'file')} of train can be used.", fix="mend them, or add examples.")
        if "test" not in given:
            val, test = none, val
            notes.append("The val part is the test part; validation is carved from train.")
        if len(test) == 0:
            raise BadData("All files of the test part are damaged.", fix="mend them, or give the data without splits.")
    else:
        drawn_by_us = True
        train, test, more = _test_part(dataset, usable, groups, test_share, derive_seed(seed, "parts", "test"), strata)
        val, notes = none, notes + more
    if len(val) == 0:
        train, val, more = _validation(dataset, train, groups, val_share, derive_seed(seed, "parts", "val"), strata)
        notes += more
    if not allow_leaks:
        _assert_disjoint(scanned, groups, train, val, test, check_groups=drawn_by_us)
    return Splits(
        train=train,
        val=val,
        test=test,
        groups=groups,
        drawn_by_us=drawn_by_us,
        notes=tuple(Notice(text=text, topic="split") for text in notes),
    )


def whole(
    dataset: Dataset,
    scanned: Scanned,
    *,
    seed: int,
    val_share: float,
    strata: Int[np.ndarray, " n"] | None = None,
    together: Int[np.ndarray, " n"] | None = None,
) -> Splits:
    """Everything trains but a validation part: for whoever divides the data himself, and so has kept a test part back.

    `strata` and `together` as for `draw`.

    Raises:
        BadData: a class whose examples are all damaged.
    """
    groups = _joined(_joined(clusters(scanned), dataset.groups), together)
    usable = np.flatnonzero(scanned.usable)
    if strata is None:
        _refuse_lost(dataset, usable, dataset.classes, "the data")
    train, val, notes = _validation(dataset, usable, groups, val_share, derive_seed(seed, "parts", "val"), strata)
    none = np.zeros(0, dtype=np.int64)
    told = tuple(Notice(text=text, topic="split") for text in notes)
    return Splits(train=train, val=val, test=none, groups=groups, drawn_by_us=True, notes=told)


def _joined(alike: Int[np.ndarray, " n"], given: Int[np.ndarray, " n"] | None) -> Int[np.ndarray, " n"]:
    """Groups that contain whole clusters and whole groups of the user's."""
    if given is None:
        return alike
    _, first, code = np.unique(given, return_index=True, return_inverse=True)
    here = np.arange(len(alike))
    return union(len(alike), np.concatenate([np.stack([alike, here], 1), np.stack([first[code], here], 1)]))


def _check_given(
    dataset: Dataset,
    scanned: Scanned,
    alike: Int[np.ndarray, " n"],
    together: Int[np.ndarray, " n"] | None,
    allow_leaks: bool,
) -> list[str]:
    """Refuse a user's division that leaks, or say so."""
    decoded = np.unique(scanned.decoded, return_inverse=True)[1]
    same = crossing(dataset, scanned, decoded)
    leaks = report(dataset, same, f"are the same {scanned.modality.one}")
    if dataset.groups is not None:
        leaks += report(dataset, crossing(dataset, scanned, dataset.groups), "are of one group")
    if together is not None:
        leaks += report(dataset, crossing(dataset, scanned, together), "belong together")
    if leaks and not allow_leaks:
        raise LeakedSplit(
            "The parts overlap: " + "; ".join(leaks) + ".",
            fix="take the examples out of one of the parts, or allow leaks (--allow-leaks): the report will say so.",
        )
    notes = [f"Leaks between the parts were allowed, so the figures flatter: {leak}." for leak in leaks]
    known = {pair for left, right in same for pair in ((left, right), (right, left))}
    near = [pair for pair in crossing(dataset, scanned, alike) if pair not in known]
    return notes + [f"Near copies across the parts: {text}." for text in report(dataset, near, "are nearly the same")]


def _test_part(
    dataset: Dataset,
    usable: Int[np.ndarray, " u"],
    groups: Int[np.ndarray, " n"],
    share: float,
    seed: int,
    strata: Int[np.ndarray, " n"] | None,
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " t"], list[str]]:
    """Train and test from examples that come undivided."""
    if len(usable) < LEAST_FOR_TEST:
        text = (
            f"{counted(len(usable), 'example')} without a test part, under {LEAST_FOR_TEST}: none is drawn, and "
            "cross-validation is the main figure."
        )
        return usable, np.zeros(0, dtype=np.int64), [text]
    held, lost = _held_out(dataset, usable, groups[usable], share, seed, strata)
    if not held.any() or held.all():
        text = "No test part could be drawn: there are too few groups. Cross-validation is the main figure."
        held = np.zeros_like(held)
        return usable, usable[held], [text]
    text = f"A test part of {held.sum():,} of {len(usable):,} examples was drawn (seeded, stratified, by group)."
    return usable[~held], usable[held], [text, *_lacking(dataset, lost, "test")]


def _validation(
    dataset: Dataset,
    train: Int[np.ndarray, " m"],
    groups: Int[np.ndarray, " n"],
    share: float,
    seed: int,
    strata: Int[np.ndarray, " n"] | None,
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " v"], list[str]]:
    """Train without validation, and validation; all of train and nothing where there is too little."""
    none = np.zeros(0, dtype=np.int64)
    if share * len(train) < LEAST_VALIDATION or len(np.unique(groups[train])) < 2:
        text = f"No validation part: {share:.0%} of {counted(len(train), 'training example')} would be too few."
        return train, none, [text]
    held, lost = _held_out(dataset, train, groups[train], share, seed, strata)
    if held.sum() < LEAST_VALIDATION or held.all():
        return train, none, ["No validation part: too few examples could be taken without losing a class from train."]
    return train[~held], train[held], _lacking(dataset, lost, "validation")


def _held_out(
    dataset: Dataset,
    some: Int[np.ndarray, " m"],
    groups: Int[np.ndarray, " m"],
    share: float,
    seed: int,
    strata: Int[np.ndarray, " n"] | None,
) -> tuple[Bool[np.ndarray, " m"], Int[np.ndarray, " c"]]:
    """Which of these examples are held out, and the classes that are not among them."""
    if strata is not None:
        return split(strata[some], groups, share, seed), np.zeros(0, dtype=np.int64)
    targets = dataset.targets[some]
    return _keep_classes(targets, groups, split(targets, groups, share, seed))


def _keep_classes(
    targets: Int[np.ndarray, " m"], groups: Int[np.ndarray, " m"], held: Bool[np.ndarray, " m"]
) -> tuple[Bool[np.ndarray, " m"], Int[np.ndarray, " c"]]:
    """Give back to training the groups of classes that it would lack; and the classes that are not held out now."""
    for target in np.setdiff1d(targets, targets[~held]):
        held = held & ~np.isin(groups, groups[targets == target])
    return held, np.setdiff1d(targets, targets[held])


def _lacking(dataset: Dataset, lost: Int[np.ndarray, " c"], part: str) -> list[str]:
    if not len(lost):
        return []
    labels = named(dataset.classes[target] for target in lost.tolist())
    return [f"The {part} part lacks {labels}: all examples are needed for training, or are of one group."]


def _copies(modality: Modality, alike: Int[np.ndarray, " n"], usable: Int[np.ndarray, " u"]) -> list[str]:
    num = len(usable) - len(np.unique(alike[usable]))
    if not num:
        return []
    what = counted(num, f"{modality.one} is a copy or near copy", f"{modality.many} are copies or near copies")
    return [f"{what} of another one; they stay together in every division we draw."]


def _refuse_lost(dataset: Dataset, there: Int[np.ndarray, " k"], labels: Iterable[str], where: str) -> None:
    present = {dataset.examples[at].label for at in there.tolist()}
    if lost := sorted(set(labels) - present):
        raise BadData(
            f"No usable example of {named(lost)} is left in {where}: the files are damaged.",
            fix="mend these files, or take the class out of the data.",
        )


def _assert_disjoint(
    scanned: Scanned, groups: Int[np.ndarray, " n"], *parts: Int[np.ndarray, " _"], check_groups: bool
) -> None:
    """No pixels, and where we drew them all no group, in two parts; a fault here would be ours."""
    sides: Sequence[set[str]] = [{scanned.decoded[at] for at in part.tolist()} for part in parts]
    if sum(map(len, sides)) != len(set().union(*sides)):
        raise LeakedSplit("The drawn splits share examples.", fix="report this: it is a fault of Regraft.")
    kept = [set(groups[part].tolist()) for part in parts]
    if check_groups and sum(map(len, kept)) != len(set().union(*kept)):
        raise LeakedSplit("The drawn parts share a group.", fix="report this: it is a fault of Regraft.")
