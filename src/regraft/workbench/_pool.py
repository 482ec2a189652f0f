"""Old and new examples together, numbered as the extended model will: old classes first.

Shapes: n examples, t of them to learn from, s kept back, k asked for.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.contracts.example import Example
from regraft.data.dataset import Dataset
from regraft.errors import BadData
from regraft.identity import digest_json
from regraft.reports.report import Damaged, DataFacts, SplitFacts
from regraft.values import Event, Notice
from regraft.workbench._labelled import UNKNOWN, Labelled


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """What is learned from, and what is kept back to measure on."""

    datasets: tuple[Dataset, ...]
    """Where they come from, the new ones first."""
    examples: tuple[Example, ...]
    """All of them."""
    classes: tuple[str, ...]
    """The old model's classes in their order, then the new ones by name."""
    added: tuple[str, ...]
    """The new ones."""
    targets: Int[np.ndarray, "n"]
    """Positions in `classes`."""
    groups: Int[np.ndarray, "n"]
    """What must stay on one side: the user's groups and near copies, apart for every data set."""
    train: Int[np.ndarray, "t"]
    """Positions to learn from."""
    test: Int[np.ndarray, "s"]
    """Positions to measure on."""
    standing: str
    """What the old examples kept back are to the old model, as a clause."""
    origin: str
    """Where the old examples come from, as a clause."""
    notes: tuple[Notice, ...]
    """What was said of the data."""
    quarantined: tuple[Damaged, ...]
    """The files that could not be read."""

    @property
    def is_new(self) -> Bool[np.ndarray, "n"]:
        """Whether an example is of a new class."""
        new: Bool[np.ndarray, n] = self.targets >= len(self.classes) - len(self.added)
        return new

    def weights(self, trained_on: int | None) -> Float[np.ndarray, "t"]:
        """Weight of each example to learn from: together the old ones weigh as many as the old model was made of."""
        old = ~self.is_new[self.train]
        return np.where(old, trained_on / max(1, int(old.sum())) if trained_on else 1.0, 1.0)

    def user_groups(self, positions: Int[np.ndarray, "k"]) -> Int[np.ndarray, "k"] | None:
        """The groups that the user named, for intervals; None where there are none."""
        names = [self.examples[at].group for at in positions.tolist()]
        if all(name is None for name in names):
            return None
        keys = [name if name is not None else f"\0{at}" for at, name in enumerate(names)]
        return np.unique(keys, return_inverse=True)[1]

    def section(self) -> DataFacts:
        """The section `data` of a report."""

        def split(positions: np.ndarray) -> SplitFacts:
            counts = np.bincount(self.targets[positions], minlength=len(self.classes)).tolist()
            return SplitFacts(examples=len(positions), per_class=dict(zip(self.classes, counts, strict=True)))

        groups = self.user_groups(np.arange(len(self.examples)))
        return DataFacts(
            name=" and ".join(dict.fromkeys(dataset.root.name for dataset in self.datasets)),
            kind="classification",
            examples=len(self.examples),
            classes=self.classes,
            splits={"train": split(self.train), "test": split(self.test)},
            groups=None if groups is None else len(np.unique(groups)),
            notes=tuple(note.text for note in self.notes),
            quarantined=self.quarantined,
            fingerprint=digest_json([dataset.fingerprint for dataset in self.datasets]),
        )


