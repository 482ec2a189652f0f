"""Data of a fit that adds classes to a finished model, new examples together with old ones; and features of other
networks (teachers).

Old classes come first, in the model's order. Both data sets are split separately: predefined splits are kept; without a
test split one is drawn, because the old test examples are evaluated on the model before and after.

Letters: n examples of a data set.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from regraft.activations.disk import Memo
from regraft.activations.fill import Activations, Want
from regraft.activations.states import Numbers, States
from regraft.activations.store import Store
from regraft.backbones.opening import open_backbone, parse
from regraft.bundle_format import bundle_folder
from regraft.bundles.bundle import prefixes_of
from regraft.contracts.strategy import Finished, Other
from regraft.contracts.task import TASKS, Reads
from regraft.data.scan import Scanned, collected
from regraft.data.splits import Splits, draw
from regraft.errors import BadData, BadRequest, RegraftError
from regraft.files import cache_home
from regraft.recipe import Recipe, Target, read_recipe
from regraft.values import Event, Notice, notices
from regraft.workbench._training import Setup, open_data
from regraft.workbench.recipes import placed, suited
from regraft.workbench.session import Session, opening, scanning

UNSEEN = "not seen by the old model"
SEEN = "seen by the old model in training, so its accuracy on them is too optimistic"
UNKNOWN = "possibly seen by the old model in training"

Divided = tuple[Scanned, Splits]
"""A data set, fingerprinted and split."""


def open_beside(recipe: Recipe, where: str, *, workers: int) -> Generator[Event, None, Session]:
    """Open the recipe's data together with the examples of old classes at `where`; empty: the model's original training
    data.

    Raises:
        BadRequest: the backbone is not a finished model with classes, or the recipe changes its inputs.
        BadData: there is no new class, too few examples of one, no old examples, or one content has an old and a new
            label.
        RegraftError: the data are not usable.
    """
    old, modality = _finished(recipe)
    fresh = yield from _divided(recipe.data, recipe, modality, old.classes, workers)
    others: Divided | None
    if where:
        others, standing = (yield from _divided(where, recipe, modality, old.classes, workers)), UNKNOWN
    else:
        others, standing = yield from _of_run(recipe, workers)
    session = _joined(recipe, replace(old, standing=standing), fresh, others)
    yield from session.splits.notes
    return session


def _finished(recipe: Recipe) -> tuple[Finished, str]:
    """Return the model that classes are added to, and its inputs."""
    from regraft.bundles.bundle import load

    spec = parse(recipe.backbone)
    if spec.weights != "bundle":
        raise BadRequest(
            f"`{recipe.strategy}` adds classes to a finished model, but the backbone is {recipe.backbone!r}.",
            fix="use a run folder or a model folder: --backbone RUN.",
        )
    bundle, folder = load(spec.path), bundle_folder(Path(spec.path).expanduser()).resolve()
    model, card = bundle.model, bundle.card
    if not model.task.weighable:
        raise BadRequest(
            f"The model in {spec.path} is a {model.task.kind} model; classes can only be added to a classification "
            f"model.",
            fix="use a classification model.",
        )
    if recipe.input_px not in (0, max(card.input_px, default=0)) or recipe.channels not in (0, card.channels):
        raise BadRequest(
            "A different input size or number of channels would also change the predictions for the old classes.",
            fix="leave out --input-px and channels.",
        )
    finished = Finished(
        name=folder.parent.name if folder.name == "model" else folder.name,
        classes=model.task.classes,
        weight=model.weight,
        bias=model.bias,
        temperature=model.temperature,
        reference=model.ood,
        num_examples=(bundle.facts.get("facts") or {}).get("trained_on_examples"),
    )
    return finished, card.modality


def _divided(
    path: str, recipe: Recipe, modality: str, known: tuple[str, ...], workers: int
) -> Generator[Event, None, Divided]:
    """Return the examples at `path`, of one class or many."""
    dataset = yield from opening(
        Path(path), recipe.source, task="classification", target=Target(), modality=modality, learnable=False,
        known=known,
    )  # fmt: skip
    yield from dataset.notes
    scanned = yield from scanning(dataset, recipe.source, workers=workers)
    return scanned, _with_test(recipe, scanned)


def _with_test(recipe: Recipe, scanned: Scanned) -> Splits:
    """Return the given split, or one with a test split, however few examples there are."""
    source = recipe.source
    return draw(
        scanned.dataset, scanned, seed=recipe.seed_of_data, val_share=source.val_share,
        test_share=source.test_share or 0.2,
        allow_leaks=source.allow_leaks, min_for_test=2,
    )  # fmt: skip


def _of_run(recipe: Recipe, workers: int) -> Generator[Event, None, tuple[Divided | None, str]]:
    """Return the examples that the model was trained on, in its own splits, and the standing of its test split; None,
    with a notice, if they are missing or have changed."""
    folder = bundle_folder(Path(parse(recipe.backbone).path).expanduser())
    path = (folder.parent if folder.name == "model" else folder) / "recipe.toml"
    if not path.is_file():
        yield Notice(text=f"{path.parent} has no recipe, so the examples of the old model are unknown.", topic="data")
        return None, UNKNOWN
    made = placed(read_recipe(path), path)
    try:
        session = yield from open_data(made, workers=workers)
    except RegraftError as error:
        yield Notice(text=f"The data that the model was trained on cannot be used: {error.message}", topic="data")
        return None, UNKNOWN
    if made.seen.data and session.dataset.fingerprint != made.seen.data:
        yield Notice(text=f"{session.dataset.root} has changed since the model was trained on it.", topic="data")
        return None, UNKNOWN
    if not session.tests:
        return (session.scanned, _with_test(recipe, session.scanned)), SEEN
    return (session.scanned, session.splits), session.old.standing if session.old else UNSEEN


def _joined(recipe: Recipe, old: Finished, fresh: Divided, others: Divided | None) -> Session:
    """Return both data sets as one; of the old one, only examples of known classes that are not in the new one."""
    dataset, notes = fresh[0].dataset, list(fresh[1].notes)
    added = tuple(sorted(set(dataset.classes) - set(old.classes)))
    if not added:
        raise BadData(
            f"Every class of {dataset.root} ({', '.join(dataset.classes)}) already belongs to the model.",
            fix="provide examples of a new class; to improve the old ones, retrain (regraft fit).",
        )
    if others is None or set(dataset.classes) & set(old.classes):
        old = replace(old, standing=UNKNOWN)
    examples, rows, groups = list(dataset.examples), fresh[0].rows, fresh[1].groups
    train, test = np.concatenate([fresh[1].train, fresh[1].val]), fresh[1].test
    if others is not None:
        scanned, splits = others
        keep, more = _useful(old, fresh[0], scanned, set(added))
        place, taken = np.cumsum(keep) - 1 + len(examples), {one.id for one in examples}
        for at in np.flatnonzero(keep).tolist():
            one = scanned.dataset.examples[at]
            group = None if one.group is None else f"old/{one.group}"  # groups are those of one data set
            examples.append(replace(one, id=f"old/{one.id}" if one.id in taken else one.id, group=group))
        rows = np.concatenate([rows, scanned.rows[keep]])
        groups = np.concatenate([groups, splits.groups[keep] + groups.max() + 1])
        learned = np.concatenate([splits.train, splits.val])
        train = np.concatenate([train, place[learned[keep[learned]]]])
        test = np.concatenate([test, place[splits.test[keep[splits.test]]]])
        notes += more
    whole = collected(replace(dataset, examples=tuple(examples), classes=(*old.classes, *added)), rows)
    task = TASKS.get("classification")(whole.dataset.classes)
    session = Session(
        recipe=recipe,
        dataset=whole.dataset,
        scanned=whole,
        splits=replace(fresh[1], train=train, val=train[:0], test=test, groups=groups, notes=tuple(notes)),
        task=task,
        targets=task.encode([example.label for example in examples]),
        old=old,
    )
    _check_enough(session, len(old.classes))
    return session


def _useful(
    old: Finished, new: Scanned, others: Scanned, added: set[str]
) -> tuple[Bool[np.ndarray, "n"], list[Notice]]:
    """Return which old examples to use: those of a known class that are not among the new data."""
    dataset, notes = others.dataset, []
    keep = np.array([one.label in old.classes for one in dataset.examples], dtype=bool)
    if strange := sorted(set(dataset.classes) - set(old.classes)):
        notes.append(f"Old examples of classes unknown to the model left out: {', '.join(strange)}.")
    label_of = {key: one.label for key, one in zip(new.decoded, new.dataset.examples, strict=True) if key}
    copied = np.array([key in label_of for key in others.decoded], dtype=bool)
    both = [at for at in np.flatnonzero(copied).tolist() if label_of[others.decoded[at]] in added]
    if both:
        one, label = dataset.examples[both[0]], label_of[others.decoded[both[0]]]
        raise BadData(
            f"{len(both)} examples of a new class are also among the old ones: {one.id} is {one.label} there and "
            f"{label} in {new.dataset.root.name}.",
            fix="remove them from one of the two; if the old labels are wrong, retrain (regraft fit).",
        )
    if copied.any():
        notes.append(f"{int(copied.sum())} old examples are in both data sets; they count once.")
    return keep & ~copied, [*notices(notes)]


def _check_enough(session: Session, num_old: int) -> None:
    """Raise `BadData` if old or new examples are missing."""
    learned = session.targets[session.splits.train]
    if not (learned < num_old).any():
        raise BadData(
            "There are no examples of the old classes, so a new class might take over their inputs, and nothing would "
            "show it.",
            fix="provide some, from the original training data or similar data: --old PATH.",
        )
    for at, name in enumerate(session.task.classes[num_old:], num_old):
        if (count := int((learned == at).sum())) < 2:
            raise BadData(
                f"The new class {name!r} has {count} usable training examples; at least 2 are required, ten or more "
                "are recommended.",
                fix="add examples of it, or leave it out.",
            )
    if not (session.targets[session.splits.test] >= num_old).any():
        raise BadData("No example of a new class is left for testing.", fix="add examples to the test split.")


MIN_SHARE = 0.1
"""Lower limit of the divisors, relative to the root mean square of all features' standard deviations (our choice)."""


