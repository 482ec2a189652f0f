"""Verification: do two inputs show the same identity (a face, an animal, a product)? An embedding is trained on some
identities and tested on others.

A label is the name of an identity. For examples from given pairs it is JSON: the name, and the number of each pair with
its fold.

Fine-tuning is a classification of the training identities with ArcFace's margin; the probe is a metric in closed form:
features are whitened by their within-identity covariance and projected on the directions in which identities then
differ most. How much that covariance is shrunk towards a multiple of the identity matrix is chosen on held-out
identities. (On the training faces of att_faces this gave an AUROC of 0.987, against 0.978 for the directions of a
linear discriminant analysis alone.)

Source: Deng et al. 2018, arXiv:1801.07698 (ArcFace); Hatch et al. 2006, Interspeech (within-class covariance
normalisation). Scale and margin are smaller than ArcFace's, for tens or hundreds of identities instead of tens of
thousands: our choice.

Letters: n examples, d features, e dimensions, k identities.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.example import as_records
from regraft.contracts.page import Words
from regraft.contracts.task import Task
from regraft.errors import BadData, BadRequest
from regraft.folds import folds
from regraft.tasks.pairs import MIN_FALSE, all_pairs, auroc_of, roc, threshold_at
from regraft.values import Json, Prediction
from regraft.words import counted

if TYPE_CHECKING:
    from torch import Tensor, nn

DIMENSIONS = 128
SCALE, MARGIN = 24.0, 0.3
SHRINKAGES = (0.01, 0.05, 0.2, 0.5, 0.9)
RATES = (0.1, 0.01, 0.001)
"""False accept rates for which thresholds are chosen, if there are enough pairs."""


@dataclass(frozen=True)
class Verification(Task):
    """Verification by an embedding."""

    classes: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Thresholds on the cosine above which two inputs count as one identity, chosen on identities that were not trained
    on: `eer`, and `far 0.01` etc. if there were enough pairs."""
    gallery: tuple[tuple[str, ...], Any] = ((), None)
    """Names of enrolled identities, and their mean embeddings (k e), of unit length."""
    kind: str = "verification"
    split_rule: Literal["stratified", "disjoint classes"] = "disjoint classes"
    closed_form: bool = True

    def words(self) -> Words:
        """Return the names that reports use: identities."""
        of = f"of {counted(len(self.classes), 'identity', 'identities')}"
        return Words(
            output="identity",
            outputs="identities",
            asked=of,
            labelled=of,
            given=f"an embedding of {DIMENSIONS} numbers; the cosine of two is their similarity",
            purpose="Predicts whether two inputs of the kind the model was trained on show the same identity",
            caution="Embeddings of faces or voices are biometric data. Do not use this model to identify or track "
            "people without their consent, to give access to rooms or accounts, or to make decisions about a person. "
            "Differences in its errors between groups of people were not measured.",
            fields="prediction.record",
        )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the thresholds."""
        return {"thresholds": dict(self.thresholds)}

    def named(self, label: str) -> Sequence[str]:
        """Return the identity."""
        return (read_label(label)[0],)

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Return for each example `identity`, its index, and `pairs` (p 2), fold and number of its given pairs."""
        number = {name: at for at, name in enumerate(self.classes)}
        found = []
        for label in labels:
            name, pairs = read_label(label)
            identity = number.setdefault(name, len(number))  # identities that were never trained on come last
            found.append({"identity": identity, "pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2)})
        return as_records(found)

    def identities(self, targets: np.ndarray) -> Int[np.ndarray, "n"]:
        """Return the index of each identity."""
        return np.array([one["identity"] for one in targets], dtype=np.int64)

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> Int[np.ndarray, "n"]:
        """Return the index of each identity."""
        return self.identities(targets)

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head: features -> `embedding` (n e) and `cosines` (n k)."""
        from regraft.nn.embedding import EmbeddingHead

        return EmbeddingHead(widths[self.reads.readout], DIMENSIONS, len(self.classes), dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the ArcFace loss among the training identities."""
        import torch

        from regraft.nn.embedding import arcface

        return arcface(torch.from_numpy(np.unique(self.identities(targets))), SCALE, MARGIN)

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """Return one minus the AUROC over pairs as both values: validation identities are not trained on, so the loss
        does not apply to them."""
        apart = 1 - _apart(raw, self.identities(targets))
        return apart, apart

    def solved(
        self, features: Float[np.ndarray, "n d"], targets: np.ndarray, seed: int
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the whitening, and thresholds from pairs of held-out identities."""
        identities = self.identities(targets)
        dealt = folds(np.zeros(len(identities), dtype=np.int64), identities, 5, seed).of_example
        found = dict[float, tuple[list[tuple[np.ndarray, np.ndarray]], float]]()
        for shrinkage in SHRINKAGES:
            held = list[tuple[np.ndarray, np.ndarray]]()
            for fold in range(int(dealt.max(initial=-1)) + 1):
                out = dealt == fold
                weight, bias, _ = whitened(features[~out], identities[~out], shrinkage)
                held.append((_embedded(features[out], weight, bias), identities[out]))
            known = [value for value in (_apart(*one) for one in held) if np.isfinite(value)]
            found[shrinkage] = held, float(np.mean(known)) if known else np.nan
        best = max(SHRINKAGES, key=lambda one: np.nan_to_num(found[one][1]))
        weight, bias, means = whitened(features, identities, best)
        proxies = np.zeros((len(self.classes), DIMENSIONS), dtype=np.float32)
        proxies[np.unique(identities)] = means
        facts = {"shrinkage": best, "held_out_auroc": found[best][1], "thresholds": _thresholds(found[best][0])}
        return {"embed.weight": weight, "embed.bias": bias, "proxies": proxies}, facts

    def decided(self, facts: Mapping[str, Any], held: "tuple[np.ndarray, np.ndarray] | None") -> "Verification":
        """Return the task with thresholds from held-out identities, or those chosen when the head was solved."""
        if held is not None:
            return replace(self, thresholds=_thresholds([(held[0], self.identities(held[1]))]))
        return replace(self, thresholds=facts.get("thresholds", {}))

    def enrolled(self, names: Sequence[str], outputs: np.ndarray) -> "Verification":
        """Return the task with a gallery: the mean embedding of each name.

        Raises:
            BadRequest: the model has no threshold.
        """
        if not self.thresholds:
            raise BadRequest(
                "This model has no threshold: too few pairs of identities were held out when it was made.",
                fix="train it on more identities, or leave --gallery out.",
            )
        known = tuple(dict.fromkeys(names))
        means = np.stack([outputs[[other == name for other in names]].mean(axis=0) for name in known])
        return replace(self, gallery=(known, means / np.linalg.norm(means, axis=1, keepdims=True)))

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return the embeddings; of an example in several pieces their mean, normalised to length 1."""
        rows = np.concatenate([batch["embedding"] for batch in batches])
        if not len(rows) or len(example_of_row) == int(example_of_row[-1]) + 1:
            return rows
        sums = np.zeros((int(example_of_row[-1]) + 1, rows.shape[1]), dtype=np.float64)
        np.add.at(sums, example_of_row, rows)
        return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(rows.dtype)

    def outputs(self, raw: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return the embeddings (n e), rounded to six decimals, so that saved outputs are equal to those in memory."""
        return np.round(raw.astype(np.float64), 6)

    def graph(self, output: Any, temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        """Return the head's outputs."""
        return {}

    def standalone(self) -> str:
        """Return a script for the embedding."""
        from regraft.tasks.said import embedding, script

        return script(embedding)

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return empty labels: an embedding has none."""
        return [""] * len(outputs)

    def recorded(self, outputs: np.ndarray) -> list[Json]:
        """Return the values of each embedding."""
        return [row.tolist() for row in outputs]

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """Return the embeddings."""
        return np.array(records, dtype=np.float64)

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return predictions whose record is the embedding. With a gallery, `values` are the cosines to the enrolled
        identities, and the label is the nearest one, or empty if its cosine is below the strictest threshold."""
        names, places = self.gallery
        if names:
            alike, limit = outputs @ places.T, max(self.thresholds.values())
            labels = [names[row.argmax()] if row.max() >= limit else "" for row in alike]
            values = [dict(zip(names, row.round(6).tolist(), strict=True)) for row in alike]
            return [
                Prediction(id="", label=label, probabilities={}, values=value)
                for label, value in zip(labels, values, strict=True)
            ]
        return [Prediction(id="", label="", probabilities={}) for _ in outputs]


def read_label(label: str) -> tuple[str, Sequence[tuple[int, int]]]:
    """Return the identity in a label, and fold and number of its given pairs.

    Raises:
        BadData: the label begins as JSON and has another form.
    """
    if not label.startswith('["'):
        return label, ()
    try:
        name, pairs = json.loads(label)
        return str(name), [(int(fold), int(pair)) for fold, pair in pairs]
    except (ValueError, TypeError) as error:
        raise BadData(
            f"The label {label[:60]!r} is not an identity with pairs.",
            fix="provide folders of identities, or a table of pairs.",
        ) from error


def whitened(
    features: Float[np.ndarray, "n d"], identities: Int[np.ndarray, " n"], shrinkage: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weight (e d) and bias (e) of whitening and projection, and the mean embedding of each identity (k e), in
    the order of their indices. With fewer directions than dimensions the rest is zero."""
    middle = features.mean(axis=0, dtype=np.float64)
    left, sizes, basis = np.linalg.svd(features - middle, full_matrices=False)
    rank = max(1, int((sizes > 1e-6 * sizes[0]).sum()))  # other directions have no variance
    inside, basis = left[:, :rank] * sizes[:rank], basis[:rank]
    _, number, counts = np.unique(identities, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), rank))
    np.add.at(means, number, inside)
    means /= counts[:, None]
    within = inside - means[number]
    covariance = within.T @ within / len(features)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / rank * np.eye(rank)
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(np.maximum(values, 1e-12))
    _, _, directions = np.linalg.svd(inside @ whitening, full_matrices=False)
    project = np.zeros((DIMENSIONS, rank))
    project[: min(DIMENSIONS, rank)] = directions[:DIMENSIONS] @ whitening.T
    weight = project @ basis
    return weight.astype(np.float32), (-weight @ middle).astype(np.float32), (means @ project.T).astype(np.float32)


def _embedded(features: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    made = features @ weight.T + bias
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)


def _apart(embeddings: np.ndarray, identities: np.ndarray) -> float:
    """Return the AUROC over all pairs; nan unless both kinds of pairs occur."""
    left, right = all_pairs(identities)
    same = identities[left] == identities[right]
    return float(auroc_of(roc((embeddings[left] * embeddings[right]).sum(1), same, np.ones((1, len(same)))))[0])


def _thresholds(held: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return thresholds from the embeddings and identities of one or several sets; pairs are formed within a set."""
    alike, same = list[np.ndarray](), list[np.ndarray]()
    for embeddings, identities in held:
        left, right = all_pairs(identities)
        alike.append((embeddings[left] * embeddings[right]).sum(1))
        same.append(identities[left] == identities[right])
    if not held:
        return {}
    pairs = np.concatenate(alike), np.concatenate(same)
    if pairs[1].all() or not pairs[1].any():
        return {}
    enough = [rate for rate in RATES if (~pairs[1]).sum() >= MIN_FALSE / rate]
    return {"eer": threshold_at(*pairs, None)} | {f"far {rate:g}": threshold_at(*pairs, rate) for rate in enough}


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Verification:
    """Return the task with these identities; `facts` may have `thresholds`."""
    return Verification(tuple(classes), thresholds=dict((facts or {}).get("thresholds") or {}))


ENTRY = task
