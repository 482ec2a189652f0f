"""Metrics of texts that were written: BLEU and chrF, as sacrebleu counts and computes them.

Both are computed from counts over the corpus. The counts of each text are taken once, by sacrebleu, and resamples add
them up (Koehn 2004, "Statistical significance tests for machine translation evaluation").

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
"""Words of the longest sequences that BLEU counts."""


@cache
def _counter(name: str) -> Any:
    """sacrebleu's `BLEU` or `CHRF` with its defaults."""
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise MissingExtra("sacrebleu", "text", "Measuring texts") from error
    made = getattr(sacrebleu.metrics, name)()
    made.num_refs = 1  # which the signature states
    return made


def counts(targets: Any, outputs: Any, name: str) -> Float[np.ndarray, "n s"]:
    """What sacrebleu counts in each text, against one reference each."""
    found = _counter(name)._extract_corpus_statistics(list(outputs), [list(targets)])  # noqa: SLF001 - its own bootstrap
    return np.array(found, dtype=np.float64).reshape(len(targets), -1)


def bleu(sums: Float[np.ndarray, "b s"]) -> Float[np.ndarray, " b"]:
    """From the sums of: words written, words of the references, sequences that are right by length, all by length.

    Where none of some length is right, half of one is taken to be, then a quarter (sacrebleu's `exp`).
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
    """From the sums of, for each length: sequences written, of the references, in both; lengths that one side lacks do
    not count."""
    written, wanted, both = np.moveaxis(sums.reshape(len(sums), -1, 3), 2, 0)
    there, weight = (written > 0) & (wanted > 0), _counter("CHRF").beta ** 2
    precision, recall = (
        (np.where(there, both, 0) / np.maximum(every, 1)).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        for every in (written, wanted)
    )
    divisor = weight * precision + recall
    return np.where(divisor > 0, 100 * (1 + weight) * precision * recall / np.where(divisor > 0, divisor, 1), 0.0)


def figures(tested: Tested) -> Figures:
    """How it was counted."""
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
