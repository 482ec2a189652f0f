"""The page of the study of recipes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from _markdown import head, line, told
from _pooled import Table, interval, mean_of, shown
from _probe_page import n_told
from _recipe_data import Found, Noise, verdict

from regraft.reports.plots import INK, SECOND, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT = "recipe.svg"
KORNBLITH = ("side heads", "smoothing 0.1", "dropout 0.2")
TITLE = "# Which recipe of pretraining transfers best"
TOLD = """Short pretrainings with one budget, each a `regraft fit` of pretraining/googlenet.toml, its batches of 128
at a rate of 0.0005, and with one thing changed: {architecture},
{epochs} epochs on {corpus}, inputs of at most {px} pixels. Every one is judged twice: by its own accuracy
on the corpus's validation part, and by what its frozen features are worth elsewhere, which is what the recipe
is for: the mean accuracy of linear probes on {tasks}, at {probe_px} pixels, over {sizes} training examples a class and
{draws} draws of them. Probes are judged inside the training parts (three grouped folds): the study chooses, so it
touches no test part. Made by `{command}`.

In brackets are 95 % intervals. Those of probes are a bootstrap that draws seeds of draws and judged examples (patients,
where there are patients) inside every task; those of top-1 one of validation pictures. Differences are paired: with the
base of the same seeds, on the same draws and examples. The seed of the pretraining is chance too: `± seeds` is half the
95 % interval that it alone gives a difference, from the recipes that have two seeds. `ahead` and `behind` mean that the
difference is larger than both together explain, `level` that it is not. {compared} recipes are compared with the base,
so one in twenty of them may be ahead or behind by chance. A longer pretraining may prefer another recipe."""


def page(
    found: Found, changes: Mapping[str, tuple[str, ...]], seeds: Sequence[int], command: str, num_draws: int
) -> str:
    """The page as Markdown; `changes` are the settings by recipe, the base first."""
    text = told(TOLD, **vars(found.settings), tasks=", ".join(found.data), sizes=_listed(found.sizes), draws=num_draws,
                command=command, compared=sum(bool(found.seeds(recipe)) for recipe in found.recipes[1:]))  # fmt: skip
    parts = [[TITLE, "", text]]
    if said := answers(found):
        parts.append(["## In short", "", *(told("* {said}", said=one) for one in said)])
    parts += [_table(found, changes), [f"![accuracy on the corpus against that of probes]({PLOT})"], _sizes(found),
              _tasks(found), _cells(found, seeds)]  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def answers(found: Found) -> list[str]:
    """What follows from the rows, in sentences; what cannot be said yet is left out."""
    base, ran = found.recipes[0], [recipe for recipe in found.recipes if found.seeds(recipe)]
    noises = noises_of(found)
    said = []
    if noises[0] and noises[1]:
        deviations = f"{noises[0].deviation:.3f} in top-1 and {noises[1].deviation:.3f} in the mean of the probes"
        said.append(f"**Chance**: with another seed the same recipe moves by a standard deviation of {deviations} "
                    f"(from {noises[1].degrees} of them).")  # fmt: skip
    others = [recipe for recipe in ran if recipe != base and found.shared(recipe, base)]
    if others:
        verdicts = {recipe: _verdicts(found, recipe, noises)[1] for recipe in others}
        best = max(others, key=lambda recipe: mean_of(found.less(recipe, base, found.probes)))
        said.append(f"**Transfer**: highest is {best}, {shown(found.less(best, base, found.probes), signed=True)} "
                    f"against the base. Ahead of the base beyond chance: {_names(verdicts, 'ahead')}; behind it: "
                    f"{_names(verdicts, 'behind')}.")  # fmt: skip
    if len(ran) > 3:
        top1, probes = zip(*((found.mean(recipe, "top1"), found.mean(recipe, "probes")) for recipe in ran), strict=True)
        said.append(f"**Source against transfer**: over the {len(ran)} recipes, accuracy on the corpus and mean "
                    f"accuracy of probes are correlated with {np.corrcoef(top1, probes)[0, 1]:+.2f}.")  # fmt: skip
    parts = []
    for recipe in (name for name in KORNBLITH if name in others):
        probes = shown(found.less(recipe, base, found.probes), signed=True)
        parts.append(f"{recipe}: {_source(found, recipe)} on the corpus, {probes} in probes")
    if parts:
        said.append("**Kornblith et al. 2019** (arXiv:1805.08974) found that label smoothing, dropout and side heads "
                    "raise the accuracy on the source and lower that of probes. Here, against the base, which has none "
                    f"of them: {'; '.join(parts)}.")  # fmt: skip
    return said


def noises_of(found: Found) -> tuple[Noise | None, Noise | None]:
    """Of top-1, and of the mean of the probes."""
    return (found.noise(lambda recipe, seed: found.source(recipe, seed).mean),
            found.noise(lambda recipe, seed: mean_of(found.probes(recipe, seed))))  # fmt: skip


def plot(found: Found) -> str:
    """Accuracy on the corpus against mean accuracy of probes, a point for every recipe, a cross for every seed."""
    ran = [recipe for recipe in found.recipes if found.seeds(recipe)]

    def draw(axes: "Axes") -> None:
        for recipe in ran:
            colour, at = SECOND if recipe == found.recipes[0] else INK, found.seeds(recipe)
            seeds = [(found.rows[recipe][seed]["top1"]["value"], mean_of(found.probes(recipe, seed))) for seed in at]
            x, y = found.mean(recipe, "top1"), found.mean(recipe, "probes")
            for one in seeds if len(seeds) > 1 else ():
                axes.plot([x, one[0]], [y, one[1]], "-x", color=colour, alpha=0.4, linewidth=0.8, markersize=4)
            axes.plot([x], [y], "o", color=colour, markersize=5)
            axes.annotate(recipe, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel="top-1 accuracy on the corpus's validation part", ylabel="mean accuracy of probes",
                 title="crosses: single seeds; points: their means")  # fmt: skip
        axes.margins(x=0.15, y=0.1)

    return svg(draw, (7.5, 5.0))


def _table(found: Found, changes: Mapping[str, tuple[str, ...]]) -> list[str]:
    base, noises = found.recipes[0], noises_of(found)
    lines = ["## Recipes", "", *head("recipe", "settings", "seeds", "top-1", "top-1 − base", "± seeds", "", "top-5",
                                     "probes", "probes − base", "± seeds", "")]  # fmt: skip
    for recipe in found.recipes:
        settings = " ".join(f"`{change}`" for change in changes[recipe])
        if not (seeds := found.seeds(recipe)):
            lines.append(line(recipe, settings, "not run", *[""] * 9))
            continue
        level = [f"{found.mean(recipe, 'top1'):.3f}", f"{found.mean(recipe, 'top5'):.3f}",
                 f"{found.mean(recipe, 'probes'):.3f}"]  # fmt: skip
        shared = found.shared(recipe, base)
        if recipe == base or not shared:
            lines.append(line(recipe, settings, len(seeds), level[0], "", "", "", level[1], level[2], "", "", ""))
            continue
        widths = [f"± {noise.half_width(len(shared)):.3f}" if noise else "" for noise in noises]
        said, probes = _verdicts(found, recipe, noises), shown(found.less(recipe, base, found.probes), signed=True)
        lines.append(line(recipe, settings, len(seeds), level[0], _source(found, recipe), widths[0], said[0], level[1],
                          level[2], probes, widths[1], said[1]))  # fmt: skip
    return lines


def _verdicts(found: Found, recipe: str, noises: tuple[Noise | None, Noise | None]) -> tuple[str, str]:
    """By top-1 and by probes, each against the base."""
    base = found.recipes[0]
    halves = [noise.half_width(len(found.shared(recipe, base))) if noise else None for noise in noises]
    source, probes = against(found, recipe), found.less(recipe, base, found.probes)
    return verdict(source.mean, ends_of(source), halves[0]), verdict(mean_of(probes), interval(probes), halves[1])


def against(found: Found, recipe: str) -> Table:
    """The paired difference in right and wrong to the base on the corpus's validation part, (1 n)."""
    [table] = found.less(recipe, found.recipes[0], lambda name, seed: [found.source(name, seed)])
    return table


