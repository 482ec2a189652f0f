"""Pairs of examples, and how well a similarity separates pairs of the same identity from pairs of different identities.

Letters: n examples, p pairs, b weightings, u distinct similarities.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.identity import derive_seed

MAX_PAIRS = 100_000
"""Maximum number of pairs; beyond it, pairs are drawn at random, those of the same identity first (our choice)."""
MIN_FALSE = 10
"""Minimum number of false accepts behind a threshold: at 1 % there must be 1,000 pairs of different identities."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """True and false accepts by decreasing threshold; the last value of each row is that of all pairs."""

    true: Float[np.ndarray, "b u"]
    false: Float[np.ndarray, "b u"]
    at: Float[np.ndarray, " u"]
    """Threshold: the lowest accepted similarity."""


def all_pairs(identities: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Return all pairs, or at most `MAX_PAIRS` of them: as many as possible of the same identity, then pairs of
    different identities drawn with a fixed seed."""
    left, right = np.triu_indices(len(identities), 1)
    if len(left) <= MAX_PAIRS:
        return left, right
    random = np.random.default_rng(derive_seed(0, "pairs", len(identities)))
    order = random.permutation(len(left))
    order = order[np.argsort(identities[left[order]] != identities[right[order]], kind="stable")]
    same = int((identities[left] == identities[right]).sum())
    chosen = np.concatenate([order[: min(same, MAX_PAIRS // 2)], order[same : same + MAX_PAIRS - MAX_PAIRS // 2]])
    return left[chosen], right[chosen]


def roc(alike: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], weights: Float[np.ndarray, "b p"]) -> Roc:
    """Return the curve under every weighting of the pairs."""
    order = np.argsort(-alike, kind="stable")
    ends = np.flatnonzero(np.diff(alike[order], append=-np.inf))
    each, truth = weights[:, order], same[order]
    true, false = (np.cumsum(each * kind, axis=1)[:, ends] for kind in (truth, ~truth))
    return Roc(true=true, false=false, at=alike[order][ends])


def shares(curve: Roc) -> tuple[Float[np.ndarray, "b u"], Float[np.ndarray, "b u"]]:
    """Return true and false accept rates, starting from zero; nan if there is no pair of that kind."""
    with np.errstate(invalid="ignore", divide="ignore"):
        made = (np.pad(one, ((0, 0), (1, 0))) / one[:, -1:] for one in (curve.true, curve.false))
        true, false = made
    return true, false


def auroc_of(curve: Roc) -> Float[np.ndarray, " b"]:
    """Return the probability that a pair of the same identity is more similar than one of different identities; ties
    count half."""
    true, false = shares(curve)
    area: Float[np.ndarray, " b"] = (np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1]) / 2).sum(axis=1)
    return area


def equal_error(curve: Roc) -> Float[np.ndarray, " b"]:
    """Return the equal error rate, at which the shares of false accepts and false rejects are equal."""
    true, false = shares(curve)
    apart = false + true - 1  # false accepts minus false rejects, as shares: rises from -1 to 1
    later = np.maximum((apart >= 0).argmax(axis=1), 1)
    rows = np.arange(len(apart))
    before, after = apart[rows, later - 1], apart[rows, later]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = -before / (after - before)
    found: Float[np.ndarray, " b"] = false[rows, later - 1] + share * (false[rows, later] - false[rows, later - 1])
    return found


def accepted_at(curve: Roc, limit: float) -> Float[np.ndarray, " b"]:
    """Return the largest true accept rate with a false accept rate of at most `limit`."""
    true, false = shares(curve)
    found = np.where(false <= limit, true, 0.0).max(axis=1)
    return np.where(np.isnan(true[:, -1] + false[:, -1]), np.nan, found)


def threshold_at(alike: Float[np.ndarray, " p"], same: Bool[np.ndarray, " p"], limit: float | None) -> float:
    """Return the lowest similarity threshold with a false accept rate of at most `limit`; with None, the one at which
    the shares of false accepts and false rejects are closest."""
    curve = roc(alike, same, np.ones((1, len(alike))))
    true, false = (one[0, 1:] for one in shares(curve))
    if limit is None:
        return float(curve.at[np.abs(false + true - 1).argmin()])
    fitting = curve.at[false <= limit]
    return float(fitting[-1]) if len(fitting) else float(np.nextafter(alike.max(), np.inf))
