"""Perplexity and bits per byte of language models, pooled over all tokens of the texts.

Perplexities are comparable between models with the same tokenizer; bits per byte between any two causal models (Gao et
al. 2020, arXiv:2101.00027, section 3.1). For a masked model both are computed on the masked tokens alone, given the
others: they are comparable between masked models, not with causal ones. Intervals resample texts.

Source: Jelinek et al. 1977, doi:10.1121/1.2016299 (perplexity). Letters: n texts, b resamples.
"""

from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Metric


def sums(targets: Any, outputs: Any) -> Float[np.ndarray, "n 3"]:
    """Return for each text the summed loss in nats, the number of predicted tokens, and their UTF-8 bytes."""
    return np.array([[one["nll"], one["tokens"], one["bytes"]] for one in outputs], dtype=np.float64).reshape(-1, 3)


def perplexity(totals: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, " b"]:
    """Return the exponential of the mean loss; nan if no token was predicted."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.exp(totals[:, 0] / totals[:, 1])


def bits_per_byte(totals: Float[np.ndarray, "b 3"]) -> Float[np.ndarray, " b"]:
    """Return the loss in bits per byte of the tokens, including the spaces before them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return totals[:, 0] / np.log(2) / totals[:, 2]


_metric = partial(
    Metric, higher_is_better=False, kinds=frozenset({"language"}), statistics=sums, undefined="no token is predicted"
)
KINDS = ("language",)
NAMES = ("bits_per_byte", "perplexity")
ENTRIES = {
    "perplexity": _metric(
        name="perplexity", title="Perplexity", range=(1.0, np.inf), main=frozenset({"language"}), value=perplexity
    ),
    "bits_per_byte": _metric(name="bits_per_byte", title="Bits per byte", range=(0.0, np.inf), value=bits_per_byte),
}
