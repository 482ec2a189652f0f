"""Train, validation and test splits: the user's own, or ones drawn without leakage.

Shapes: n examples, k of them in a split, m pairs.

A group is the user's group joined with clusters of duplicates and near-duplicates; splits drawn here never divide a
group. In the user's own splits, duplicates or groups in more than one split raise an error unless leaks are allowed;
near-duplicates are reported. Test labels are never used for a choice, so if only train and val are given, val serves as
the test split and a validation split is drawn from train. The thresholds (500 examples for a test split, 10 for
validation) are our choice.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from regraft.data.dataset import SPLITS, Dataset
from regraft.data.scan import Scanned
from regraft.errors import BadData, BadRequest, LeakedSplit, OutOfSpace
from regraft.folds import split
from regraft.identity import derive_seed, digest_bytes
from regraft.values import Notice, notices
from regraft.words import counted, labelled, named

MIN_FOR_TEST = 500
"""With fewer usable examples and no given test split, none is drawn: the main results come from cross-validation."""
MIN_VALIDATION = 10
"""Minimum size of a validation split; smaller ones are not drawn."""
_NONE = np.zeros(0, dtype=np.int64)
Untaught = Callable[[np.ndarray, np.ndarray], Bool[np.ndarray, " _"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """Indices of the data set's examples; the splits are disjoint and contain no damaged files."""

    train: Int[np.ndarray, " t"]
    """Training examples."""
    val: Int[np.ndarray, " v"]
    """Validation examples, for model selection and early stopping; may be empty."""
    test: Int[np.ndarray, " s"]
    """Test examples, for the final results; empty if these come from cross-validation."""
    groups: Int[np.ndarray, " n"]
    """Group index of every example of the data set: the user's groups joined with near-duplicate clusters."""
    drawn_by_us: bool
    """Whether Regraft, not the user, chose the test split or its absence."""
    notes: tuple[Notice, ...]
    """How the splits were made, and anything unusual about them."""

    def describe(self) -> str:
        """Return one line: `train 340, val 60, test 100 (drawn)`."""
        by = "drawn" if self.drawn_by_us else "given"
        test = f"test {len(self.test)} ({by})" if len(self.test) else "no test split"
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
    min_for_test: int = MIN_FOR_TEST,
    together: Int[np.ndarray, " n"] | None = None,
    untaught: Untaught | None = None,
) -> Splits:
    """Split the usable examples, seeded and stratified; shares are fractions of the examples being split.

    No test split is drawn from fewer than `min_for_test` examples. `strata` are used for stratification where examples
    have no single class each; None for their classes. Examples with equal numbers in `together` are kept in one split
    (those of an identity that is tested without having been trained on). `untaught` maps (training indices, held-out
    indices) to a mask of the held-out examples with a class or label that no training example has; these stay in
    training. None: those of a class that training would lack.

    Raises:
        LeakedSplit: the user's own splits share examples, groups or numbers in `together`, and `allow_leaks` is not
            set.
        BadData: there are too few usable classes, or all training examples of a class are damaged.
    """
    alike = clusters(scanned)
    drawing = _Drawing(dataset, joined(joined(alike, dataset.groups), together), strata, untaught)
    usable = np.flatnonzero(scanned.usable)
    _check_usable(dataset, usable, dataset.classes if strata is None else None)
    notes = [*_conflicting_labels(dataset, scanned), *_copies(scanned, alike, usable)]
    given = {name: usable[[dataset.examples[at].split == name for at in usable.tolist()]] for name in dataset.splits}
    drawn_by_us = not (len(given) > 1 and "train" in given)
    if drawn_by_us:
        train, test, more = drawing.test(usable, test_share, derive_seed(seed, "parts", "test"), min_for_test)
        val, notes = _NONE, notes + more
    else:
        notes += _check_given(dataset, scanned, alike, together, allow_leaks)
        train, val, test = (given.get(name, _NONE) for name in SPLITS)
        present = {dataset.examples[at].label for at in usable.tolist()}
        _check_usable(dataset, train, present if strata is None else None, "train")
        if "test" not in given:
            val, test = _NONE, val
            notes.append("The val split is the test split; validation is drawn from train.")
        if len(test) == 0:
            raise BadData("All files of the test split are damaged.", fix="repair them, or give the data unsplit.")
    if len(val) == 0:
        train, val, more = drawing.validation(train, val_share, derive_seed(seed, "parts", "val"))
        notes += more
    return Splits(
        train=train, val=val, test=test, groups=drawing.groups, drawn_by_us=drawn_by_us, notes=notices(notes, "split")
    )


