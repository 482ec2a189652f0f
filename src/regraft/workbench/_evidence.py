"""The evidence of an advice: transferability scores, task similarity, the stages inside a backbone, a learning curve.

Letters: k training examples, d features, z outputs.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from regraft.advisor.noise import Curve, learning_curve
from regraft.advisor.similarity import Similarity, similarity
from regraft.backbones.backbone import Backbone
from regraft.backbones.shipped import shipped_weights
from regraft.contracts.metric import main_metric
from regraft.contracts.score import SCORES, Seen
from regraft.contracts.task import Task
from regraft.evaluation.intervals import measure
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.reports.advice import Looked
from regraft.tasks.linear import linear, solve
from regraft.tasks.losses import softmax
from regraft.workbench.features import Probed, inside
from regraft.workbench.session import Session

NUM_INSIDE = 256
"""Number of training examples on which the stages inside a backbone are compared. Our choice: a few seconds."""
FEW = 30
"""Collect more of the worst class first if it has fewer training examples than this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Examined:
    """The examples that an advice is based on."""

    session: Session
    positions: Int[np.ndarray, " k"]
    """Training and validation examples, or a sample of them."""
    task: Task
    num_test: int

    @property
    def targets(self) -> np.ndarray:
        """Targets of the training and validation examples."""
        found: np.ndarray = self.session.targets[self.positions]
        return found


def scores_of(
    task: Task, features: Float[np.ndarray, "k d"], targets: np.ndarray, backbone: Backbone | None = None
) -> dict[str, float | None]:
    """Compute transferability scores, for tasks with exclusive classes; those that need source classes, of the pooled
    features of `backbone`."""
    if not task.exclusive:
        return {}
    source = None
    if backbone and backbone.card.num_source_classes:
        tensors = {name: one for name, one in backbone.tensors().items() if name.startswith("source/")}
        weights = [one for one in tensors.values() if one.ndim == 2 and one.shape[1] == features.shape[1]]
        if len(weights) == 1:
            bias = next((one for one in tensors.values() if one.ndim == 1), np.zeros(len(weights[0])))
            source = softmax(features @ weights[0].T + bias)
    given = Seen(features=features, targets=np.unique(targets, return_inverse=True)[1], source=source)
    scores = [SCORES.get(name) for name in SCORES]
    if backbone is None:
        scores = [one for one in scores if not one.needs_source]
    return {one.title: None if one.needs_source and source is None else one.of(given) for one in scores}


def stages_of(data: Examined, seen: Probed, spec: str, until: float, notes: list[str]) -> tuple[Looked, ...]:
    """Return probes and scores of the stages inside a backbone, and of its output, on a sample of the training
    examples; nothing, with a note, if there is no time."""
    if time.monotonic() >= until:
        notes.append(f"The time did not suffice for the stages inside {spec}.")
        return ()
    task, some = data.task, np.arange(len(data.positions))
    if len(some) > NUM_INSIDE:
        seed = derive_seed(data.session.recipe.seed, "inside")
        some = np.flatnonzero(split(task.strata(data.targets), seen.groups, NUM_INSIDE / len(some), seed))
    targets, groups, found = data.targets[some], data.session.user_groups(data.positions[some]), list[Looked]()
    for cut, features in {**inside(seen, data.positions[some]), "output": seen.features[some]}.items():
        outputs = out_of_fold(task, targets, seen.groups[some], features)
        if outputs is None:
            continue
        judged = np.isfinite(outputs).all(axis=1)
        probe = measure(main_metric(task.kind), targets[judged], task.outputs(outputs[judged]),
                        groups=None if groups is None else groups[judged], seed=data.session.recipe.seed)  # fmt: skip
        found.append(Looked(name=cut, probe=probe, scores=scores_of(task, features, targets)))
    return tuple(found)


def out_of_fold(
    task: Task, targets: np.ndarray, groups: Int[np.ndarray, " k"], features: Float[np.ndarray, "k d"], c: float = 0.0
) -> Float[np.ndarray, "k z"] | None:
    """Return logits or values of each example by a linear head solved without it and its group; nan if there is none.
    None without folds. `c` as in `solve`."""
    dealt = task.deal(targets, groups, 5, 0)
    if not dealt.num_folds:
        return None
    return solve(linear(task).solved_loss(targets), features, fold_of=dealt.of_example, c=c).out_of_fold


def similarity_of(spec: str, backbone: Backbone, seen: Probed, seed: int, notes: list[str]) -> Similarity | None:
    """Compare with the pretraining data; None, with a note, if their features are not known."""
    card = backbone.card
    shipped = shipped_weights(card.family) if card.weights == "shipped" else None
    source = shipped.source_features() if shipped else None
    if shipped is None or source is None:
        notes.append(f"No distance from the pretraining data of {spec}: its card has no features of them.")
        return None
    if card.preparation != shipped.card.preparation:
        notes.append(
            f"No distance from the pretraining data of {spec}: they were prepared with a different input size."
        )
        return None
    return similarity(seen.features, source, seed)


def disagreement_of(task: Task, targets: np.ndarray, outputs: Sequence[np.ndarray]) -> float:
    """Estimate how often exactly one of two models is correct: the median over pairs of probes; for a single probe,
    half of its errors."""
    if not task.exclusive:
        return 0.0
    right = [one.argmax(axis=1) == targets for one in outputs]
    pairs = [float((a != b).mean()) for at, a in enumerate(right) for b in right[at + 1 :]]
    return float(np.median(pairs)) if pairs else float(1 - right[0].mean()) / 2


def curve_of(data: Examined, seen: Probed) -> Curve | None:
    """Return the probe's out-of-fold errors on subsets of the training examples (a learning curve)."""
    if not data.task.exclusive or len(data.positions) < 80:
        return None
    task, sizes, errors = data.task, list[int](), list[float]()
    for share in (0.25, 0.5, 1.0):
        for draw in range(3 if share < 1 else 1):
            some = np.arange(len(data.positions))
            if share < 1:
                seed = derive_seed(data.session.recipe.seed, "curve", str(draw))
                some = np.flatnonzero(split(task.strata(data.targets), seen.groups, share, seed))
            targets = data.targets[some]
            outputs = out_of_fold(task, targets, seen.groups[some], seen.features[some], seen.c)
            if outputs is None:
                continue
            judged = np.isfinite(outputs).all(axis=1)
            errors.append(float((outputs[judged].argmax(axis=1) != targets[judged]).mean()))
            sizes.append(len(some))
    return learning_curve(np.array(sizes), np.array(errors)) if len(set(sizes)) > 2 else None


def weakest_of(data: Examined, seen: Probed) -> str:
    """Return which class to collect more examples of."""
    if not data.task.exclusive or seen.outputs is None:
        return ""
    judged = np.isfinite(seen.outputs).all(axis=1)
    right, targets = seen.outputs[judged].argmax(axis=1) == data.targets[judged], data.targets[judged]
    recalls = {at: float(right[targets == at].mean()) for at in np.unique(targets).tolist()}
    worst = min(recalls, key=lambda at: recalls[at])
    count = int((data.targets == worst).sum())
    if count >= FEW:
        return ""
    name = data.task.classes[worst]
    return f"Collect more of {name} first: only {recalls[worst]:.0%} of its {count} examples are predicted correctly."