def others_of(setup: Setup, asked: Sequence[tuple[str, int]]) -> Generator[Event, None, Setup]:
    """Return the setup with these backbones' features of every example, in the same views as the trained network; if
    the task's targets are a teacher's features, with these."""
    session, root = setup.session, cache_home() / "store"
    usable, want = session.usable, Want(cut="output", views=max(1, setup.resolved.views), dtype="float32")
    others, opened = list[Other](), list[Activations]()
    for spec, input_px in asked:
        backbone = yield from open_backbone(spec, input_px=input_px or None, seed=session.recipe.seed)
        backbone = suited(session.recipe, session.dataset, backbone)
        yield from session.check(backbone.card)
        prefixes = prefixes_of(
            backbone, Reads(), device=setup.device, backend=session.recipe.backend, threads=setup.threads
        )
        inputs = session.inputs(backbone.card, setup.threads)
        opened.append(Activations(Store(root), Memo(root), prefixes, inputs))
        yield from opened[-1].fill([want], usable.tolist())
        yield from prefixes.notices
        states = opened[-1].states(want, len(session.dataset.examples), usable.tolist())
        others.append(Other(backbone=backbone, states=Standard(states, session.validated[0])))
    if session.task.taught:
        features = others[0].states.batch(usable, np.zeros_like(usable))["features"]
        targets = np.zeros((len(session.dataset.examples), features.shape[1]), dtype=np.float32)
        targets[usable] = features
        session = replace(session, targets=targets, task=session.task.prepared(targets))
    return replace(setup, session=session, others=tuple(others), beside=tuple(opened))


class Standard(States):
    """Pooled features standardised by mean and standard deviation (at least MIN_SHARE of their root mean square over
    the features) over the plain views of some examples."""

    def __init__(self, pooled: States, over: Int[np.ndarray, "n"]) -> None:
        self._pooled = pooled
        features = pooled.batch(over, np.zeros_like(over))["pooled"]
        std = features.std(axis=0)
        # A feature that hardly varies here may be far out in another view; it must not outweigh all others there.
        self._mean, self._scale = features.mean(axis=0), np.maximum(std, MIN_SHARE * np.sqrt((std**2).mean()) + 1e-12)

    @property
    def num_views(self) -> int | None:
        return self._pooled.num_views

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        features = self._pooled.batch(examples, views, pieces)["pooled"]
        return {"features": ((features - self._mean) / self._scale).astype(np.float32)}
