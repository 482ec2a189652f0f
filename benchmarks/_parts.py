"""Drawn parts of the target tasks as tables of files, which `regraft fit` opens like a user's."""

import csv
from functools import cache
from pathlib import Path

from _draws import drawn
from _problems import returned
from _sets import UNPACKED
from _targets import TARGETS

from regraft.recipe import Recipe, parse_setting, with_settings
from regraft.workbench.session import Session, open_session


@cache
def subject(data: str) -> Session:
    """The set, opened and split."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    recipe = with_settings(Recipe(data=str(TARGETS[data].open())), dict(map(parse_setting, TARGETS[data].settings)))
    session: Session = returned(open_session(recipe, workers=1))
    return session


def subset(data: str, n: int, seed: int) -> Path:
    """A table of `n` drawn training examples of every class and of the whole test part.

    Groups are those the set names; among training examples near copies count as one group.
    """
    path = UNPACKED / "transfer" / f"{data}-{n or 'all'}-{seed}.csv"
    if path.is_file():
        return path
    found = subject(data)
    examples, targets, groups = found.dataset.examples, found.targets, found.splits.groups
    train = drawn(targets, groups, found.learnable, n, seed)
    root = UNPACKED / data
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "group"])
        for split, places in (("train", train), ("test", found.splits.test)):
            for place in places:
                one = examples[place]
                writer.writerow([one.path.relative_to(root), one.label, split, one.group or ""])
    partial.replace(path)
    return path
