"""Examples that are decoded to the same, in two splits or in one."""

from collections.abc import Iterator

import numpy as np

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import counted


def run(view: SessionView) -> Iterator[Finding]:
    """One finding on copies across splits, one on others."""
    sets: dict[int, list[int]] = {}
    for at, first in enumerate(view.same.tolist()):
        sets.setdefault(first, []).append(at)
    several = [some for some in sets.values() if len(some) > 1]
    across = [some for some in several if len(set(view.splits[some].tolist())) > 1]
    within = [some for some in several if len(set(view.splits[some].tolist())) == 1]
    one, many = view.modality.one, view.modality.many
    if across:
        leaked = np.concatenate(across)
        tested = sum(view.splits[at] != "train" for at in leaked.tolist())
        yield Finding(
            check=f"{ENTRY.title} across splits", severity="stop", examples=view.ids(leaked), score=float(len(across)),
            message=f"{counted(len(across), f'{one} is', f'{many} are')} in two splits or more: "
            f"{counted(tested, 'validation or test example')} {'is' if tested == 1 else 'are'} seen in training, so "
            "the measured figures would be too good.",
            fix="`--fix-split` writes a table in which each is in one split.",
        )  # fmt: skip
    if within:
        extra = sum(len(some) - 1 for some in within)
        yield Finding(
            check=f"{ENTRY.title} in one split", severity="info", examples=view.ids(np.concatenate(within)),
            score=float(extra),
            message=f"{counted(extra, f'{one} is a copy', f'{many} are copies')} of another in the same split; each "
            "counts more than once. Splits that we draw keep copies together.",
            fix="take the copies out, unless they are meant to count more.",
        )  # fmt: skip


ENTRY = Check(title="Exact copies", run=run)
