"""The page of benchmarks/text_table.py: a table of accuracies over three seeds, and differences from TF-IDF."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _markdown import head, line, told

NAMES = {
    "tfidf": "TF-IDF", "probe": "probe", "partial": "partial", "lora": "LoRA", "full": "full (LP-FT)",
    "scratch": "from scratch",
}  # fmt: skip
SIZES = {8: "8", 32: "32", 128: "128", 2000: "at most 2,000"}
SEEDS = 3
RESAMPLES = 4000
INTRO = """
# Few labelled texts

Accuracy on the whole test split (1,000 texts) of models trained on 8, 32, 128 or at most 2,000 texts per class,
sampled from the training split by seed; mean over three seeds, with 95 % intervals that resample test texts and seeds.
All start from `minilm_l6@package`, except `scratch`, which has its architecture and tokenizer. Learning rates and steps
were fixed beforehand (`WAYS` in the script); nothing was chosen on the test split. TF-IDF is logistic regression on
words and word bigrams, its penalty chosen by cross-validation on the training texts.

    python benchmarks/text_table.py --data ../shared/data --out build/text --minutes 20
"""
ROW = Mapping[str, Any]


def page(rows: Sequence[ROW]) -> str:
    """The page in Markdown; cells that were not made are said to be so."""
    parts = [INTRO.strip()]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        table = head("texts per class", *NAMES.values())
        for size, title in SIZES.items():
            table.append(
                line(title, *(_cell([one for one in own if (one["size"], one["way"]) == (size, way)]) for way in NAMES))
            )
        parts += [f"## {name}", "\n".join(table), *_differences(own)]
    spent = sum(row["seconds"] for row in rows if row["way"] != "tfidf") / 60
    missing = "Cells with – were not run; a number in parentheses is that of the seeds, if fewer than three."
    took = "The runs took {spent:.0f} CPU minutes on one core of the build machine, shared with other work."
    parts.append(told("{missing} " + took, missing=missing, spent=spent))
    return "\n\n".join(parts) + "\n"


def _rights(rows: Sequence[ROW]) -> np.ndarray:
    """Whether each test text is classified correctly, by seed (seeds, texts)."""
    return np.array([[int(one) for one in row["right"]] for row in rows], dtype=np.float64)


def _cell(rows: Sequence[ROW]) -> str:
    if not rows:
        return "–"
    value, low, high = _interval(_rights(rows))
    seeds = "" if len(rows) == SEEDS else f" ({len(rows)})"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]{seeds}"


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and a 95 % interval over seeds and texts: both are resampled."""
    random = np.random.default_rng(0)
    seeds, texts = values.shape
    means = [
        values[random.integers(0, seeds, seeds)][:, random.integers(0, texts, texts)].mean() for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _differences(rows: Sequence[ROW]) -> list[str]:
    """Each strategy minus TF-IDF on the same texts and seeds."""
    said = []
    for size, title in SIZES.items():
        plain = {row["seed"]: row for row in rows if (row["size"], row["way"]) == (size, "tfidf")}
        for way in list(NAMES)[1:]:
            both = [row for row in rows if (row["size"], row["way"]) == (size, way) and row["seed"] in plain]
            if both:
                value, low, high = _interval(_rights(both) - _rights([plain[row["seed"]] for row in both]))
                said.append(f"* {title} per class, {NAMES[way]} minus TF-IDF: {value:+.3f} [{low:+.3f}, {high:+.3f}]")
    return ["\n".join(said)] if said else []
