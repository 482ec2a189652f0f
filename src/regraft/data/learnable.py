"""Whether a data set can be learned from at all: known before anything is decoded."""

from collections import Counter

from regraft.data._words import counted, named
from regraft.data.dataset import Dataset
from regraft.errors import BadData, nearest
from regraft.values import Notice


def check_learnable(dataset: Dataset) -> tuple[Notice, ...]:
    """Refuse what cannot be learned from; say what is odd.

    Raises:
        BadData: one class; a class with one example; splits without a train part, or a class that train lacks.
    """
    counts = Counter(example.label for example in dataset.examples)
    if len(counts) < 2:
        raise BadData(
            f"{dataset.root} holds one class, {dataset.classes[0]!r}; at least two are needed to tell apart.",
            fix="add a folder (or rows) with examples of another class.",
        )
    if single := [label for label in dataset.classes if counts[label] == 1]:
        raise BadData(
            f"{counted(len(single), 'class has', 'classes have')} one example only: {named(single)}; "
            "one to learn from and one to test on are the least.",
            fix="add examples, or take such a class out.",
        )
    notes = _lookalikes(dataset.classes)
    if dataset.splits:
        notes += _gaps(dataset)
    return tuple(Notice(text=text, topic="data") for text in notes)


def _gaps(dataset: Dataset) -> list[str]:
    """Classes that val or test lacks; those that train lacks are refused."""
    table = dataset.counts()
    if "train" not in table:
        raise BadData(
            f"{dataset.root} has the parts {named(dataset.splits)} and no train part.",
            fix="add a train part, or give the data without splits.",
        )
    absent = {part: [label for label in dataset.classes if not row[label]] for part, row in table.items()}
    if lacking := absent["train"]:
        trained = [label for label in dataset.classes if label not in lacking]
        where = [part for part in dataset.splits if part != "train" and table[part][lacking[0]]]
        alike = nearest(lacking[0], trained) if len(trained) <= 8 else ""
        raise BadData(
            f"{counted(len(lacking), 'class is', 'classes are')} missing from train: {named(lacking)} "
            f"({lacking[0]!r} is in {' and '.join(where)}).",
            fix=f"add examples to train or take the class out; or is it another spelling: {alike}".rstrip(": ")
            if alike.startswith("did")
            else "add examples of it to train, or take the class out of the other parts.",
        )
    return [
        f"The {part} part lacks {counted(len(labels), 'class', 'classes')}: {named(labels)}; it says nothing of them."
        for part, labels in absent.items()
        if labels
    ]


def _lookalikes(classes: tuple[str, ...]) -> list[str]:
    spellings: dict[str, list[str]] = {}
    for label in classes:
        spellings.setdefault(" ".join(label.casefold().split()), []).append(label)
    return [
        f"The classes {named(map(repr, some))} differ only in case or spaces; they are kept apart."
        for some in spellings.values()
        if len(some) > 1
    ]
