"""Mean accuracy of linear probes over the target tasks, for several backbones at several input sizes.

    .venv/bin/python benchmarks/probe_table.py --backbone googlenet --backbone short=googlenet:torchvision@file:PATH
        [--px 64 96] [--per-class 10 50 0] [--seeds 5] [--inside | --cards] [--page FILE] [--rows FILE] [--only-write]

A backbone is what `regraft fit --backbone` takes: a name, weights in a file, a run's folder; `LABEL=` in front names it
on the page. The first one is what the others are compared with. `--inside` judges on training examples that were left
out, in grouped folds, and touches no test part: for choosing a recipe or an input size. Without it the sets' own test
parts judge: for proof; with `--cards` the means of the networks that are shipped, and how far they are ahead of the
others, go into their cards as well, so that cards and page say the same. Resumable: rows are kept. Writes
docs/results/probe.md, or probe_inside.md.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _draws import drawn
from _kept import FOLDER, Kept, packed
from _probe_card import carded, figures, side_of, write_figures
from _probe_page import Page, command_of, page
from _problems import network, posed, returned
from _sets import ROOT, SHARED, UNPACKED
from _targets import TARGETS

from regraft.contracts.strategy import Problem
from regraft.strategies import probe
from regraft.workbench._evaluation import deal

RESULTS = ROOT / "docs" / "results"
FOLDS = 3
"""Of which each is left out in turn, inside the training part."""
OPEN_S, PROBE_S, DIGITS_S = 3.0, 0.15, 1.5
"""Seconds of a set's features at 64 pixels (they grow like the area), of a probe, and of one of ten classes."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One backbone at one size on one set."""

    label: str
    """The backbone's name on the page."""
    spec: str
    """What opens it."""
    weights: str
    """Digest of what it opened."""
    px: int
    """Side of the input."""
    data: str
    """Name of the set."""
    inside: bool
    """Whether training examples that were left out judge, instead of the test part."""

    @property
    def key(self) -> dict[str, Any]:
        """What names its rows, beside what differs between draws."""
        return {"label": self.label, "weights": self.weights, "px": self.px, "set": self.data, "inside": self.inside}


