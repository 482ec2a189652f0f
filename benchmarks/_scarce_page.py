"""The page and the plot of the study of scarce data."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _scarce_runs import STEPS

from regraft.files import write_text

Cells = Mapping[tuple[str, str, int], Mapping[int, Mapping[str, Any]]]
"""(arm, data set, examples a class) -> outcome by seed."""
Scores = Mapping[str, Sequence[tuple[Mapping[str, Any], float | None]]]
"""arm -> (options, accuracy on training examples left out) of what was tried."""
RESAMPLES = 2000

INTRODUCTION = f"""GoogLeNet (torchvision's network) with the shared short checkpoint (top-1 20.8 % on its own 393
classes), 64 pixels, full fine-tuning: {STEPS} optimizer steps of at most 32 examples, a new view every epoch, no
validation. Of every class 5, 10 or 20 training examples are drawn by the seed (the larger draw holds the smaller);
every arm gets the same examples in the same order and the same views. Judged on the sets' own test parts.

`against plain` is the paired difference in accuracy, on the same test examples and seeds. Its interval is a 95 %
percentile bootstrap that draws seeds and test examples independently of each other ({RESAMPLES} times), so it covers
both which examples one happens to have and which one is tested on; five seeds are few, so it is rather too narrow than
too wide. `won` counts the seeds in which the arm is more accurate than plain fine-tuning, `lower log loss` those in
which its log loss (nats, before any calibration) is lower. `co_tuning unrelated` is a control: the same term, but every
target class has the same relationship, the mean of what the source classifier says of all examples; what it gains is
not owed to knowing which source classes a target class resembles. Made by `python benchmarks/scarce_study.py`."""

TOLD = """Log loss (nats) of Co-Tuning's regression from the source classifier's probabilities to the target classes, on
training examples left out; mean over seeds. Guessing has log loss log 6 = 1.792 on plantvillage_tomato, log 2 = 0.693
on hymenoptera."""

CHOSEN = """## What was chosen, and on what

Nothing is chosen on test parts. Rate and policy of batch norm are those with which *plain* fine-tuning is most accurate
on training examples that were not drawn (10 a class, two other seeds, both sets, every run weighing the same); all
regularisers share them. Co-Tuning has its published weight, and in rows of its own a tenth of it; for the others the
factor on the published weight is chosen in the same way.

What moved while the study was made: the steps went from 100 to 60 and the lowest rate (1e-4) was dropped for time,
after three runs that were judged on training examples only. The control was thought of after Co-Tuning's results on the
test parts were seen, to explain them; it chose nothing.
"""


def write_page(
    cells: Cells,
    chosen: Mapping[str, Sequence[tuple[str, Any]]],
    scores: Scores,
    folder: Path,
    *,
    seeds: Sequence[int],
    found: str,
) -> Path:
    """Write `scarce.md` and `scarce.svg` into `folder`; returns the path of the page."""
    arms = [arm for arm in chosen if arm not in ("probe", "plain")]
    where = sorted({(data, per_class) for _, data, per_class in cells})
    lines = ["# Scarce data: regularisers against plain fine-tuning", "", INTRODUCTION, ""]
    lines += ["| set | a class | arm | seeds | test accuracy | log loss | against plain | won | lower log loss |",
              "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for data, per_class in where:
        lines += [_row(cells, arm, data, per_class, seeds) for arm in ("probe", "plain", *arms)]
    lines += ["", "Over both sets and the three sizes, every one of the six weighing the same, against plain:", ""]
    lines += [f"* {arm}: {_pooled(cells, arm, where)}" for arm in ("probe", *arms)]
    lines += ["", "![differences to plain fine-tuning by examples a class](scarce.svg)", "", CHOSEN]
    lines += [*_choices(scores, chosen), "", *_relations(cells, where), "", found]
    write_text(folder / "scarce.md", "\n".join(lines).rstrip() + "\n")
    write_text(folder / "scarce.svg", _plot(cells, arms, where))
    return folder / "scarce.md"


def _row(cells: Cells, arm: str, data: str, per_class: int, seeds: Sequence[int]) -> str:
    done = cells[arm, data, per_class]
    start = f"| {data} | {per_class} | {arm} |"
    if not done:
        return f"{start} not run | | | | | |"
    mark = "" if len(done) == len(seeds) else f" of {len(seeds)}"
    accuracy = np.mean([np.mean(one["right"]) for one in done.values()])
    loss = np.mean([one["log_loss"] for one in done.values()])
    row = f"{start} {len(done)}{mark} | {accuracy:.3f} | {loss:.3f} |"
    gaps = paired(cells, arm, data, per_class)
    if arm == "plain" or not len(gaps):
        return f"{row} | | |"
    means, plain = gaps.mean(axis=1), cells["plain", data, per_class]
    lower = [one["log_loss"] < plain[seed]["log_loss"] for seed, one in done.items() if seed in plain]
    shown = _shown(gaps.mean(), bootstrap([gaps]))
    return f"{row} {shown} | {int((means > 0).sum())} of {len(means)} | {sum(lower)} of {len(lower)} |"


def paired(cells: Cells, arm: str, data: str, per_class: int) -> np.ndarray:
    """Right minus plain's right, by seed and test example; empty where no seed has both."""
    mine, plain = cells[arm, data, per_class], cells["plain", data, per_class]
    both = sorted(mine.keys() & plain.keys())
    rights = [np.subtract(mine[seed]["right"], plain[seed]["right"], dtype=float) for seed in both]
    return np.array(rights)


