"""Each class of plantvillage_tomato added to the five others, against a head retrained on all six.

    .venv/bin/python benchmarks/extension_table.py

One probe gives the features; heads of five classes are solved on them, extended and retrained. Writes
docs/results/extension.md. Takes a minute or two.
"""

import shutil
from collections.abc import Iterator

import numpy as np
from _sets import ROOT, SETS, UNPACKED

import regraft
from regraft.folds import folds
from regraft.tasks.linear import Solution, solve
from regraft.tasks.losses import Softmax
from regraft.tasks.rows import outputs_of

DATA = "plantvillage_tomato"
INPUT_PX = 64
PAGE = ROOT / "docs" / "results" / "extension.md"
WAYS = {
    "retrained on all": "a head solved anew on all six classes, the standard to come near to",
    "old examples": "what `regraft extend` does: the new rows solved against the old training examples",
    "held-out logits": "the same, old examples with logits of heads that did not see them",
    "drawn, pooled": "old features drawn from class means and one pooled covariance; a model would have to carry both",
    "drawn, 64 axes": "the same with that covariance's 64 leading axes and the rest feature by feature",
    "drawn, new spread": "old features drawn from the means a model carries (of length one) and the new class's spread",
}

INTRODUCTION = f"""The shipped GoogLeNet, {INPUT_PX} pixels, linear probes. Every class of
{DATA} in turn is added to a head of the five others, 70 training and 35 test
examples a class; means over the six, on test examples. `before` is the head of five on the old classes. One seed.
Made by `python benchmarks/extension_table.py`."""


def features() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features and targets of the training part, then of the test part."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    folder, out = SETS[DATA].open(), ROOT / "runs" / "extension"
    shutil.rmtree(out, ignore_errors=True)
    run = regraft.fit(folder, backbone="googlenet", input_px=INPUT_PX, out=out, quiet=True)
    found: list[np.ndarray] = []
    for part in ("train", "test"):
        paths = [path for name in run.model.classes for path in sorted((folder / part / name).iterdir())]
        found.append(run.model.features([run.model.prepare(path) for path in paths]))
        found.append(np.array([run.model.classes.index(path.parent.name) for path in paths]))
    return found[0], found[1], found[2], found[3]


def solved(rows: np.ndarray, targets: np.ndarray, classes: int) -> Solution:
    """A head as a probe solves it."""
    fold_of = folds(targets, None, 5, 1).of_example
    return solve(Softmax(targets, classes), rows, fold_of=fold_of)


def logits(head: Solution, rows: np.ndarray) -> np.ndarray:
    """What a head says of some rows."""
    return outputs_of(rows, head.weight, head.bias)


def drawn(means: np.ndarray, spread: np.ndarray, count: int) -> np.ndarray:
    """So many features around each mean, with the covariance of the rows of `spread`."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((len(means) * count, len(spread))) / np.sqrt(len(spread)) @ spread
    return (np.repeat(means, count, axis=0) + noise).astype(np.float32)


def leading(rows: np.ndarray, count: int) -> np.ndarray:
    """Rows whose covariance has the leading axes of that of `rows`, and the rest of its variances on the diagonal."""
    _, lengths, axes = np.linalg.svd(rows / np.sqrt(len(rows)), full_matrices=False)
    kept = lengths[:count, None] * axes[:count]
    rest = np.sqrt(np.maximum(np.square(rows).mean(axis=0) - np.square(kept).sum(axis=0), 0))
    together = np.concatenate([kept, np.diag(rest)])
    return together * np.sqrt(len(together))


def logits_of(train: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Way and logits of the examples asked for; the last of six classes is the one to add. The head of five first."""
    old = targets < 5
    head = solved(train[old], targets[old], 5)
    yield "before", logits(head, asked)
    yield "retrained on all", logits(solved(train, targets, 6), asked)
    known = logits(head, train)
    held_out = known.copy()
    held_out[old] = head.out_of_fold
    means = np.stack([train[targets == k].mean(axis=0) for k in range(5)])
    new = train[~old]
    unit = train / np.linalg.norm(train, axis=1, keepdims=True)
    short = np.stack([unit[targets == k].mean(axis=0) for k in range(5)])
    short *= np.linalg.norm(new.mean(axis=0)) / np.linalg.norm(short, axis=1, keepdims=True)
    inside = train[old] - means[targets[old]]
    axes = leading(inside, 64)
    alike = drawn(short, new - new.mean(axis=0), 70)
    sorted_targets = np.concatenate([np.repeat(np.arange(5), 70), np.full(len(new), 5)])
    pooled, few, alike = (
        np.concatenate([rows, new]) for rows in (drawn(means, inside, 70), drawn(means, axes, 70), alike)
    )
    for name, rows, known_logits, labels in (
        ("old examples", train, known, targets),
        ("held-out logits", train, held_out, targets),
        ("drawn, pooled", pooled, logits(head, pooled), sorted_targets),
        ("drawn, 64 axes", few, logits(head, few), sorted_targets),
        ("drawn, new spread", alike, logits(head, alike), sorted_targets),
    ):
        fold_of = folds(labels, None, 5, 2).of_example
        found = solve(Softmax(labels, 1, known_logits), rows, fold_of=fold_of)
        yield name, np.concatenate([logits(head, asked), logits(found, asked)], axis=1)


def page() -> str:
    """The table as Markdown."""
    train, train_targets, test, test_targets = features()
    scores: dict[str, list[tuple[float, ...]]] = {name: [] for name in WAYS}
    before = []
    for added in range(6):
        number = np.array([5 if k == added else k - (k > added) for k in range(6)])
        targets = number[test_targets]
        old = targets < 5
        for name, logits in logits_of(train, number[train_targets], test):
            said = logits.argmax(axis=1)
            right = said == targets
            if name == "before":
                before.append(right[old].mean())
            else:
                scores[name].append((right.mean(), right[old].mean(), right[~old].mean(), (said[old] == 5).mean()))
    lines = ["# A class added to a finished model", "", INTRODUCTION, ""]
    lines += ["| way | all | old classes | new class | old called new |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| before | | {np.mean(before):.3f} | | |"]
    lines += [f"| {name} | {' | '.join(f'{v:.3f}' for v in np.mean(rows, axis=0))} |" for name, rows in scores.items()]
    return "\n".join([*lines, "", *(f"* **{name}**: {meaning}." for name, meaning in WAYS.items())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
