"""LogME: the evidence of a Bayesian linear regression from features to each class, by example, its mean over classes.

Source: You et al. 2021, arXiv:2102.11005, algorithm 1; the fixed point of alpha and beta after MacKay 1992. Features
are used as they are, without an intercept, as there.
"""

import numpy as np
from jaxtyping import Float

from regraft.contracts.score import Score, Seen

STEPS, TOLERANCE = 100, 1e-4
"""Most steps of the fixed point; relative change of alpha / beta at which it ends (the paper's code ends at 1e-3)."""


def logme(seen: Seen) -> float:
    """The score."""
    axes, lengths, _ = np.linalg.svd(seen.features.astype(np.float64), full_matrices=False)
    one_hot = np.eye(int(seen.targets.max()) + 1)[seen.targets]
    width = seen.features.shape[1]
    return float(np.mean([_evidence(axes, lengths**2, column, width) for column in one_hot.T]))


def _evidence(axes: Float[np.ndarray, "n k"], squares: Float[np.ndarray, " k"], y: np.ndarray, width: int) -> float:
    num, projected = len(y), (axes.T @ y) ** 2
    rest = max(float(y @ y) - float(projected.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(STEPS):
        ratio = alpha / beta
        used = float((squares / (squares + ratio)).sum())
        length = float((squares * projected / (squares + ratio) ** 2).sum())
        error = float((projected / (1 + squares / ratio) ** 2).sum()) + rest
        alpha, beta = used / max(length, 1e-12), (num - used) / max(error, 1e-12)
        if abs(alpha / beta - ratio) <= TOLERANCE * ratio:
            break
    ratio = alpha / beta
    length = float((squares * projected / (squares + ratio) ** 2).sum())
    error = float((projected / (1 + squares / ratio) ** 2).sum()) + rest
    logdet = float(np.log(alpha + beta * squares).sum()) + (width - len(squares)) * np.log(alpha)
    total = (
        num * np.log(beta) + width * np.log(alpha) - num * np.log(2 * np.pi) - beta * error - alpha * length - logdet
    )
    return float(total / (2 * num))


ENTRY = Score(title="LogME", origin="You et al. 2021, arXiv:2102.11005", of=logme)
