"""From a recipe to a trained model: opening network and data, storing states, assembling the problem, and the outcome
of training.

Letters: n examples, r repeats, k folds.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from regraft.activations.fill import Activations, Want
from regraft.activations.runner import Prefixes
from regraft.activations.states import States
from regraft.activations.store import Store
from regraft.activations.stored import DeviceStates, ScoredStates, ahead
from regraft.backbones.backbone import Backbone
from regraft.bundles.bundle import prefixes_of
from regraft.contracts.modality import Placement, Record
from regraft.contracts.strategy import STRATEGIES, Fitted, Other, Problem
from regraft.data.dataset import Dataset
from regraft.files import cache_home
from regraft.recipe import Recipe, Seen
from regraft.reports.report import StoreCheck, StoredCut, StoreFacts
from regraft.strategies.probe import with_start
from regraft.values import Event, Notice
from regraft.workbench._machine import Phases, choose_device, num_threads
from regraft.workbench.recipes import (
    Resolved,
    backbone_spec,
    check_asked,
    check_seen,
    filled_in,
    named,
    open_for,
    options_of,
    resolve,
    suited,
)
from regraft.workbench.session import MIN_VALIDATION, Session, fitted_to, open_session

NOBODY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """Network and data of a run."""

    session: Session
    """The data; the session's recipe has every default filled in."""
    resolved: Resolved
    """The recipe resolved for the network."""
    backbone: Backbone
    """The network, with its preparation fitted to the training examples."""
    unfitted: Backbone
    """The network as it was opened."""
    device: str
    threads: int
    others: tuple[Other, ...] = ()
    """Other networks that the strategy requires."""
    beside: tuple[Activations, ...] = ()
    """Their activations in the store, to be closed."""


def opened(
    recipe: Recipe, dataset: Dataset | None, phases: Phases, *, holds_out: bool = True
) -> Generator[Event, None, Setup]:
    """Open the network and data of a recipe (or `dataset`), and check that they match. With `holds_out=False` the
    caller holds back the test split.

    Raises:
        RegraftError: the recipe, weights or data are not usable; the message says why and what to do.
    """
    threads, device = num_threads(recipe.threads), choose_device(recipe.device)
    unfitted = yield from phases.run("weights", open_for(recipe, backbone_spec(recipe)))
    resolved = resolve(recipe, unfitted.card)
    session = yield from phases.run("data", open_data(recipe, dataset, holds_out=holds_out, workers=threads))
    unfitted = suited(recipe, session.dataset, unfitted, session.task.reads)
    yield from phases.run("data", (notice for notice in session.check(unfitted.card)))
    resolved, (session, backbone) = resolve(recipe, unfitted.card), fitted_to(session, unfitted)
    check_seen(recipe.seen, backbone, session.dataset)
    check_asked(resolved, backbone, session.task)
    seen = Seen(backbone=backbone.digest(), data=session.dataset.fingerprint)
    recipe = replace(filled_in(recipe, resolved, backbone.card), task=session.task.kind, seen=seen)
    setup = Setup(
        session=replace(session, recipe=recipe), resolved=resolved, backbone=backbone, unfitted=unfitted,
        device=device, threads=threads,
    )  # fmt: skip
    if recipe.precision == "float32":
        return setup
    from regraft.workbench._precision import decided

    return (yield from phases.run("activations", decided(setup)))


def open_data(
    recipe: Recipe, dataset: Dataset | None = None, *, holds_out: bool = True, workers: int
) -> Generator[Event, None, Session]:
    """Open the recipe's data, or take `dataset`; add old examples if the strategy requires some.

    Raises:
        RegraftError: the data are not usable.
    """
    old_data = STRATEGIES.get(named(recipe).name).needs(options_of(recipe)).old_data
    if old_data is None:
        return (yield from open_session(recipe, dataset, holds_out=holds_out, workers=workers))
    from regraft.workbench._beside import open_beside

    return (yield from open_beside(recipe, old_data, workers=workers))


def with_others(setup: Setup) -> Generator[Event, None, Setup]:
    """Return the setup with the other networks that the strategy requires."""
    asked = setup.resolved.strategy.needs(setup.resolved.options).others
    if not asked:
        return setup
    from regraft.workbench._beside import others_of

    return (yield from others_of(setup, asked))


def problem_of(setup: Setup, stored: "Stored", folder: Path | None) -> Generator[Event, None, Problem]:
    """Assemble the strategy's problem; `folder` is for checkpoints, None keeps none. Yields a notice if early stopping
    is off because there are too few validation examples."""
    session, resolved = setup.session, setup.resolved
    train, val = session.learnable, NOBODY
    if resolved.validates:
        train, val = session.validated
        if not len(val):
            text = f"Fewer than {MIN_VALIDATION} validation examples: early stopping is off, and all examples are used "
            yield Notice(text=text + "for training.", topic="split")
        if setup.device == "cpu":
            import torch

            torch.set_num_threads(setup.threads)
    problem = Problem(
        backbone=setup.backbone,
        cut=resolved.cut,
        task=session.task,
        states=stored.states,
        top=stored.top,
        targets=session.targets,
        groups=session.splits.groups,
        train=train,
        val=val,
        seed=session.recipe.seed,
        device=setup.device,
        folder=folder,
        max_seconds=session.recipe.max_seconds or None,
        old=session.old,
        others=setup.others,
    )
    return with_start(problem, resolved.strategy.needs(resolved.options))


