"""How a model came to know more classes, and whether it still knows the old ones, for pages and verdicts."""

from regraft.contracts.page import Block, Bullets, Table
from regraft.reports.report import Extension
from regraft.values import shown
from regraft.words import counted


def sentence(found: Extension) -> str:
    """What adding the classes came to, in two or three sentences."""
    added = f"Added without retraining the rest: {', '.join(found.added)}."
    kept = found.kept
    if kept is None:
        return f"{added} Whether the old classes are kept could not be checked: no old example was left to ask about."
    examples = counted(kept.num_examples, "old example")
    return (
        f"{added} On {examples} ({kept.standing}) the accuracy was {shown(kept.before)} before and is "
        f"{shown(kept.after)} now ({kept.change.told(signed=True)}); {kept.num_called_new} of them are "
        f"called a new class ({kept.called_new.told()})."
    )


def section(found: Extension) -> Block:
    """The section of the page."""
    rows = [
        ("Added", ", ".join(found.added)),
        ("To the model", f"{found.old_model}, digest `{found.old_digest}`"),
        ("Learned from", counted(found.new_examples, "new example")),
        ("Against", found.against),
        ("Solved with", f"C = {found.c:.3g}" + ("" if found.converged else ", not converged")),
    ]
    said = [
        "The network and the old classes' weights are bit for bit those of the old model; new rows alone were solved.",
        f"Logits are divided by the old model's temperature, {found.temperature:.3g}, as the rows expect.",
    ]
    if found.kept and found.kept.missing:
        said.append(f"No old example of {', '.join(found.kept.missing)} was there to check: nothing is known of these.")
    return Block("Added classes", (sentence(found), Table(("", ""), rows, left=2), Bullets(said)))
