"""What follows for the claim from the effects that it rests on."""

from collections.abc import Sequence

from regraft.contracts.study import Outcome
from regraft.lab._effects import Found

TOLD = {"as claimed": "Borne out", "not here": "not here", "open": "not resolved", "not run": "not run"}


def told(found: Sequence[Found]) -> str:
    """Which of the key effects came out how, in one sentence."""
    parts = []
    for resolved, title in TOLD.items():
        names = [one.effect.name for one in found if one.effect.key and one.resolved == resolved]
        parts += [f"{title}: {', '.join(names)}"] if names else []
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def outcome_of(found: Sequence[Found]) -> Outcome:
    """Borne out where every key effect is; not here where those that are resolved speak against it; else in part, or
    not resolved where no measured one is.

    An effect that is only counted resolves nothing alone: that a network is cheaper is no claim about what it does.
    """
    key = [one for one in found if one.effect.key]
    measured = [one.resolved for one in key if one.size is not None]
    said = [one.resolved for one in key]
    if all(one == "as claimed" for one in said):
        return "as claimed"
    if all(one in ("open", "not run") for one in measured):
        return "not resolved at this scale"
    if all(one != "as claimed" for one in measured):
        return "not here"
    return "in part"
