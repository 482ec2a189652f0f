"""States at the cut and at the top, in the store or computed each time, as the plan allows."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from regraft.activations.disk import Memo
from regraft.activations.fill import Activations, Want
from regraft.activations.runner import Prefixes
from regraft.activations.states import States
from regraft.activations.store import Store
from regraft.activations.stored import DeviceStates
from regraft.backbones.backbone import Backbone
from regraft.files import cache_home
from regraft.reports.report import StoreCheck, StoredCut, StoreFacts
from regraft.values import Event, Notice
from regraft.workbench._resolve import Resolved
from regraft.workbench.session import Session


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Where the states are."""

    states: States
    """At the cut."""
    top: States
    """The head's view of the top state of the untouched backbone."""
    activations: Activations
    """The store's side of it."""
    prefixes: Prefixes
    """The frozen parts as functions."""
    wants: dict[str, Want]
    """What is stored, by cut."""
    num_examples: int
    """Examples that have rows there."""

    def facts(self, check: StoreCheck | None) -> StoreFacts:
        """For the report."""
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
        )

    def close(self) -> None:
        """Let the store evict what this run used."""
        self.activations.close()


def store_states(
    session: Session,
    resolved: Resolved,
    backbone: Backbone,
    *,
    device: str,
    threads: int,
    top: Int[np.ndarray, "n"] | None = None,
) -> Generator[Event, None, Stored]:
    """Plan, fill, and hand out the states that the strategy and the probe beside it need.

    Where nothing is stored but the top, `top` says for which examples; None: for all.
    """
    taps = backbone.card.taps_at(session.task.reads.strides)
    on_top_too = backbone.card.generates_from if session.task.generates else ()
    root = cache_home() / "store"
    memo = Memo(root)
    prefixes = Prefixes(
        backbone,
        session.modality.shapes(backbone.card.preparation),
        view=session.task.reads.readout,
        keep={cut: taps for cut in (resolved.cut,) if cut != "input"} | {"output": (*taps, *on_top_too)},
        memo=memo,
        device=device,
        backend=session.recipe.backend,
        threads=threads,
    )
    activations = Activations(Store(root), memo, prefixes, session.inputs(backbone.card, threads))
    examples = session.usable.tolist()
    top_views = max(1, resolved.views) if resolved.cut == "output" else 1
    wants = [Want(cut="output", views=top_views, dtype=resolved.dtype if resolved.cut == "output" else "float32")]
    if resolved.cut != "output" and resolved.views:
        at_cut = Want(cut=resolved.cut, views=resolved.views, dtype=resolved.dtype)
        fitting = yield from _fitting(activations, at_cut, examples, backbone)
        wants += [fitting] if fitting else []
    if top is not None and len(wants) == 1:
        examples = top.tolist()
    dtypes = yield from activations.fill(wants, examples)
    yield from prefixes.notices
    final = {want.cut: Want(cut=want.cut, views=want.views, dtype=dtypes[want.cut]) for want in wants}
    total = len(session.dataset.examples)
    on_top = activations.states(final["output"], total, examples)
    if resolved.cut == "output":
        states: States = on_top
    elif resolved.cut in final:
        states = activations.states(final[resolved.cut], total, examples)
    else:
        states = activations.fresh(resolved.cut)
        if resolved.on_device:
            states = yield from _on_device(states, session, backbone, device=device, workers=threads)
    return Stored(
        states=states, top=on_top, activations=activations, prefixes=prefixes, wants=final, num_examples=len(examples)
    )


def _on_device(
    plain: States, session: Session, backbone: Backbone, *, device: str, workers: int
) -> Generator[Event, None, DeviceStates]:
    """The training examples held on the device, their views made there; `plain` gives the plain ones of all."""
    views = yield from session.modality.on_device(
        [example.contents for example in session.dataset.examples],
        session.scanned.content,
        backbone.card.preparation,
        session.augmentation,
        examples=session.validated[0].tolist(),
        seed=session.recipe.seed,
        device=device,
        workers=workers,
    )
    return DeviceStates(plain, views)


def _fitting(
    activations: Activations, want: Want, examples: Sequence[int], backbone: Backbone
) -> Generator[Event, None, Want | None]:
    """As many views as the store's limit and the disk hold; None where not even the plain one fits."""
    for views in range(want.views, 0, -1):
        fewer = Want(cut=want.cut, views=views, dtype=want.dtype)
        plan = activations.plan(fewer, examples)
        if plan.bytes_needed <= plan.bytes_free:
            if views < want.views:
                yield Notice(
                    text=f"{views} instead of {want.views} views per example are kept: more would pass the store's "
                    f"limit ({plan.bytes_needed / 1e9:.1f} GB are needed for {views}).",
                    topic="store",
                )
            return fewer
    higher = backbone.cuts[backbone.cuts.index(want.cut) + 1]
    yield Notice(
        text=f"Activations at {want.cut} do not fit into the store, so the frozen part is run again in every epoch. "
        f"A higher cut ({higher}) needs less; REGRAFT_CACHE_LIMIT raises the limit.",
        topic="store",
    )
    return None
