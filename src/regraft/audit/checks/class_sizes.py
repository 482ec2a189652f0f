"""Classes that are too small to learn or to test, that a split lacks, and how unequal they are. Limits are ours."""

from collections import Counter
from collections.abc import Iterator

from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding
from regraft.words import named

MIN = 10
"""Fewer examples of a class than this are hardly learned from, and measured with intervals of half the range."""
UNEQUAL = 10.0
"""Ratio of the largest class to the smallest from which on accuracy says little."""


def run(view: SessionView) -> Iterator[Finding]:
    """Findings on each split, and on the balance of the training examples."""
    if view.task.answers != "probabilities":
        return
    counts: dict[str, Counter[str]] = {}
    for example, good in zip(view.examples, view.usable.tolist(), strict=True):
        if good:
            counts.setdefault(example.split or "", Counter()).update(view.task.named(example.label))
    what = view.task.words().outputs
    for split, row in sorted(counts.items()):
        where = f" of the {split} split" if split else ""
        learned = split in ("", "train")
        lacking = [name for name in view.task.classes if not row[name]]
        few = [f"{name} ({row[name]})" for name in view.task.classes if 0 < row[name] < MIN]
        if lacking:
            yield Finding(
                check=f"{ENTRY.title}: missing{where}", severity="stop" if learned else "warn",
                score=float(len(lacking)), message=f"No usable example{where} is of {named(lacking)}.",
                fix="add examples of it, or take it out of the data.",
            )  # fmt: skip
        if few:
            yield Finding(
                check=f"{ENTRY.title}: small{where}", severity="warn", score=float(min(row[n] for n in row if row[n])),
                message=f"Under {MIN} usable examples{where} have these {what}: {named(few)}. Little can be learned of "
                "them, or said about them.",
                fix="collect more of these first.",
            )  # fmt: skip
    row = counts.get("train") or counts.get("") or Counter()
    present = {name: row[name] for name in view.task.classes if row[name]}
    if view.task.exclusive and len(present) > 1:
        (big, most), (small, least) = (pick(present.items(), key=lambda one: one[1]) for pick in (max, min))
        if most / least >= UNEQUAL:
            yield Finding(
                check=f"{ENTRY.title}: unequal", severity="warn", score=most / least,
                message=f"{big} has {most / least:.0f} times as many training examples as {small} ({most:,} and "
                f"{least:,}): always saying {big} would be right in {most / sum(present.values()):.0%}.",
                fix="judge by balanced accuracy or AUROC; `--set options.balanced=true` gives every class the same "
                "weight.",
            )  # fmt: skip


ENTRY = Check(title="Class sizes", run=run)
