"""Transferability scores from features alone, or (LEEP, NCE) from the predictions of the source classifier."""

import numpy as np
from jaxtyping import Float
from sklearn.covariance import ledoit_wolf_shrinkage

from regraft.contracts.score import Score, Seen

COMPONENTS = 64


def gbc(seen: Seen) -> float:
    """Compute GBC, the separability of classes modelled as Gaussians: minus the sum of Bhattacharyya coefficients over
    ordered pairs of classes.

    Source: Pándy et al. 2022, arXiv:2111.12780: features reduced to 64 principal components, spherical covariances.

    Returns the score, at most 0.
    """
    centred = seen.features.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    if centred.shape[1] > COMPONENTS:
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        centred = centred @ axes[:COMPONENTS].T
    width, classes = centred.shape[1], np.unique(seen.targets)
    means = np.stack([centred[seen.targets == one].mean(axis=0) for one in classes])
    spheres = np.array([centred[seen.targets == one].var(axis=0).mean() for one in classes])
    spheres = np.maximum(spheres, 1e-12)
    pooled = (spheres[:, None] + spheres[None]) / 2
    squares = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    apart = squares / (8 * pooled) + width / 2 * np.log(pooled / np.sqrt(spheres[:, None] * spheres[None]))
    coefficients = np.exp(-apart)
    return float(-(coefficients.sum() - np.trace(coefficients)))


def h_score(seen: Seen, shrinkage: float | None = None) -> float:
    """Compute the H-score: the share of the whitened features' variance that lies between the class means.

    tr(cov(f)^-1 cov(E[f|y])), with the covariance of the features shrunk if examples are few. Source: Bao et al. 2019
    (ICIP); shrinkage after Ibrahim et al. 2022, arXiv:2110.06893, by Ledoit & Wolf's estimate (2004, theorem 3.3).

    `shrinkage`, in [0, 1], replaces the estimated shrinkage. Returns the score.
    """
    centred = seen.features.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    num, width = centred.shape
    counts = np.bincount(seen.targets)
    sums = np.zeros((len(counts), width))
    np.add.at(sums, seen.targets, centred)
    means = np.sqrt(counts / num)[:, None] * sums / np.maximum(counts, 1)[:, None]
    share = float(ledoit_wolf_shrinkage(centred, assume_centered=True)) if shrinkage is None else shrinkage
    covariance = centred.T @ centred / num
    level = float(np.trace(covariance)) / width
    covariance = (1 - share) * covariance + share * level * np.eye(width)
    return float((1 - share) * np.trace(np.linalg.pinv(covariance, hermitian=True) @ (means.T @ means)))


NEIGHBOURS = 5


