"""The page of `regret.py`, from its rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from _kept import Kept
from _markdown import head, line, told
from _pooled import MIN_SEEDS, Table, mean_of, shown
from _regret import Setting, covered, setting_of, within

ABOUT = """Made by `python benchmarks/regret.py`: {ready} settings, backbones {backbones}, strategies {strategies},
{seeds} seeds, inputs of {px} pixels, on {machine}. Regret is the mean over the seeds of how much less often the chosen
recipe is right than the best one on a half of the test set, in points of accuracy; the oracle is picked on the other
half. The advisor has a tenth of the CPU time that one run of every recipe takes, and so has the random search. With a
single seed, intervals cover the choice of test examples alone. {missing}"""
FOUND = """One setting with one seed says little, and what it says is bad: the advised recipe is right 3.6 points less
often than the best one (the bar was 2), no better than a random search, and worse than always training everything. Why:
a tenth of the time, 23 seconds, was enough to probe both backbones, but not for a pilot; so the advice saw nothing of
fine-tuning, whose gain on digits (googlenet, 0.962 against 0.936) no probe shows, and of the two probes it took the
cheaper one, since they were within 1 %. Full fine-tuning of the other backbone loses ten points, so a rule without a
measurement would not have been safe either. The two cost predictions that were off are those of probes, of 5 and 8
seconds, which a sweep makes cheaper: its runs share exports of the network."""
"""What the rows in the repository say: written after they were in."""
SIMILAR = ("hymenoptera",)
"""Sets of photographs of things, as the pretraining data are: for the rule of small and similar data."""
SMALL = 100
"""Training examples of what that rule calls small."""
RULES: Mapping[str, Callable[[str, bool], str]] = {
    "always full": lambda name, small: "googlenet full",
    "always probe": lambda name, small: "googlenet probe",
    "small and similar: extract, else fine-tune": lambda name, small: (
        "googlenet probe" if small and name in SIMILAR else "googlenet full"
    ),
    "the largest backbone": lambda name, small: "googlenet partial",
}
"""Naive rules: (set, whether it is small) -> recipe. Of the backbones, the default one is the largest as well."""
Row = Mapping[str, Any]


def read_setting(kept: Kept, name: str, share: float) -> Setting:
    """The setting of these rows."""
    (row,) = kept.where(kind="setting", name=name, share=share)
    return setting_of(f"{name} {share:g}", row["units"], kept.where(kind="run", name=name, share=share))


def page(kept: Kept, wanted: Sequence[tuple[str, float]] = ()) -> str:
    """The page as Markdown, of the settings in which everything ran; of those `wanted` it says which did not."""
    settings, made = kept.settings(), dict[str, dict[str, Table]]()
    seeds, lines, pairs = settings["seeds"], list[str](), list[tuple[Setting, Row]]()
    for row in kept.where(kind="setting"):
        name, share = row["name"], row["share"]
        advice = kept.where(kind="advice", name=name, share=share)
        if len(advice) < seeds:
            continue
        found, examples = read_setting(kept, name, share), kept.where(kind="run", name=name, share=share)[0]["examples"]
        pairs += [(found, one) for one in advice]
        choices = [one["choice"] for one in advice]
        made[found.name] = {
            "advise": found.regret(choices), "oracle": _times(found.oracle(), seeds),
            "random search": _times(found.random_search(), seeds),
            **{rule: found.regret([choice] * seeds) for rule, pick in RULES.items()
               if (choice := pick(name, examples <= SMALL)) in found.recipes},
        }  # fmt: skip
        cells = (f"{100 * table.mean:.1f}" for table in made[found.name].values())
        lines.append(line(name, f"{examples:,}", *cells, "; ".join(dict.fromkeys(choices))))
    if not made:
        return "# The regret of advice\n\nNothing was measured yet: `python benchmarks/regret.py`.\n"
    left = [f"{name} {share:g}" for name, share in wanted if f"{name} {share:g}" not in made]
    missing = f"Not run: {', '.join(left)} (set, share of its training examples)." if left else ""
    who = [one for one in next(iter(made.values())) if all(one in tables for tables in made.values())]
    rows = [_against(one, list(made.values()), seeds) for one in who]
    worst = max(made, key=lambda name: made[name]["advise"].mean)
    checks = [*_predicted(pairs), f"* The worst case: {100 * made[worst]['advise'].mean:.1f} points, {worst}."]
    named = {"backbones": ", ".join(settings["backbones"]), "strategies": ", ".join(settings["strategies"])}
    parts = [
        ["# The regret of advice"],
        [told(ABOUT, **{**settings, **named, "ready": len(made), "missing": missing})],
        ["## Against the rest", "", *head("who", "mean regret", "regret of `advise` less it"), *rows],
        ["## Setting by setting", "", *head("set", "training examples", *who, "advised"), *lines],
        ["## Predictions", "", *checks],
        ["## What follows", "", told(FOUND)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _times(table: Table, seeds: int) -> Table:
    """The same for every seed."""
    return Table(task=table.task, units=table.units, values=np.repeat(table.values, seeds, axis=0))


def _against(who: str, made: list[dict[str, Table]], seeds: int) -> str:
    mine = f"{100 * mean_of([tables[who] for tables in made]):.1f}"
    points = [tables["advise"] - tables[who] for tables in made]
    points = [Table(task=one.task, values=100 * one.values, units=one.units) for one in points]
    return line(who, mine, "" if who == "advise" else shown(points, signed=True, min_seeds=min(seeds, MIN_SEEDS)))


def _predicted(pairs: list[tuple[Setting, Row]]) -> list[str]:
    """How far the advice's predictions held."""
    held = [(tuple(one["predicted"][name]), float(found.worth[at].mean()))
            for found, one in pairs for at, name in enumerate(found.recipes) if name in one["predicted"]]  # fmt: skip
    priced = [(one["seconds"][name], float(found.seconds[at]))
              for found, one in pairs for at, name in enumerate(found.recipes) if name in one["seconds"]]  # fmt: skip
    spent = [one["cpu_s"] / one["budget_s"] for _, one in pairs]
    share = covered(*zip(*held, strict=True)) if held else float("nan")
    near = within(*zip(*priced, strict=True)) if priced else float("nan")
    return [
        f"* Predicted 90 % intervals cover {share:.0%} of {len(held)} measured accuracies (means over training seeds).",
        f"* Predicted CPU seconds are within a factor of 1.5 of those measured in {near:.0%} of {len(priced)} cases.",
        f"* Advice took {np.median(spent):.1f} times its budget in CPU seconds (median), at most {max(spent):.1f}.",
    ]
