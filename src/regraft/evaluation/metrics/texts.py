"""Metrics of generated texts: BLEU and chrF, as sacrebleu computes them.

Both are computed from counts over the corpus. sacrebleu counts each text once, and resamples add these counts (Koehn
2004, "Statistical significance tests for machine translation evaluation").

Sources: Papineni et al. 2002 (BLEU); Popović 2015, doi:10.18653/v1/W15-3049 (chrF); Post 2018, arXiv:1804.08771
(sacrebleu). Letters: n texts, b resamples, s counts.
"""

from functools import cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Figures, Metric, Tested
from regraft.errors import MissingExtra

ORDERS = 4
"""Maximum n-gram order of BLEU."""


@cache
def _counter(name: str) -> Any:
    """Return sacrebleu's `BLEU` or `CHRF` with its defaults."""
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise MissingExtra("sacrebleu", "text", "Measuring texts") from error
    made = getattr(sacrebleu.metrics, name)()
    made.num_refs = 1  # which the signature states
    return made


def counts(targets: Any, outputs: Any, name: str) -> Float[np.ndarray, "n s"]:
    """Return the statistics that sacrebleu counts in each text, against one reference each."""
    found = _counter(name)._extract_corpus_statistics(list(outputs), [list(targets)])  # noqa: SLF001 - its own bootstrap
    return np.array(found, dtype=np.float64).reshape(len(targets), -1)


def bleu(sums: Float[np.ndarray, "b s"]) -> Float[np.ndarray, " b"]:
    """Return BLEU from the summed counts: words of the outputs, words of the references, matching n-grams by order, all
    n-grams by order.

    If no n-gram of an order matches, half a match is assumed, for the next such order a quarter (sacrebleu's `exp`).
    """
    written, wanted, right, every = sums[:, 0], sums[:, 1], sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    nothing = (right == 0) & (every > 0)
    smoothed = np.where(nothing, 0.5 ** np.cumsum(nothing, axis=1), right)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.log(smoothed / every).mean(axis=1)
        short = np.where(written < wanted, 1 - wanted / written, 0.0)
        found = 100 * np.exp(mean + short)
    return np.where((right.sum(axis=1) == 0) | (every == 0).any(axis=1) | (written == 0), 0.0, found)


def chrf(sums: Float[np.ndarray, "b s"]) -> Float[np.ndarray, " b"]:
    """Return chrF from the summed counts, for each order: n-grams of the outputs, of the references, in both. Orders
    that one side lacks are left out."""
    written, wanted, both = np.moveaxis(sums.reshape(len(sums), -1, 3), 2, 0)
    there, weight = (written > 0) & (wanted > 0), _counter("CHRF").beta ** 2
    precision, recall = (
        (np.where(there, both, 0) / np.maximum(every, 1)).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        for every in (written, wanted)
    )
    divisor = weight * precision + recall
    return np.where(divisor > 0, 100 * (1 + weight) * precision * recall / np.where(divisor > 0, divisor, 1), 0.0)


def figures(tested: Tested) -> Figures:
    """Return how the metrics were computed."""
    told = [f"{name}: `{_counter(name).get_signature()}`." for name in ("BLEU", "CHRF")]
    return Figures(notes=(f"Texts are scored with sacrebleu. {' '.join(told)}",))


_metric = partial(Metric, higher_is_better=True, range=(0.0, 100.0), kinds=frozenset({"sequence"}))
KINDS = ("sequence",)
NAMES = ("bleu", "chrf")
ENTRIES = {
    "bleu": _metric(
        name="bleu", title="BLEU", main=frozenset({"sequence"}), statistics=partial(counts, name="BLEU"), value=bleu,
        figures=figures,
    ),
    "chrf": _metric(name="chrf", title="chrF", statistics=partial(counts, name="CHRF"), value=chrf),
}  # fmt: skip
