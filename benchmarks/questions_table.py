"""Questions: MiniLM by partial and full fine-tuning against random weights, on squad_small.

    python benchmarks/questions_table.py --minutes 25

Makes cells in order of value, each as `regraft fit` would, until the minutes of CPU time are used; a run that was
stopped goes on where it was. What a cell gave for each test question is kept in benchmarks/rows/questions.jsonl, and is
not made again. Says first what is left and about how long it takes. Writes docs/results/questions.md, where cells that
were not run are marked. Options were fixed beforehand; nothing is chosen by the test split.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _cells import Cell, spend
from _kept import FOLDER, Rows
from _markdown import head, line, told
from _sets import ROOT, SHARED

from regraft.evaluation.metrics.answers import each
from regraft.reports.report import read_report
from regraft.tasks.answers import exact, overlap
from regraft.workbench.run import read_predictions

DATA, RUNS = SHARED / "data" / "squad_small", ROOT / "runs" / "questions"
PAGE = ROOT / "docs" / "results" / "questions.md"
WAYS = {
    "partial": {"options.lr": 3e-4, "options.epochs": 4, "options.batch": 16, "options.min_steps": 0},
    "full": {"options.lr": 1e-4, "options.epochs": 4, "options.batch": 16, "options.min_steps": 0},
}
WEIGHTS = {"package": "MiniLM", "random": "random weights"}
SECONDS = {"partial": 750, "full": 1500}
"""CPU seconds of a cell, about, on one core."""
INTRO = """
Made by `python benchmarks/questions_table.py`, which makes cells in order of value for as many CPU minutes as it is
given; cells that were not run are marked. squad_small: 789 questions of 32 articles to train and to validate on,
401 questions of 16 other articles to test on. Windows of 256 tokens, four epochs, batches of 16; rates were fixed
beforehand (`WAYS` in the script). F1 and exact match are those of the official evaluation. In brackets: 95 %
intervals that resample articles and seeds.
"""
BESIDE = """
The sentence of the context that is most like the question, given whole, has an F1 of {sentence}. The head alone on
the untouched network (the probe beside a partial run): {heads}.
"""
SEEDS, RESAMPLES = (0, 1, 2), 4000
Row = Mapping[str, Any]
NAMES = ("way", "weights", "seed")


def seconds_of(cell: Cell) -> float:
    """About how many CPU seconds a cell takes."""
    return 0.0 if (RUNS / "-".join(map(str, cell)) / "report.json").is_file() else SECONDS[cell[0]]


def cells() -> list[Cell]:
    """Every cell, a pair that can be compared after another."""
    return [(way, weights, seed) for seed in SEEDS for way in WAYS for weights in WEIGHTS]


def made(cell: Cell) -> Row:
    """What the cell's row holds."""
    way, weights, seed = cell
    out = RUNS / f"{way}-{weights}-{seed}"
    settings = [f"--set={name}={value}" for name, value in {**WAYS[way], "threads": 1}.items()]
    command = [sys.executable, "-m", "regraft", "fit", str(DATA), "--backbone", f"minilm_l6@{weights}"]
    command += ["--strategy", way, "--seed", str(seed), "--out", str(out), *settings]
    command += ["--resume"] if (out / "recipe.toml").is_file() and not (out / "report.json").is_file() else []
    if not (out / "report.json").is_file():
        print("regraft", *command[3:], flush=True)
        subprocess.run(command, check=True)
    report, found = read_report(out), read_predictions(out / "predictions.csv", "test", "span")
    (sentence,) = report.baselines
    return {
        "groups": list(found.groups),
        "f1": np.round(each(found.targets, found.outputs, overlap), 4).tolist(),
        "exact": each(found.targets, found.outputs, exact).astype(int).tolist(),
        "seconds": round(sum(phase.cpu_seconds for phase in report.phases)),
        "sentence": sentence.evaluation.metrics["answer_f1"].told(),
        "head": report.probe.evaluation.metrics["answer_f1"].told() if report.probe else "",
    }  # fmt: skip


def interval(values: np.ndarray, groups: Sequence[str]) -> str:
    """The mean over seeds and questions (seeds, n), with a 95 % interval that resamples articles and seeds."""
    random, (seeds, _) = np.random.default_rng(0), values.shape
    _, article = np.unique(groups, return_inverse=True)
    count = int(article.max()) + 1
    sums = np.stack([np.bincount(article, weights=one, minlength=count) for one in values])
    sizes, means = np.bincount(article, minlength=count), []
    for _ in range(RESAMPLES):
        picked = random.integers(0, count, count)
        means.append(sums[random.integers(0, seeds, seeds)][:, picked].mean(axis=0).sum() / sizes[picked].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def page(rows: Sequence[Row]) -> str:
    """The page in Markdown."""
    table = head("", "weights", "F1", "exact match", "seeds", "CPU minutes of a run")
    differences, said = list[str](), dict[tuple[str, str], dict[int, Row]]()
    for row in rows:
        said.setdefault((row["way"], row["weights"]), {})[row["seed"]] = row
    for way in WAYS:
        for weights, title in WEIGHTS.items():
            own = list(said.get((way, weights), {}).values())
            if not own:
                table.append(line(way, title, "not run", "not run", 0, "–"))
                continue
            f1, same = (interval(np.array([one[key] for one in own]), own[0]["groups"]) for key in ("f1", "exact"))
            table.append(line(way, title, f1, same, len(own), f"{np.mean([one['seconds'] for one in own]) / 60:.0f}"))
        pair = [said.get((way, weights), {}) for weights in WEIGHTS]
        if seeds := sorted(set(pair[0]) & set(pair[1])):
            less = np.array([np.subtract(pair[0][seed]["f1"], pair[1][seed]["f1"]) for seed in seeds])
            groups = pair[0][seeds[0]]["groups"]
            differences.append(f"* {way}, MiniLM less random weights: F1 {interval(less, groups)}, seeds {len(seeds)}")
    beside = "Nothing was run yet."
    if rows:
        heads = [f"{title} {found[min(found)]['head']}" for way, title in WEIGHTS.items() for found in _of(said, way)]
        beside = told(BESIDE.strip(), sentence=rows[0]["sentence"], heads="; ".join(heads))
    against = "\n".join(differences) or "No pair was run."
    return "\n\n".join(["# Questions", told(INTRO.strip()), "\n".join(table), against, beside]) + "\n"


def _of(said: Mapping[tuple[str, str], dict[int, Row]], weights: str) -> list[dict[int, Row]]:
    """The partial runs from some weights, by seed; none, or the one."""
    return [found for key, found in said.items() if key == ("partial", weights)]


def main() -> None:
    """Make cells, then the page."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--minutes", type=float, default=25, help="of CPU time")
    minutes, kept = asked.parse_args().minutes, Rows(FOLDER / "questions.jsonl")
    have = {(row["way"], row["weights"], row["seed"]) for row in kept.rows}
    todo = [cell for cell in cells() if cell not in have]
    print(f"{len(todo)} cells left, about {sum(SECONDS[way] for way, _, _ in todo) / 60:.0f} CPU minutes; "
          f"at most {minutes:g} are spent.", flush=True)  # fmt: skip
    spend(kept, cells(), NAMES, made, seconds_of, minutes=minutes)
    PAGE.write_text(page(kept.rows), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
