"""Whether a data set can be learned from at all: known before anything is decoded."""

from collections import Counter

from regraft.contracts.task import TASKS
from regraft.data.dataset import Dataset
from regraft.data.labels import are_numbers, numeric
from regraft.errors import BadData, nearest
from regraft.labels import parted
from regraft.values import Notice
from regraft.words import counted, named


def check_learnable(dataset: Dataset) -> tuple[Notice, ...]:
    """Refuse what cannot be learned from; say what is odd.

    Raises:
        BadData: one class; a class with one example; splits without a train split, or a class that train lacks; targets
            that are all the same; labels that every example has, or none.
    """
    if dataset.splits and "train" not in dataset.splits:
        raise BadData(
            f"{dataset.root} has the splits {named(dataset.splits)} and no train split.",
            fix="add a train split, or give the data without splits.",
        )
    task = TASKS.get(dataset.kind)(dataset.classes)
    whole = _check_classes if task.exclusive else _check_nothing  # only where an example is of one class
    check = {"multilabel": _check_tags, "regression": _check_numbers}.get(dataset.kind, whole)
    return tuple(Notice(text=text, topic="data") for text in check(dataset))


def _check_nothing(dataset: Dataset) -> list[str]:
    return []


def _check_classes(dataset: Dataset) -> list[str]:
    counts = Counter(example.label for example in dataset.examples)
    if len(counts) < 2:
        raise BadData(
            f"{dataset.root} holds one class, {dataset.classes[0]!r}; at least two are needed to tell apart.",
            fix="add a folder (or rows) with examples of another class.",
        )
    numbers = " Or are they numbers to be predicted as such? Say --task regression." if are_numbers(counts) else ""
    if missing := [label for label in dataset.classes if label not in counts]:
        raise BadData(
            f"No example of {named(missing)}, which target.order names.",
            fix="take it out of the order, or add examples.",
        )
    if single := [label for label in dataset.classes if counts[label] == 1]:
        raise BadData(
            f"{counted(len(single), 'class has', 'classes have')} one example only: {named(single)}; "
            "at least one to learn from and one to test on are needed.",
            fix=f"add examples, or take such a class out.{numbers}",
        )
    notes = _lookalikes(dataset.classes)
    if dataset.splits:
        notes += _gaps(dataset)
    return notes


def _check_numbers(dataset: Dataset) -> list[str]:
    training = [parted(one.label) for one in dataset.examples if one.split in (None, "train")]
    for name, column in zip(dataset.classes, zip(*training, strict=True), strict=True):
        if len(set(column)) < 2:
            raise BadData(
                f"{name} is {column[0]} for all {counted(len(column), 'training example')}; there is nothing to learn.",
                fix="add examples with other values, or leave this column out.",
            )
    return []


def _check_tags(dataset: Dataset) -> list[str]:
    """Labels that tell no two training examples apart are reported; where none does, there is nothing to learn."""
    training = [set(parted(one.label)) for one in dataset.examples if one.split in (None, "train")]
    counts = {tag: sum(tag in tags for tags in training) for tag in dataset.classes}
    never = [tag for tag, count in counts.items() if not count]
    always = [tag for tag, count in counts.items() if count == len(training)]
    if len(never) + len(always) == len(counts):
        raise BadData(
            f"Every label of {dataset.root} is on all training examples or on none; there is nothing to tell apart.",
            fix="add examples with other labels.",
        )
    return [
        *_lookalikes(dataset.classes),
        *([f"No training example has {named(never)}; nothing is learned of it."] if never else []),
        *([f"Every training example has {named(always)}; nothing is learned of it."] if always else []),
    ]


def _gaps(dataset: Dataset) -> list[str]:
    """Classes that val or test lacks; those that train lacks are refused."""
    table = dataset.counts()
    absent = {split: [label for label in dataset.classes if not row[label]] for split, row in table.items()}
    if lacking := absent["train"]:
        trained = [label for label in dataset.classes if label not in lacking]
        where = [split for split in dataset.splits if split != "train" and table[split][lacking[0]]]
        alike = nearest(lacking[0], trained) if len(trained) <= 8 else ""
        fix = "add examples of it to train, or take the class out of the other splits."
        if alike.startswith("did"):
            fix = f"add examples to train or take the class out; or is it another spelling: {alike}"
        raise BadData(
            f"{counted(len(lacking), 'class is', 'classes are')} missing from train: {named(lacking)} "
            f"({lacking[0]!r} is in {' and '.join(where)}).",
            fix=fix,
        )
    return [
        f"The {split} split lacks {counted(len(labels), 'class', 'classes')}: {named(labels)}; it says nothing of them."
        for split, labels in absent.items()
        if labels
    ]


def _lookalikes(classes: tuple[str, ...]) -> list[str]:
    spellings = dict[object, list[str]]()
    for label in classes:
        spellings.setdefault(
            numeric(label) if numeric(label) is not None else " ".join(label.casefold().split()), []
        ).append(label)
    return [
        f"The classes {named(map(repr, some))} differ only in case, spaces or a comma; they are kept apart."
        for some in spellings.values()
        if len(some) > 1
    ]