def pooled(known: tuple[str, ...], fresh: Labelled, others: Labelled | None) -> Generator[Event, None, Pool]:
    """One pool of `fresh` (new classes, and old ones if it has them) and `others` (old classes); yields what to know.

    Raises:
        BadData: no new class, one with too few examples, no old example, or one content with an old and a new label.
    """
    added = tuple(sorted({fresh.dataset.examples[at].label for at in _of(fresh)} - set(known)))
    if not added:
        raise BadData(
            f"Every class of {fresh.dataset.root} ({', '.join(fresh.dataset.classes)}) is one of the model's already.",
            fix="give examples of a new class; to learn more of the old ones, train anew (regraft fit).",
        )
    classes = (*known, *added)
    sources = [fresh]
    if others is not None:
        others = yield from _without_strangers(others, known)
        others = yield from _without_copies(others, fresh, set(added))
        sources.append(others)
    examples: list[Example] = []
    groups, train, test = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    taken: set[str] = set()
    for found in sources:
        at, there = len(examples), _of(found)
        place = np.full(len(found.dataset.examples), -1)
        place[there] = at + np.arange(len(there))
        own = [found.dataset.examples[i] for i in there.tolist()]
        if taken & {one.id for one in own}:
            own = [replace(one, id=f"{found.dataset.root.name}/{one.id}") for one in own]
        taken |= {one.id for one in own}
        examples += own
        groups.append(found.groups[there] + (1 + max((int(g.max(initial=-1)) for g in groups), default=-1)))
        train.append(place[found.train])
        test.append(place[found.test])
        yield from found.notes
    number = {name: code for code, name in enumerate(classes)}
    given = any(fresh.dataset.examples[at].label in known for at in _of(fresh).tolist())
    pool = Pool(
        datasets=tuple(found.dataset for found in sources),
        examples=tuple(examples),
        classes=classes,
        added=added,
        targets=np.array([number[one.label] for one in examples], dtype=np.int64),
        groups=np.concatenate(groups),
        train=np.concatenate(train),
        test=np.concatenate(test),
        standing=others.standing if others is not None and not given else UNKNOWN,
        origin=" and ".join(found.dataset.root.name for found in (sources if given else sources[1:])),
        notes=tuple(note for found in sources for note in found.notes),
        quarantined=tuple(
            Damaged(id=one.id, reason=one.reason) for found in sources for one in found.scanned.quarantined
        ),
    )
    _check_enough(pool)
    return pool


def _of(found: Labelled) -> Int[np.ndarray, "k"]:
    positions: Int[np.ndarray, k] = np.sort(np.concatenate([found.train, found.test]))
    return positions


def _only(found: Labelled, keep: Bool[np.ndarray, "n"]) -> Labelled:
    return replace(found, train=found.train[keep[found.train]], test=found.test[keep[found.test]])


def _without_strangers(others: Labelled, known: tuple[str, ...]) -> Generator[Event, None, Labelled]:
    """The old data without classes that the model does not have."""
    strange = sorted(set(others.dataset.classes) - set(known))
    if strange:
        yield Notice(text=f"Left out of the old examples, for the model does not know it: {', '.join(strange)}.",
                     topic="data")  # fmt: skip
    return _only(others, np.array([one.label in known for one in others.dataset.examples], dtype=bool))


def _without_copies(others: Labelled, fresh: Labelled, added: set[str]) -> Generator[Event, None, Labelled]:
    """The old data without files that are among the new data as well."""
    label_of = {fresh.scanned.content[at]: fresh.dataset.examples[at].label for at in _of(fresh).tolist()}
    copied = np.array([content in label_of for content in others.scanned.content], dtype=bool)
    copied[np.setdiff1d(np.arange(len(copied)), _of(others))] = False
    both = [at for at in np.flatnonzero(copied).tolist() if label_of[others.scanned.content[at]] in added]
    if both:
        one = others.dataset.examples[both[0]]
        raise BadData(
            f"{len(both)} files of a new class are among the old examples too: {one.id} is {one.label} there and "
            f"{label_of[others.scanned.content[both[0]]]} in {fresh.dataset.root.name}.",
            fix="take them out of one of the two; if they were labelled wrong before, train anew (regraft fit).",
        )
    if copied.any():
        yield Notice(text=f"{int(copied.sum())} old examples are in both data sets; they count once.", topic="data")
    return _only(others, ~copied)


def _check_enough(pool: Pool) -> None:
    new, old = pool.is_new, ~pool.is_new
    if not old[pool.train].any():
        raise BadData(
            "There are no examples of the old classes: nothing keeps a new class from swallowing them, nor shows "
            "whether it does.",
            fix="name some, with the folder they were trained on or any of the kind: --old PATH.",
        )
    for name in pool.added:
        count = int((pool.targets[pool.train] == pool.classes.index(name)).sum())
        if count < 2:
            raise BadData(
                f"The new class {name!r} has {count} usable examples to learn from; 2 are the least, and ten or more "
                "make sense.",
                fix="add examples of it, or leave it out.",
            )
    if not new[pool.test].any():
        raise BadData("No example of a new class is left to measure on.", fix="add some to the test part.")
