"""Add classes to a finished model: the network and the head's rows of the old classes stay, the new rows are solved.

The backbone is the finished model. Its rows of the head do not change at all, and its temperature is kept; the rows of
the new classes are solved against its logits. Old examples are opened together with the new ones, since without them a
new class would absorb the others. Both models are evaluated on the old examples of the test split, and a model that
loses too much accuracy on them is not saved.

Letters: n examples, m of them of old classes, d features, o old classes, c classes.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.metric import Sample
from regraft.contracts.page import Finding
from regraft.contracts.strategy import Finished, Fitted, Needs, Preset, Problem, Ranges, Strategy
from regraft.errors import BadRequest
from regraft.evaluation.calibration import Calibration
from regraft.evaluation.differences import compare
from regraft.evaluation.ood import OODReference, extended_reference
from regraft.identity import derive_seed
from regraft.strategies.probe import features_of
from regraft.tasks.linear import Softmax, solve
from regraft.tasks.rows import outputs_of
from regraft.values import Event

CHECK = "old classes kept"
"""Name of the check."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `extend`."""

    old: str = ""
    """Examples of the old classes; empty: the model's own training data, if they are still there and unchanged."""
    max_loss: float = 0.02
    """Maximum loss of accuracy on the old test examples, from 0 to 1, before nothing is saved (our choice)."""

    RANGES: ClassVar[Ranges] = (("in [0, 1]", "max_loss"),)


PRESETS = {
    "extend": Preset(title="new classes for a finished model, the rest unchanged", cut="output", options={}, views=1)
}


def fit(problem: Problem, options: Options) -> Generator[Event, None, Fitted]:
    """Solve the rows of the new classes on the plain views of `problem.train`; return the model. Yields no events.

    Raises:
        BadRequest: there is no finished model to add to.
        BadData: features are not finite.
    """
    old, train = problem.old, problem.train
    if old is None:
        raise BadRequest(
            "The backbone is not a finished model, so no classes can be added to it.",
            fix="use regraft extend, or regraft fit --strategy extend --backbone RUN.",
        )
    features = np.asarray(features_of(problem, train)[0 : len(train)], dtype=np.float32)
    targets, is_new = problem.targets[train], problem.targets[train] >= len(old.classes)
    num_old = int((~is_new).sum())
    dealt = problem.task.deal(targets, problem.groups[train], 5, derive_seed(problem.seed, "extend", "folds"))
    # Together the old examples weigh as many as the old model was made of, however few are here. The rows are solved
    # under the temperature that logits are divided by, and put on the scale of the old rows afterwards.
    loss = Softmax(
        targets,
        len(problem.task.classes) - len(old.classes),
        outputs_of(features, old.weight, old.bias) / np.float32(old.temperature),
        weights=np.where(is_new, 1.0, old.num_examples / max(1, num_old) if old.num_examples else 1.0),
    )
    rows = solve(loss, features, fold_of=dealt.of_example if dealt.num_folds else None)
    weight = np.concatenate([old.weight, rows.weight * np.float32(old.temperature)])
    bias = np.concatenate([old.bias, rows.bias * np.float32(old.temperature)])
    added = problem.task.classes[len(old.classes) :]
    yield from ()
    return Fitted(
        tensors={"head/weight": weight, "head/bias": bias},
        logits=lambda asked, positions: outputs_of(features_of(asked, positions), weight, bias),
        features=features_of,
        num_trained=rows.weight.size + rows.bias.size,
        facts={
            "added": list(added),
            "old_model": old.name,
            "new_examples": int(is_new.sum()),
            "old_examples": num_old,
            "c": rows.facts["c"],
            "converged": rows.facts["converged"],
        },
        calibration=Calibration(
            temperature=old.temperature,
            kept=False,
            reason=f"uncalibrated: the old model's temperature ({old.temperature:.3g}) is kept, not refitted",
        ),
        reference=_reference(problem, old, features, targets),
        check=partial(kept, old=old, added=added, max_loss=options.max_loss, seed=problem.seed),
    )


def _reference(
    problem: Problem, old: Finished, features: Float[np.ndarray, "n d"], targets: Int[np.ndarray, "n"]
) -> OODReference | None:
    """Return the reference of the OOD score: the old model's, with the new classes added."""
    if old.reference is None:
        return None
    new = targets >= len(old.classes)
    classes, groups = targets[new] - len(old.classes), problem.groups[problem.train][new]
    dealt = problem.task.deal(classes, groups, 5, derive_seed(problem.seed, "extend", "unlike"))
    return extended_reference(old.reference, features[new], classes, dealt.of_example)


def kept(
    tested: Sample, ids: Sequence[str], *, old: Finished, added: Sequence[str], max_loss: float, seed: int
) -> Finding:
    """Check that the old classes are kept, by evaluating both models on the old test examples; predicting a new class
    is an error.

    The score is the difference in accuracy; the examples are those now predicted as a new class. Severity is `stop` if
    more than `max_loss` is lost, `warn` if an old class could not be tested.
    """
    num_old, done = len(old.classes), f"With {', '.join(added)} added and nothing else changed,"
    of_old = tested.targets < num_old
    targets, after = tested.targets[of_old], tested.outputs[of_old]
    if not len(targets):
        return Finding(
            check=CHECK,
            severity="warn",
            message=f"{done} the accuracy on the old classes could not be checked: no old example was available for "
            f"testing.",
            fix="provide examples of the old classes, some of them in a test split: --old PATH.",
        )
    groups = None if tested.groups is None else tested.groups[of_old]
    # The old rows are unchanged, so their columns alone are what the old model predicts.
    before = np.pad(after[:, :num_old], ((0, 0), (0, len(added))))
    found = compare(targets, after, before, groups=groups, names=("the new model", "the old one"), seed=seed)
    taken, change, lost = after.argmax(axis=1) >= num_old, found.difference, max(0.0, found.b - found.a)
    interval = "" if change.low is None or change.high is None else f" [{change.low:+.3f}, {change.high:+.3f}]"
    message = (
        f"{done} the accuracy on {len(targets)} old test examples ({old.standing}) was {found.b:.3f} before and is "
        f"{found.a:.3f} now ({change.value:+.3f}{interval}); {int(taken.sum())} of them are predicted as a new class."
    )
    if missing := [name for at, name in enumerate(old.classes) if not (targets == at).any()]:
        message += f" There are no old test examples of {', '.join(missing)}, so these classes were not checked."
    fix = ""
    if stop := lost > max_loss:
        message += f" That is more than the {max_loss:g} allowed. Nothing was written."
        fix = (
            "add examples (of the new class, or of the old classes it is confused with), retrain on all of them "
            f"(regraft fit), or accept it: --max-loss {np.ceil(100 * lost - 1e-9) / 100:g}."
        )
    return Finding(
        check=CHECK,
        severity="stop" if stop else "warn" if missing else "info",
        message=message,
        fix=fix,
        examples=tuple(np.asarray(ids)[of_old][taken].tolist()),
        score=change.value,
    )


ENTRY = Strategy(
    Options=Options, presets=PRESETS, needs=lambda options: Needs(old_data=options.old), fit=fit, solved=True
)
