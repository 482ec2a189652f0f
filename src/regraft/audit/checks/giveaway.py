"""A class that is told by how its examples were recorded and kept: a border, a format, a size. What a model learns from
such data may be that."""

from collections.abc import Iterator

from regraft.audit.telling import told_by
from regraft.contracts.audit import Check, SessionView
from regraft.contracts.page import Finding


def run(view: SessionView) -> Iterator[Finding]:
    """One finding on what is of the recording alone, one on what depends on the content too."""
    if not view.task.exclusive:
        return
    for degree, title in (("wholly", ENTRY.title), ("partly", f"{ENTRY.title}: file size")):
        traits = [one for one in view.traits if one.recorded == degree]
        together = told_by(view, traits) if traits else None
        if together is None or not together.tells:
            continue
        alone = {one.name: found for one in traits if (found := told_by(view, [one], trees=1)) is not None}
        name = max(alone, key=lambda one: alone[one].accuracy.value, default="")
        best = alone.get(name, together)
        sure = degree == "wholly"
        yield Finding(
            check=title, severity="warn" if sure else "info", score=together.accuracy.value,
            examples=view.ids(best.examples),
            message=f"Without a look at what is shown, {'facts of the file tell' if sure else 'the file size tells'} "
            f"the class: balanced accuracy {together.accuracy.told()}, {together.chance:.2f} by chance. "
            + (f"The {name} alone: {best.accuracy.told()}, highest in {best.label}. " if name else "")
            + ("A model may learn this instead." if sure else "That may follow from what is shown, or not."),
            fix="record and prepare all classes in the same way: crop borders, convert all files alike; test on data "
            "from elsewhere." if sure else "compare with how well the probe does; test on data from elsewhere.",
        )  # fmt: skip


ENTRY = Check(title="Class told by the recording", run=run)
