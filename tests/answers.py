"""Targets of every kind, with outputs of a middling model: for whatever comes after the predictions."""

import numpy as np

KINDS = ("classification", "multilabel", "ordinal", "regression")


def sample(kind: str, n: int = 150, num_outputs: int = 3, seed: int = 0, digits: int = 2) -> tuple[np.ndarray, ...]:
    """Targets and outputs; probabilities are rounded so that many are equal, and every class and tag occurs."""
    random = np.random.default_rng(seed)
    if kind == "regression":
        targets = random.normal(50.0, 10.0, (n, num_outputs)) * 10.0 ** np.arange(num_outputs)
        return targets, targets + random.normal(0.0, 5.0, targets.shape) * 10.0 ** np.arange(num_outputs)
    if kind == "multilabel":
        tags = (random.random((n, num_outputs)) < np.linspace(0.2, 0.6, num_outputs)).astype(np.float32)
        tags[0], tags[1] = 1.0, 0.0
        logits = random.normal(size=tags.shape) + 2 * tags - 1
        return tags, np.round(1 / (1 + np.exp(-logits)), digits)
    targets = np.concatenate([np.arange(num_outputs), random.integers(0, num_outputs, n - num_outputs)])
    logits = random.normal(size=(n, num_outputs))
    logits[np.arange(n), targets] += 1
    whole = np.round(np.exp(logits) / np.exp(logits).sum(1, keepdims=True) * 10**digits) + 1
    return targets, whole / whole.sum(1, keepdims=True)


def perfect(kind: str, targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The outputs of a model that makes no mistake."""
    return np.eye(num_outputs)[targets] if kind in ("classification", "ordinal") else targets.astype(np.float64)


def wrong(kind: str, targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """The outputs of a model that makes nothing but mistakes."""
    if kind == "regression":
        return -3.0 * targets
    if kind == "multilabel":
        return 1.0 - targets.astype(np.float64)
    return np.eye(num_outputs)[(targets + 1) % num_outputs]


def label_of(kind: str, target: np.ndarray, names: tuple[str, ...]) -> str:
    """The label of one example, as its task writes it."""
    if kind == "regression":
        return ";".join(map(repr, target.tolist()))
    if kind == "multilabel":
        return ";".join(name for name, there in zip(names, target, strict=True) if there)
    return names[target]