def bootstrap(tables: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """Ends of the interval of the mean of the tables' means; tables (seeds, examples) of one size share what is drawn.
    None with fewer than three seeds."""
    if min(len(table) for table in tables) < 3:
        return None
    random = np.random.default_rng(0)
    means = np.zeros(RESAMPLES)
    for at in range(RESAMPLES):
        draws: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        for table in tables:
            seeds, examples = draws.setdefault(
                table.shape, (random.integers(table.shape[0], size=table.shape[0]),
                              random.integers(table.shape[1], size=table.shape[1]))
            )  # fmt: skip
            means[at] += table[seeds][:, examples].mean() / len(tables)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _pooled(cells: Cells, arm: str, where: Sequence[tuple[str, int]]) -> str:
    tables = [paired(cells, arm, data, per_class) for data, per_class in where]
    if not all(len(table) for table in tables):
        return "not all run"
    shared = min(len(table) for table in tables)
    tables = [table[:shared] for table in tables]
    mean = float(np.mean([table.mean() for table in tables]))
    positive = sum(table.mean() > 0 for table in tables)
    return f"{_shown(mean, bootstrap(tables))}, above plain in {positive} of {len(tables)} ({shared} seeds)"


def _shown(mean: float, ends: tuple[float, float] | None) -> str:
    return f"{mean:+.3f} " + (f"[{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "(fewer than three seeds)")


def _choices(scores: Scores, chosen: Mapping[str, Sequence[tuple[str, Any]]]) -> list[str]:
    lines = ["| arm | tried | accuracy on training examples left out |", "| --- | --- | --- |"]
    for arm, tried in scores.items():
        for options, accuracy in tried:
            named = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in options.items() if arm == "plain" or name == "regulariser_weight"]  # fmt: skip
            mark = ", chosen" if accuracy is not None and dict(chosen[arm]) == dict(options) else ""
            lines.append(f"| {arm} | {', '.join(named)} | "
                         f"{'not run' if accuracy is None else f'{accuracy:.3f}'}{mark} |")  # fmt: skip
    return lines


def _relations(cells: Cells, where: Sequence[tuple[str, int]]) -> list[str]:
    """What the source classifier tells of the target classes, by Co-Tuning's own regression."""
    lines = ["## What the source classes say of the target classes", "", TOLD, "",
             "| set | a class | log loss | regularisation C, by seed |", "| --- | --- | --- | --- |"]  # fmt: skip
    for data, per_class in where:
        facts = [one["facts"] for _, one in sorted(cells["co_tuning", data, per_class].items())]
        if facts:
            strengths = ", ".join(f"{fact['c']:g}" for fact in facts)
            lines.append(f"| {data} | {per_class} | {np.mean([f['log_loss'] for f in facts]):.3f} | {strengths} |")
        else:
            lines.append(f"| {data} | {per_class} | not run | |")
    return lines


def _plot(cells: Cells, arms: Sequence[str], where: Sequence[tuple[str, int]]) -> str:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    with mpl.rc_context({"svg.hashsalt": "regraft", "svg.fonttype": "none"}):
        sets = sorted({data for data, _ in where})
        figure, all_axes = pyplot.subplots(1, len(sets), figsize=(9, 3.6), sharey=True)
        for axes, data in zip(all_axes, sets, strict=True):
            sizes = [per_class for name, per_class in where if name == data]
            for number, arm in enumerate(("probe", *arms)):
                for at, size in enumerate(sizes):
                    gaps = paired(cells, arm, data, size)
                    ends = bootstrap([gaps]) if len(gaps) else None
                    if ends:
                        place, mean = at + 0.13 * (number - len(arms) / 2), gaps.mean()
                        axes.errorbar(place, mean, [[max(0.0, mean - ends[0])], [max(0.0, ends[1] - mean)]], fmt="o",
                                      color=f"C{number}", label=arm if at == 0 else None, capsize=2)  # fmt: skip
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
            axes.set(title=data, xlabel="training examples a class")
        all_axes[0].set_ylabel("accuracy against plain")
        marks = all_axes[-1].get_legend_handles_labels()
        if marks[0]:
            figure.legend(*marks, frameon=False, fontsize="small", loc="lower center", ncols=4)
        figure.tight_layout(rect=(0, 0.14, 1, 1))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
