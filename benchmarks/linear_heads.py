"""What solving a linear head costs, and against another checkout: a line per size with the ratio of the medians.

    OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/linear_heads.py [--against OTHER/src] [--rounds 3] [--only TEXT]

Features are drawn like pooled activations: never negative, correlated, their variances falling as a power of the rank.
Each size is solved with five folds to choose the penalty by (`solve`), and cross-validated once with the penalty chosen
again without each fold (`cross-validate`). With `--against` both packages live in this process and take turns, A B A B,
and a line says besides whether both chose the same penalties, and how far the held-out outputs are apart at most.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np

FOLDS = 5


@dataclass(frozen=True)
class Size:
    """A problem to time."""

    kind: str
    rows: int
    width: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.kind} {self.rows}x{self.width}x{self.outputs}"


SIZES = (
    Size("classification", 244, 1024, 2),
    Size("classification", 500, 2048, 5),
    Size("classification", 2000, 1024, 10),
    Size("classification", 10_000, 1024, 38),
    Size("multilabel", 1000, 1024, 20),
    Size("multilabel", 3000, 1024, 10),
    Size("ordinal", 500, 1024, 5),
    Size("regression", 500, 1024, 1),
    Size("regression", 4000, 1024, 1),
)


class Checkout:
    """The package of one source folder, imported beside others of the same name."""

    def __init__(self, source: Path) -> None:
        self._source, self._modules = source, dict[str, ModuleType]()

    @contextmanager
    def active(self) -> Iterator[None]:
        """While this lasts, `regraft` is the package of this folder."""
        others = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "regraft"}
        sys.modules |= self._modules
        sys.path.insert(0, str(self._source))
        try:
            yield
        finally:
            sys.path.remove(str(self._source))
            ours = [name for name in sys.modules if name.partition(".")[0] == "regraft"]
            self._modules = {name: sys.modules.pop(name) for name in ours}
            sys.modules |= others


def drawn(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Features and encoded targets."""
    random = np.random.default_rng(0)
    scales = np.arange(1, size.width + 1) ** -0.7
    answers = random.integers(size.outputs, size=size.rows)
    hidden = (
        random.standard_normal((size.rows, size.width))
        + 0.7 * random.standard_normal((size.outputs, size.width))[answers]
    )
    mixing = random.standard_normal((size.width, size.width)) / np.sqrt(size.width)
    features = np.maximum((hidden * scales) @ mixing + 0.05, 0).astype(np.float32)
    if size.kind in ("classification", "ordinal"):
        return features, answers
    told = hidden[:, :40] @ random.standard_normal((40, size.outputs)) / 6 + random.standard_normal(
        (size.rows, size.outputs)
    )
    return features, told if size.kind == "regression" else (told > 0.7).astype(np.float32)


def solver(size: Size, verb: str) -> Callable[[], Any]:
    """What is timed: it returns the penalties that were chosen, and the held-out outputs."""
    features, targets = drawn(size)
    names = [f"class {i:02d}" for i in range(size.outputs)]
    task = import_module("regraft.contracts.task").TASKS.get(size.kind)(names).prepared(targets)
    linear, loss = import_module("regraft.tasks.linear"), task.solved_loss(targets)
    fold_of = task.deal(targets, None, FOLDS, 1).of_example

    def solve() -> tuple[list[float], np.ndarray]:
        found = linear.solve(loss, features, fold_of=fold_of)
        return [found.facts["c"]], task.outputs(found.out_of_fold)

    def cross_validate() -> tuple[list[float], np.ndarray]:
        found = list(linear.cross_validate(loss, features, fold_of_repeats=[fold_of], max_seconds=60.0))
        return [one.c for one in found], np.concatenate([task.outputs(one.logits) for one in found])

    return solve if verb == "solve" else cross_validate


def line(size: Size, verb: str, checkouts: list[Checkout], rounds: int) -> str:
    """One line of the table."""
    runs, results, seconds = [], list[Any](), [list[float]() for _ in checkouts]
    for checkout in checkouts:
        with checkout.active():
            runs.append(solver(size, verb))
    for turn in range(rounds + 1):
        results = []
        for checkout, run, spent in zip(checkouts, runs, seconds, strict=True):
            with checkout.active():
                began = time.process_time()
                results.append(run())
                if turn or rounds == 1:  # The first turn warms up.
                    spent.append(time.process_time() - began)
        if rounds == 1:
            break
    told = f"{size!s:32} {verb:15} {median(seconds[0]):9.3f} s"
    if len(checkouts) == 1:
        return told
    (chosen, said), (others, compared) = results
    same = "same penalties" if np.allclose(chosen, others) else f"penalties {chosen} {others}"
    ratio = median(seconds[0]) / median(seconds[1])
    return f"{told} {median(seconds[1]):9.3f} s  ratio {ratio:5.2f}  {same}, {np.abs(said - compared).max():.1e} apart"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="source folder of another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only sizes whose name holds this")
    asked = parser.parse_args()
    own = Checkout(Path(__file__).resolve().parent.parent / "src")
    checkouts = [own, Checkout(asked.against)] if asked.against else [own]
    for size in SIZES:
        for verb in ("solve", "cross-validate"):
            if asked.only in f"{size} {verb}":
                print(line(size, verb, checkouts, asked.rounds), flush=True)


if __name__ == "__main__":
    main()
