"""How a model came to know more classes, and whether it still knows the old ones, for pages and verdicts."""

from collections.abc import Mapping
from typing import Any

from regraft.reports.words import bullets, counted, measured, number, plain, table

Section = Mapping[str, Any]


def sentence(extended: Section) -> str:
    """What adding the classes came to, in two or three sentences."""
    added = f"Added without retraining the rest: {', '.join(extended['added'])}."
    kept = extended.get("kept")
    if not kept:
        return f"{added} Whether the old classes are kept could not be checked: no old example was left to ask about."
    examples = counted(kept["num_examples"], "old example")
    return (
        f"{added} On {examples} ({kept['standing']}) the accuracy was {number(kept['before'])} before and is "
        f"{number(kept['after'])} now ({measured(kept['change'], signed=True)}); {kept['num_called_new']} of them are "
        f"called a new class ({measured(kept['called_new'])})."
    )


def section(report: Section) -> str:
    """The part of the page; empty where nothing was added."""
    found = report.get("extended")
    if not found:
        return ""
    rows = [
        ["Added", plain(", ".join(found["added"]))],
        ["To the model", f"{plain(found['old_model']['name'])}, digest `{found['old_model']['digest']}`"],
        ["Learned from", counted(found["new_examples"], "new example")],
        ["Against", plain(found["against"])],
        ["Solved with", f"C = {found['c']:.3g}" + ("" if found["converged"] else ", not converged")],
    ]
    same = (
        "The network and the old classes' weights are bit for bit those of the old model; new rows alone were solved."
    )
    said = [same, f"Logits are divided by the old model's temperature, {found['temperature']:.3g}, as the rows expect."]
    kept = found.get("kept")
    if kept and kept["missing"]:
        said.append(f"No old example of {', '.join(kept['missing'])} was there to check: nothing is known of these.")
    heading = "## What was added, and whether the old classes are kept"
    return "\n\n".join(
        [heading, plain(sentence(found)), table(["", ""], rows).replace("---:", "---"), bullets(map(plain, said))]
    )