def probe_problem_of(session: Session, problem: Problem) -> Generator[Event, None, Problem]:
    """Assemble the problem of the linear probe that a fine-tuned model is compared with; yields a notice if it is
    solved on a sample."""
    train, every = session.beside, len(session.learnable)
    if len(train) < every:
        text = f"The reference probe is solved on {len(train):,} of {every:,} examples, "
        yield Notice(text=text + "sampled by class.", topic="probe")
    return replace(problem, cut="output", states=problem.top, train=train, val=NOBODY, folder=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """The states of a run."""

    states: States
    """States at the cut."""
    top: States
    """The pretrained network's readout for the head."""
    activations: Activations
    """Access to the store."""
    prefixes: Prefixes
    """The frozen stages as functions."""
    wants: dict[str, Want]
    """What is stored, by cut."""
    num_examples: int
    """Number of stored examples."""
    trained_on: "Rows | None" = None
    """Rows computed in another precision."""

    def facts(self, check: StoreCheck | None) -> StoreFacts:
        """Return the facts for the report."""
        return StoreFacts(
            cuts={
                cut: StoredCut(
                    dtype=want.dtype,
                    views=want.views,
                    rows=self.num_examples * want.views,
                    bytes=self.num_examples * want.views * self.activations.entry(cut, want.dtype).row_bytes,
                )
                for cut, want in self.wants.items()
            },
            reduced_precision_error=dict(self.activations.half_error),
            backend=self.prefixes.backend_name(),
            check=check,
            trained_on=self.trained_on.prefixes.backend_name() if self.trained_on else "",
        )

    def close(self) -> None:
        """Allow the store to evict what this run used."""
        self.activations.close()
        if self.trained_on:
            self.trained_on.activations.close()


@dataclass(kw_only=True)
class Rows:
    """Rows of the store that one runner computes."""

    prefixes: Prefixes
    activations: Activations
    wants: list[Want]
    examples: list[int]

    def fill(self) -> Generator[Event, None, None]:
        """Compute missing rows."""
        dtypes = yield from self.activations.fill(self.wants, self.examples)
        yield from self.prefixes.notices
        self.wants = [replace(want, dtype=dtypes[want.cut]) for want in self.wants]

    def states(self, cut: str, total: int) -> States | None:
        """Return the states at a cut, of `total` examples in the data set; None if there are none."""
        want = next((want for want in self.wants if want.cut == cut), None)
        return self.activations.states(want, total, self.examples) if want else None


def below(setup: Setup, precision: str = "float32") -> Prefixes:
    """Return the frozen stages of the network as functions."""
    task, card = setup.session.task, setup.backbone.card
    return prefixes_of(
        setup.backbone,
        task.reads,
        device=setup.device,
        backend=setup.session.recipe.backend,
        threads=setup.threads,
        cut=setup.resolved.cut,
        on_top=card.generates_from if task.generates else (),
        precision=precision,
    )


def rows_of(setup: Setup, wants: list[Want], examples: Sequence[int], precision: str = "float32") -> Rows:
    """Return rows for these examples, to be filled."""
    prefixes = below(setup, precision)
    inputs = setup.session.inputs(setup.backbone.card, setup.threads)
    activations = Activations(Store(cache_home() / "store"), prefixes.memo, prefixes, inputs)
    return Rows(prefixes=prefixes, activations=activations, wants=wants, examples=list(examples))


def store_states(setup: Setup) -> Generator[Event, None, Stored]:
    """Plan and fill the store; return the states for the strategy and the probe."""
    session, resolved, backbone = setup.session, setup.resolved, setup.backbone
    rows = rows_of(setup, [], session.usable.tolist())
    top_views = max(1, resolved.views) if resolved.cut == "output" else 1
    rows.wants = [Want(cut="output", views=top_views, dtype=resolved.dtype if resolved.cut == "output" else "float32")]
    if resolved.cut != "output" and resolved.views:
        at_cut = Want(cut=resolved.cut, views=resolved.views, dtype=resolved.dtype)
        fitting = yield from _fitting(rows.activations, at_cut, rows.examples, backbone)
        rows.wants += [fitting] if fitting else []
    asked = resolved.strategy.needs(resolved.options).top
    if resolved.cut != "output" and not resolved.views and not asked and session.tests:
        # Training itself never looks at the top: only the test does, and the probe beside the model.
        rows.examples = np.sort(np.concatenate([session.beside, session.splits.test])).tolist()
    reduced, scored = None, np.zeros(0, dtype=bool)
    if session.recipe.precision == "bfloat16":
        from regraft.workbench._precision import only_trained_on

        reduced, scored = only_trained_on(setup, rows)
    yield from rows.fill()
    if reduced:
        yield from reduced.fill()
    total = len(session.dataset.examples)

    def stored_at(cut: str) -> States | None:
        exact, other = rows.states(cut, total), reduced.states(cut, total) if reduced else None
        return ScoredStates(exact, other, scored) if exact and other else exact

    on_top = stored_at("output")
    assert on_top is not None, "the top is always stored"
    states: States | None = on_top if resolved.cut == "output" else stored_at(resolved.cut)
    if states is None:
        states = rows.activations.fresh(resolved.cut)
        if resolved.on_device:
            states = yield from _on_device(states, setup)
    return Stored(
        states=states, top=on_top, activations=rows.activations, prefixes=rows.prefixes,
        wants={want.cut: want for want in rows.wants}, num_examples=len(rows.examples), trained_on=reduced,
    )  # fmt: skip


def _on_device(plain: States, setup: Setup) -> Generator[Event, None, DeviceStates]:
    """Keep the training examples on the device and augment them there; `plain` provides the plain views."""
    session = setup.session
    views = yield from session.modality.on_device(
        [example.contents for example in session.dataset.examples],
        session.scanned.content,
        setup.backbone.card.preparation,
        session.augmentation,
        examples=session.validated[0].tolist(),
        seed=session.recipe.seed_of_data,
        device=setup.device,
        workers=setup.threads,
    )
    return DeviceStates(plain, views)


def _fitting(
    activations: Activations, want: Want, examples: Sequence[int], backbone: Backbone
) -> Generator[Event, None, Want | None]:
    """Reduce the number of views to what the store's limit and the disk allow; None if not even the plain view fits."""
    for views in range(want.views, 0, -1):
        fewer = Want(cut=want.cut, views=views, dtype=want.dtype)
        plan = activations.plan(fewer, examples)
        if plan.bytes_needed <= plan.bytes_free:
            if views < want.views:
                yield Notice(
                    text=f"{views} instead of {want.views} views per example are stored: more would exceed the store's "
                    f"limit ({plan.bytes_needed / 1e9:.1f} GB needed for {views}).",
                    topic="store",
                )
            return fewer
    higher = backbone.cuts[backbone.cuts.index(want.cut) + 1]
    yield Notice(
        text=f"Activations at {want.cut} do not fit in the store, so the frozen part runs again in every epoch. "
        f"A higher cut ({higher}) needs less; REGRAFT_CACHE_LIMIT raises the limit.",
        topic="store",
    )
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Raw outputs of a model on some examples."""

    positions: Int[np.ndarray, "n"]
    """Positions of the examples."""
    logits: Shaped[np.ndarray, "n ..."]
    """Raw outputs on the plain view; logits (n c) for most tasks."""
    by_fold: Float[np.ndarray, "r k"] | None = None
    """For cross-validation: the main metric by repeat and fold; the logits are those of the first repeat."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """A model with its training problem: the requested one, or the linear probe for comparison."""

    problem: Problem
    fitted: Fitted
    folds: Scores | None = None
    """Out-of-fold scores from cross-validation."""

    def scores(self, positions: np.ndarray) -> Scores:
        """Return the model's outputs on some examples."""
        return Scores(positions=positions, logits=self.fitted.logits(self.problem, positions))

    def unseen(self) -> Scores | None:
        """Return logits of held-out examples (validation or out of fold), without test examples."""
        found = self.fitted.out_of_fold
        if self.folds is None and found is not None:
            known = ~np.isnan(found).any(axis=1)
            return Scores(positions=self.problem.train[known], logits=found[known])
        return self.folds or (self.scores(self.problem.val) if len(self.problem.val) else None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome(Setup):
    """The result of a training run."""

    stored: Stored
    model: Contender
    probe: Contender
    """The linear probe; the model itself if that is the probe."""

    @property
    def recipe(self) -> Recipe:
        """The recipe with defaults filled in."""
        return self.session.recipe

    @property
    def tuned(self) -> bool:
        """Whether more than the head was trained."""
        return not self.resolved.strategy.solved

    def prepared(self, positions: np.ndarray) -> Iterator[list[list[tuple[Record, Placement]]]]:
        """Yield prepared inputs of some examples with their placements, piece by piece, in batches of examples."""
        inputs = self.session.inputs(self.backbone.card, self.threads)

        def load(at: int) -> list[tuple[Record, Placement]]:
            return [inputs.load(at, 0, piece) for piece in range(inputs.pieces_of(at))]

        yield from (batch for _, batch in ahead(load, positions.tolist(), size=64, workers=self.threads))