def measure(work: Work, draws: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """The rows of the draws (examples a class, seed) that are asked for."""
    began = time.monotonic()
    problem, test = posed(work.data, "output", 1, spec=work.spec, input_px=work.px)
    opened = time.monotonic() - began
    judged = problem.train if work.inside else test
    found = []
    for per_class, seed in draws:
        began = time.monotonic()
        right = _right(problem, judged, per_class, seed, inside=work.inside)
        found.append({**work.key, "per_class": per_class, "seed": seed, "right": packed(right),
                      "open_s": round(opened, 2), "seconds": round(time.monotonic() - began, 2)})  # fmt: skip
    units = np.unique(problem.groups[judged], return_inverse=True)[1].tolist()
    return [{"judged": work.data, "inside": work.inside, "units": units}, *found]


def _right(problem: Problem, judged: np.ndarray, per_class: int, seed: int, *, inside: bool) -> np.ndarray:
    """Whether each judged example is labelled right by a probe that never saw it, nor its group."""
    problem = replace(problem, seed=seed)
    fold_of = deal(problem, FOLDS, 0) if inside else np.zeros(len(judged), dtype=np.int64)
    right = np.zeros(len(judged), dtype=bool)
    for fold in np.unique(fold_of):
        held = fold_of == fold
        known = problem.train[~held] if inside else problem.train
        chosen = drawn(problem.targets, problem.groups, known, per_class, seed)
        part = replace(problem, train=chosen)
        logits = returned(probe.fit(part, probe.Options())).logits(part, judged[held])
        right[held] = logits.argmax(axis=1) == problem.targets[judged[held]]
    return right


def named(text: str) -> tuple[str, str]:
    """Label and spec of `LABEL=SPEC` or `SPEC`; folders are no part of a label that we make."""
    label, equals, spec = text.partition("=")
    if equals:
        return label, spec
    start, colon, path = text.rpartition(":")
    whole = Path(path)
    name = whole.parent.name if whole.name == "model" else whole.name
    return (f"{start}{colon}{name}" if "/" in path else text), text


def backbones_of(texts: list[str]) -> dict[str, str]:
    """Specs by label.

    Raises:
        SystemExit: two have one label.
    """
    found = list(map(named, texts))
    if len(dict(found)) < len(found):
        labels = ", ".join(label for label, _ in found)
        raise SystemExit(f"Backbones need labels that differ; these are {labels}. Write LABEL=SPEC.")
    return dict(found)


def run(kept: Kept, todo: list[tuple[Work, list[tuple[int, int]]]], jobs: int) -> None:
    """Measure what is missing; the estimate is printed first."""
    cost = sum((work.px / 64) ** 2 * OPEN_S + len(draws) * (DIGITS_S if work.data == "digits" else PROBE_S)
               * (FOLDS if work.inside else 1) for work, draws in todo) / jobs  # fmt: skip
    print(f"{len(todo)} times a backbone at a size on a set: about {cost / 60:.1f} min", flush=True)
    if not todo:
        return
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # read where a worker starts
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        works, draws = zip(*todo, strict=True)
        for work, (judged, *rows) in zip(works, pool.map(measure, works, draws), strict=True):
            kept.add(*rows, *([] if kept.where(**judged) else [judged]))
            seconds = rows[0]["open_s"] + sum(row["seconds"] for row in rows)
            print(f"{work.label} {work.px} px {work.data}: {seconds:.0f} s", flush=True)


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", action="append", required=True, metavar="[LABEL=]SPEC")
    parser.add_argument("--px", type=int, nargs="+", default=[64], help="sides of the input, in pixels")
    parser.add_argument("--data", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--per-class", type=int, nargs="+", default=[10, 50, 0], help="training examples; 0: all")
    parser.add_argument("--seeds", type=int, default=5)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--inside", action="store_true", help="judge inside the training parts")
    where.add_argument("--cards", action="store_true", help="put figures into the cards of shipped networks")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with one thread")
    parser.add_argument("--rows", type=Path, default=FOLDER / "probe.jsonl")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--only-write", action="store_true")
    given = parser.parse_args()
    backbones, kept = backbones_of(given.backbone), Kept(given.rows)
    shipped_ones = carded(list(backbones), given.px) if given.cards else {}
    draws = [(per_class, seed) for per_class in given.per_class for seed in range(given.seeds)]
    if given.only_write:
        weights = {row["label"]: row["weights"] for row in kept.rows if row.get("label") in backbones}
        weights = {label: weights.get(label, "") for label in backbones}
    else:
        if not SHARED.is_dir():
            raise SystemExit(f"{SHARED} is not there: this table needs the shared data sets.")
        weights = {label: network(spec).digest() for label, spec in backbones.items()}
        works = [Work(label=label, spec=spec, weights=weights[label], px=px, data=data, inside=given.inside)
                 for label, spec in backbones.items() for px in given.px for data in given.data]  # fmt: skip
        UNPACKED.mkdir(parents=True, exist_ok=True)
        for data in given.data:
            TARGETS[data].open()
        missing = [(work, [draw for draw in draws if not kept.where(**work.key, per_class=draw[0], seed=draw[1])])
                   for work in works]  # fmt: skip
        run(kept, [(work, some) for work, some in missing if some], given.jobs)
    if given.cards:
        found, command = Page(kept, weights, given.data, draws, inside=False), command_of(weights, given.px, draws)
        for label, shipped in shipped_ones.items():
            if weights[label] != network(label).digest():
                raise SystemExit(
                    f"The rows of {label} are of other weights than those that are shipped: measure again."
                )
            write_figures(shipped, figures(found, label, side_of(shipped), command))
    path = given.page or RESULTS / ("probe_inside.md" if given.inside else "probe.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(kept, weights, given.px, given.data, draws, inside=given.inside))
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