def knn(seen: Seen) -> float:
    """Compute the leave-one-out accuracy of a k-nearest-neighbour classifier: cosine similarity of centred features,
    five neighbours.

    Source: a common baseline (Renggli et al. 2022, arXiv:2010.06402, call it a proxy that is hard to beat); five is our
    choice. Ties between classes go to the class of the nearest neighbour.

    Returns the score: a share of examples.
    """
    rows = seen.features.astype(np.float64)
    rows = rows - rows.mean(axis=0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    right, classes = 0, int(seen.targets.max()) + 1
    count = min(NEIGHBOURS, len(rows) - 1)
    for start in range(0, len(rows), 512):
        cosines = rows[start : start + 512] @ rows.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -2
        nearest = seen.targets[np.argsort(-cosines, axis=1, kind="stable")[:, :count]]
        votes = (nearest[:, :, None] == np.arange(classes)).sum(axis=1) + 0.5 * (nearest[:, :1] == np.arange(classes))
        right += int((votes.argmax(axis=1) == seen.targets[start : start + 512]).sum())
    return right / len(rows)


STEPS, TOLERANCE = 100, 1e-4
"""Maximum number of fixed-point iterations; relative change of alpha / beta at which they stop (1e-3 in the paper's
code)."""


def logme(seen: Seen) -> float:
    """Compute LogME: the log evidence per example of a Bayesian linear regression from features to each class, averaged
    over classes.

    Source: You et al. 2021, arXiv:2102.11005, algorithm 1; the fixed point of alpha and beta after MacKay 1992. As in
    the paper, features are used unchanged and there is no intercept.

    Returns the score.
    """
    axes, lengths, _ = np.linalg.svd(seen.features.astype(np.float64), full_matrices=False)
    one_hot = np.eye(int(seen.targets.max()) + 1)[seen.targets]
    width = seen.features.shape[1]
    return float(np.mean([_evidence(axes, lengths**2, column, width) for column in one_hot.T]))


def _evidence(axes: Float[np.ndarray, "n k"], squares: Float[np.ndarray, " k"], y: np.ndarray, width: int) -> float:
    num, projected = len(y), (axes.T @ y) ** 2
    rest = max(float(y @ y) - float(projected.sum()), 0.0)
    before, alpha, beta = 0.0, 1.0, 1.0
    for step in range(STEPS + 1):
        ratio = alpha / beta
        length = float((squares * projected / (squares + ratio) ** 2).sum())
        error = float((projected / (1 + squares / ratio) ** 2).sum()) + rest
        if step == STEPS or abs(ratio - before) <= TOLERANCE * before:
            break
        before, used = ratio, float((squares / (squares + ratio)).sum())
        alpha, beta = used / max(length, 1e-12), (num - used) / max(error, 1e-12)
    logdet = float(np.log(alpha + beta * squares).sum()) + (width - len(squares)) * np.log(alpha)
    total = (
        num * np.log(beta) + width * np.log(alpha) - num * np.log(2 * np.pi) - beta * error - alpha * length - logdet
    )
    return float(total / (2 * num))


EPSILON = 1e-4
"""Squared distortion."""


def transrate(seen: Seen) -> float:
    """Compute TransRate: the mutual information of features and labels, as the code length of all features minus that
    of the features given the class.

    Source: Huang et al. 2022, arXiv:2106.09362, equation 3 and its code: centred features, scaled to a total variance
    of 1, epsilon squared 1e-4.

    Returns the score in nats, at least 0.
    """
    centred = seen.features.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    centred = centred / np.sqrt(np.trace(centred @ centred.T))
    classes, counts = np.unique(seen.targets, return_counts=True)
    inside = sum(
        count / len(centred) * _rate(centred[seen.targets == one]) for one, count in zip(classes, counts, strict=True)
    )
    return float(_rate(centred) - inside)


def _rate(rows: Float[np.ndarray, "n d"]) -> float:
    squares = np.linalg.svd(rows, compute_uv=False) ** 2
    return float(np.log1p(squares / (len(rows) * EPSILON)).sum() / 2)


def leep(seen: Seen) -> float:
    """Compute LEEP: the mean log-likelihood of the labels, predicted through the source classifier's distribution over
    source classes.

    Source: Nguyen et al. 2020, arXiv:2002.12462, equation 2.

    Returns the score, at most 0.
    """
    assert seen.source is not None, "the caller looks at `needs_source`"
    source = seen.source.astype(np.float64)
    joint = np.zeros((int(seen.targets.max()) + 1, source.shape[1]))
    np.add.at(joint, seen.targets, source / len(source))
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    return float(np.mean(np.log(np.maximum((source * given[seen.targets]).sum(axis=1), 1e-300))))


def nce(seen: Seen) -> float:
    """Compute the negative conditional entropy of the labels given the most probable class of the source classifier.

    Source: Tran et al. 2019, arXiv:1908.08142; predictions replace the source's own labels, as is usual if the source
    data are not available.

    Returns the score in nats, at most 0.
    """
    assert seen.source is not None, "the caller looks at `needs_source`"
    joint = np.zeros((int(seen.targets.max()) + 1, seen.source.shape[1]))
    np.add.at(joint, (seen.targets, seen.source.argmax(axis=1)), 1 / len(seen.targets))
    given = joint / np.maximum(joint.sum(axis=0), 1e-300)
    return float((joint * np.log(np.maximum(given, 1e-300))).sum())


NAMES = ("gbc", "h_score", "knn", "leep", "logme", "nce", "transrate")
ENTRIES = {
    "gbc": Score(title="GBC", origin="Pándy et al. 2022, arXiv:2111.12780", of=gbc),
    "h_score": Score(
        title="H-score", origin="Bao et al. 2019; shrinkage: Ibrahim et al. 2022, arXiv:2110.06893", of=h_score
    ),
    "knn": Score(title="5-NN accuracy", origin="Renggli et al. 2022, arXiv:2010.06402", of=knn),
    "logme": Score(title="LogME", origin="You et al. 2021, arXiv:2102.11005", of=logme),
    "transrate": Score(title="TransRate", origin="Huang et al. 2022, arXiv:2106.09362", of=transrate),
    "leep": Score(title="LEEP", origin="Nguyen et al. 2020, arXiv:2002.12462", of=leep, needs_source=True),
    "nce": Score(title="NCE", origin="Tran et al. 2019, arXiv:1908.08142", of=nce, needs_source=True),
}