def whole(
    dataset: Dataset,
    scanned: Scanned,
    *,
    seed: int,
    val_share: float,
    strata: Int[np.ndarray, " n"] | None = None,
    together: Int[np.ndarray, " n"] | None = None,
    untaught: Untaught | None = None,
) -> Splits:
    """Use all examples for training except a validation split: for callers who split the data and keep test data back.

    `strata`, `together` and `untaught` are as in `draw`.

    Raises:
        BadData: all examples of a class are damaged.
    """
    groups = joined(joined(clusters(scanned), dataset.groups), together)
    drawing = _Drawing(dataset, groups, strata, untaught)
    usable = np.flatnonzero(scanned.usable)
    if strata is None:
        _check_usable(dataset, usable, dataset.classes)
    train, val, notes = drawing.validation(usable, val_share, derive_seed(seed, "parts", "val"))
    return Splits(
        train=train, val=val, test=_NONE, groups=drawing.groups, drawn_by_us=True, notes=notices(notes, "split")
    )


@dataclass(frozen=True, eq=False)
class _Drawing:
    """Draw splits by group, keeping training examples of every class. Methods return what remains, what is held out,
    and messages."""

    dataset: Dataset
    groups: Int[np.ndarray, " n"]
    strata: Int[np.ndarray, " n"] | None
    untaught: Untaught | None

    def test(
        self, usable: np.ndarray, share: float, seed: int, min_examples: int
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Draw train and test splits from examples without given splits."""
        if len(usable) < min_examples:
            text = (
                f"{counted(len(usable), 'example')} without a test split, under {min_examples}: none is drawn, and "
                "cross-validation is the main figure."
            )
            return usable, _NONE, [text]
        held, lacking = self._held_out(usable, share, seed, "test")
        tested = {self.dataset.examples[at].label for at in usable[held].tolist()}
        if not held.any() or held.all() or (self.strata is None and len(tested) < min(2, len(self.dataset.classes))):
            text = "No test split could be drawn: there are too few groups. Cross-validation is the main figure."
            return usable, _NONE, [text]
        text = f"A test split of {held.sum():,} of {len(usable):,} examples was drawn (seeded, stratified, by group)."
        return usable[~held], usable[held], [text, *lacking]

    def validation(self, train: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Draw a validation split from train; it is empty if there are too few examples."""
        if share * len(train) < MIN_VALIDATION or len(np.unique(self.groups[train])) < 2:
            text = f"No validation split: {share:.0%} of {counted(len(train), 'training example')} would be too few."
            return train, _NONE, [text]
        held, lacking = self._held_out(train, share, seed, "validation")
        if held.sum() < MIN_VALIDATION or held.all():
            text = "No validation split: too few examples could be taken without losing a class from train."
            return train, _NONE, [text]
        return train[~held], train[held], lacking

    def _held_out(
        self, some: Int[np.ndarray, " m"], share: float, seed: int, name: str
    ) -> tuple[Bool[np.ndarray, " m"], list[str]]:
        """Return which of these examples are held out, and a message if the split called `name` lacks classes."""
        groups, strata = self.groups[some], self.dataset.targets if self.strata is None else self.strata
        targets = strata[some]
        held = split(targets, groups, share, seed)
        # Return to training the groups without which it would lack a class or a label.
        if self.untaught is not None:
            odd = self.untaught(some[~held], some[held])
        else:
            odd = np.isin(targets[held], targets[~held], invert=True) & (self.strata is None)
        held &= ~np.isin(groups, groups[held][odd])
        if self.strata is not None:
            return held, []
        lost = [self.dataset.classes[target] for target in np.setdiff1d(targets, targets[held]).tolist()]
        text = (
            f"The {name} split lacks {named(lost)}: all examples are needed for training, or are of one group. Nothing "
            "can be claimed of that from it."
        )
        return held, [text] if lost else []


def fewer(splits: Splits, strata: Int[np.ndarray, " n"], share: float, seed: int) -> Splits:
    """Return the splits with `share` of the training and validation examples, in whole groups, stratified, and the same
    test split.

    Raises:
        BadRequest: there is no test split, so the folds of cross-validation would shrink as well.
    """
    if not len(splits.test):
        raise BadRequest(
            f"source.train_share is {share:g}, but there is no test split, and there are too few examples to draw one.",
            fix="name a test split, or use all examples.",
        )

    def some(positions: Int[np.ndarray, " k"], name: str) -> Int[np.ndarray, " m"]:
        if len(positions) < 2:
            return positions
        kept = split(strata[positions], splits.groups[positions], share, derive_seed(seed, "train_share", name))
        found: np.ndarray = positions[kept]
        return found

    return replace(splits, train=some(splits.train, "train"), val=some(splits.val, "val"))


def joined(alike: Int[np.ndarray, " n"], given: Int[np.ndarray, " n"] | None) -> Int[np.ndarray, " n"]:
    """Return the smallest groups that contain whole clusters and whole user groups."""
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
    """Raise an error for leaks in the user's splits, or report them."""
    decoded = np.unique(scanned.decoded, return_inverse=True)[1]
    same = _crossing(dataset, scanned, decoded)
    leaks = _report(dataset, same, f"are the same {scanned.modality.one}")
    if dataset.groups is not None:
        leaks += _report(dataset, _crossing(dataset, scanned, dataset.groups), "are of one group")
    if together is not None:
        leaks += _report(dataset, _crossing(dataset, scanned, together), "belong together")
    if leaks and not allow_leaks:
        raise LeakedSplit(
            "The splits overlap: " + "; ".join(leaks) + ".",
            fix="take the examples out of one of the splits, or allow leaks (--allow-leaks): the report will say so.",
        )
    notes = [f"Leaks between the splits were allowed, so the figures flatter: {leak}." for leak in leaks]
    known = {pair for left, right in same for pair in ((left, right), (right, left))}
    near = [pair for pair in _crossing(dataset, scanned, alike) if pair not in known]
    return notes + [f"Near copies across the splits: {text}." for text in _report(dataset, near, "are nearly the same")]


def _copies(scanned: Scanned, alike: Int[np.ndarray, " n"], usable: Int[np.ndarray, " u"]) -> list[str]:
    num, modality = len(usable) - len(np.unique(alike[usable])), scanned.modality
    what = counted(num, f"{modality.one} is a copy or near copy", f"{modality.many} are copies or near copies")
    return [f"{what} of another one; they stay together in all splits that we draw."] if num else []


def _check_usable(
    dataset: Dataset, there: Int[np.ndarray, " k"], classes: Iterable[str] | None, split_name: str = ""
) -> None:
    """Check that no class lacks usable examples in the split (or in all data); with None, that there are two examples.

    Raises:
        BadData: the check fails.
    """
    if classes is None and len(there) < 2:
        of = f" of {split_name}" if split_name else ""
        raise BadData(
            f"{counted(len(there), 'file')}{of} can be used; at least two are needed.",
            fix="repair the files, or add examples.",
        )
    present = {dataset.examples[at].label for at in there.tolist()}
    if lost := sorted(set(classes or ()) - present):
        raise BadData(
            f"No usable example of {named(lost)} is left in {split_name or 'the data'}: the files are damaged.",
            fix="repair these files, or take the class out of the data.",
        )


def _crossing(dataset: Dataset, scanned: Scanned, keys: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Return pairs of usable examples with equal keys in different splits: for each key, the first of every two."""
    first: dict[int, dict[str | None, int]] = {}
    for at in np.flatnonzero(scanned.usable).tolist():
        first.setdefault(int(keys[at]), {}).setdefault(dataset.examples[at].split, at)
    pairs = []
    for by_split in first.values():
        places = sorted(by_split.values())
        pairs += [(left, right) for spot, left in enumerate(places) for right in places[spot + 1 :]]
    return sorted(pairs)


def _report(dataset: Dataset, pairs: list[tuple[int, int]], what: str) -> list[str]:
    """Return one clause about all pairs, or nothing."""
    if not pairs:
        return []
    words = (f"{_name(dataset, left)} and {_name(dataset, right)}" for left, right in pairs)
    return [f"{len(pairs):,} {'pair' if len(pairs) == 1 else 'pairs'} {what} ({named(words, 3)})"]


def _conflicting_labels(dataset: Dataset, scanned: Scanned) -> list[str]:
    """Return a sentence naming examples that occur with two labels, or nothing."""
    first: dict[str, int] = {}
    pairs = []
    for at in np.flatnonzero(scanned.usable).tolist():
        before = first.setdefault(scanned.decoded[at], at)
        if dataset.examples[before].label != dataset.examples[at].label:
            pairs.append((before, at))
    words = (
        " and ".join(labelled(dataset.examples[at].id, dataset.examples[at].label) for at in pair) for pair in pairs
    )
    return (
        [f"The same {scanned.modality.one} with two labels, {counted(len(pairs), 'time')}: {named(words)}."]
        if pairs
        else []
    )


def _name(dataset: Dataset, at: int) -> str:
    example = dataset.examples[at]
    return f"{example.id} ({example.split})" if example.row is not None else example.id


def clusters(scanned: Scanned) -> Int[np.ndarray, " n"]:
    """Return a cluster index for every example, equal for those that decode to the same content or are connected by a
    chain of near-duplicates.

    Unreadable examples form clusters of their own. The result is cached for these examples in this order.
    """
    if (memory := scanned.memory) is None:
        return _clusters(scanned)
    rule = scanned.modality.near_copy_rule
    name = "clusters-" + digest_bytes(rule.encode(), scanned.rows["decoded"].tobytes())
    known = memory.recall_array(name)
    if known is None or known.shape != (len(scanned.rows),) or known.dtype != np.int64:
        known = _clusters(scanned)
        with suppress(OSError, OutOfSpace):  # a cache that cannot be written only costs time
            memory.keep_array(name, known)
    return known


def _clusters(scanned: Scanned) -> Int[np.ndarray, " n"]:
    first: dict[str, int] = {}
    same = np.array(
        [first.setdefault(decoded or f"#{at}", at) for at, decoded in enumerate(scanned.decoded)], dtype=np.int64
    )
    pairs = scanned.modality.near_copies(scanned.rows)
    joined = np.concatenate([np.stack([same, np.arange(len(same))], axis=1), pairs]) if len(same) else pairs
    return union(len(same), joined)


def union(num_examples: int, pairs: Int[np.ndarray, "m 2"]) -> Int[np.ndarray, " n"]:
    """Return the connected component of every example in the graph of these pairs: its smallest member."""
    parent = list(range(num_examples))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for left, right in pairs.tolist():
        one, other = root(left), root(right)
        parent[max(one, other)] = min(one, other)
    return np.array([root(at) for at in range(num_examples)], dtype=np.int64)