def ends_of(table: Table) -> tuple[float, float] | None:
    """Ends of the interval over validation pictures alone."""
    return interval([table], min_seeds=1)


def _source(found: Found, recipe: str) -> str:
    """The paired difference in top-1 to the base, over validation pictures."""
    table = against(found, recipe)
    ends = ends_of(table)
    return f"{table.mean:+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "")


def _sizes(found: Found) -> list[str]:
    lines = ["## By training examples a class", "", "Mean accuracy of the probes, less that of the base.", "",
             *head("recipe", *map(n_told, found.sizes))]  # fmt: skip
    for recipe in found.recipes[1:]:
        cells = [found.less(recipe, found.recipes[0], lambda name, seed, n=n: found.probes(name, seed, [n]))
                 for n in found.sizes]  # fmt: skip
        lines.append(line(recipe, *(shown(cell, signed=True) for cell in cells)))
    return lines


def _tasks(found: Found) -> list[str]:
    lines = ["## Task by task", "", "Mean accuracy of the probes over n, less that of the base.", "",
             *head("recipe", *found.data)]  # fmt: skip
    for recipe in found.recipes[1:]:
        tables = found.less(recipe, found.recipes[0], found.probes)
        lines.append(line(recipe, *(shown([one for one in tables if one.task == data], signed=True)
                                    for data in found.data)))  # fmt: skip
    return lines


def _cells(found: Found, seeds: Sequence[int]) -> list[str]:
    lines = ["## Every pretraining", "", *head("recipe", "seed", "top-1", "top-5", "probes", "minutes")]
    for recipe in found.recipes:
        for seed in seeds:
            if seed not in found.seeds(recipe):
                lines.append(line(recipe, seed, "not run", "", "", ""))
                continue
            row = found.rows[recipe][seed]
            lines.append(line(recipe, seed, *(_ends(row[name]) for name in ("top1", "top5")),
                              shown(found.probes(recipe, seed)), f"{row['wall'] / 60:.1f}"))  # fmt: skip
    return lines


def _ends(measured: Mapping[str, float]) -> str:
    return f"{measured['value']:.3f} [{measured['low']:.3f}, {measured['high']:.3f}]"


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(str(n) if n else "all" for n in sizes)


def _names(verdicts: Mapping[str, str], wanted: str) -> str:
    return ", ".join(name for name, said in verdicts.items() if said == wanted) or "none"
