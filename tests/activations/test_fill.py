"""Filling the store: what is stored equals what is computed, whatever was stored before and whatever comes between."""

import errno
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from activations.filling import AT_CUT, AT_TOP, NUM, Source, activations, drain, equal, filled
from problems import opened
from regraft.activations.fill import Want
from regraft.activations.slots import RowKey
from regraft.activations.store import Store
from regraft.backbones.backbone import Backbone
from regraft.errors import BadData, OutOfSpace
from regraft.identity import digest_json
from regraft.values import Notice, Plan, Progress
from toy_backbone import ENTRY, Unexportable, build, toy_backbone, toy_input, with_last_stage
from toys import ToyEncoder, toy_network

both_backends = pytest.mark.parametrize("backend", ["auto", "torch"])


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return toy_backbone(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Path:
    """A store in which the toy's prefixes are exported, for tests that are not about that."""
    root = tmp_path_factory.mktemp("exported")
    made = activations(backbone, root)
    drain(made.fill([AT_CUT, AT_TOP], range(1)))
    made.close()
    return root


@pytest.mark.parametrize("cut", ENTRY.card("toy").cuts)
def test_stored_states_lead_to_the_original_models_logits(cut: str, backbone: Backbone, tmp_path: Path) -> None:
    """Through stage, store and tail: a mask, a bias without an example axis, and what is made again."""
    (stored,) = filled(activations(backbone, tmp_path), [Want(cut=cut, views=2, dtype="float32")])
    original = ToyEncoder().eval()
    records = [toy_input(example, view) for example in range(NUM) for view in range(2)]
    inputs = {name: torch.from_numpy(np.stack([record[name] for record in records])) for name in ("ids", "mask")}
    with torch.no_grad():
        for name, tensor in toy_network(original).tensors().items():
            tensor.copy_(torch.from_numpy(backbone.tensors()[name]))
        expected = original(**inputs)
        torch.testing.assert_close(logits(backbone, cut, stored), expected, rtol=1e-5, atol=1e-5)
    if cut in ("input", "output"):
        assert set(stored) == ({"ids", "mask"} if cut == "input" else {"pooled"})
    else:
        assert set(stored) == {"hidden", "mask", "position_bias"}
        assert stored["position_bias"].shape == (1, 2, 9, 9)


@pytest.mark.parametrize("cut", ["input", "stem", "3b", "4e", "output"])
def test_stored_states_of_pictures_lead_to_the_networks_logits(cut: str, tmp_path: Path) -> None:
    """From bytes; batch norm is folded on the way to the store, and not in the network that is compared with."""
    px = 32
    pictures = np.random.default_rng(0).integers(0, 256, (NUM, px, px, 3), dtype=np.uint8)
    backbone, source = opened("googlenet:tiny@random", px), Source(lambda example, _: {"pixels": pictures[example]})
    made = activations(backbone, tmp_path, source, shapes={"pixels": ((px, px, 3), "uint8")})
    (stored,) = filled(made, [Want(cut=cut, views=1, dtype="float32")])
    with torch.no_grad():
        expected = backbone.network({"pixels": torch.from_numpy(pictures)})
        torch.testing.assert_close(logits(backbone, cut, stored), expected, rtol=1e-4, atol=1e-5)


def logits(backbone: Backbone, cut: str, stored: dict[str, np.ndarray]) -> torch.Tensor:
    """What the stages above the cut, and the source classifier, make of stored states."""
    network, state = backbone.network, {name: torch.from_numpy(array) for name, array in stored.items()}
    assert network.source_head is not None
    found: torch.Tensor = network.source_head(
        state["pooled"] if cut == "output" else network.readouts(network.run(state, after=cut))["pooled"]
    )
    return found


@both_backends
def test_cuts_filled_together_alone_and_in_either_order_have_the_same_bits(
    backend: str, backbone: Backbone, tmp_path: Path
) -> None:
    wants = [Want(cut=cut, views=2, dtype="float32") for cut in ("input", "layer.0", "output")]

    def fill(store: str, which: list[Want]) -> list[dict[str, Any]]:
        return filled(activations(backbone, tmp_path / store, backend=backend), which)

    together = fill("together", wants)
    swapped = fill("swapped", wants[::-1])[::-1]
    up = [fill("up", [want])[0] for want in wants]
    down = [fill("down", [want])[0] for want in reversed(wants)][::-1]
    alone = [fill(want.cut, [want])[0] for want in wants]
    for other in (swapped, up, down, alone):
        assert all(map(equal, together, other))


@both_backends
def test_what_was_stored_before_changes_no_bit(backend: str, backbone: Backbone, tmp_path: Path) -> None:
    """Other batches, other views, other cuts: filled in pieces, every row is what it is when filled at once."""

    def fill(store: str, wants: list[Want], examples: range = range(NUM)) -> list[dict[str, Any]]:
        return filled(activations(backbone, tmp_path / store, backend=backend), wants, examples)

    at_once = fill("one", [AT_CUT, AT_TOP])
    fill("two", [replace(AT_CUT, views=1)], range(5, 9))
    fill("two", [AT_TOP], range(0, NUM, 3))
    fill("two", [AT_CUT], range(NUM - 1, NUM))
    assert all(map(equal, at_once, fill("two", [AT_CUT, AT_TOP])))


def test_nothing_is_computed_again_when_nothing_changed(backbone: Backbone, tmp_path: Path) -> None:
    first, again = Source(), Source()
    one = filled(activations(backbone, tmp_path, first), [AT_CUT, AT_TOP])
    assert sorted(first.asked) == list(itertools.product(range(NUM), range(2)))
    two = filled(activations(backbone, tmp_path, again), [AT_CUT, AT_TOP])
    assert again.asked == []
    assert all(map(equal, one, two))


def test_a_filling_that_is_closed_keeps_what_it_computed(backbone: Backbone, exported: Path, tmp_path: Path) -> None:
    expected = filled(activations(backbone, exported), [AT_CUT])
    first, second = Source(), Source()
    filling = activations(backbone, tmp_path, first).fill([AT_CUT], range(NUM))
    while not (isinstance(event := next(filling), Progress) and event.done >= 32):
        pass
    filling.close()
    assert equal(filled(activations(backbone, tmp_path, second), [AT_CUT])[0], expected[0])
    assert len(second.asked) == 2 * NUM - 32


def test_an_input_that_cannot_be_read_stops_the_filling_and_costs_nothing_else(
    backbone: Backbone, tmp_path: Path
) -> None:
    def load(example: int, number: int) -> dict[str, np.ndarray]:
        if (example, number) == (20, 1):
            raise BadData("Example 20 is damaged.", fix="mend it.")
        return toy_input(example, number)

    made = activations(backbone, tmp_path, Source(load))
    with pytest.raises(BadData, match="Example 20"):
        drain(made.fill([AT_CUT], range(NUM)))
    again = Source()
    filled(activations(backbone, tmp_path, again), [AT_CUT])
    assert len(again.asked) == 2 * NUM - 32
    assert (20, 1) in again.asked


def test_a_plan_is_told_first_and_progress_ends_at_the_total(backbone: Backbone, tmp_path: Path) -> None:
    made = activations(backbone, tmp_path)
    told = made.plan(AT_CUT, range(NUM))
    assert (told.examples, told.seconds) == (2 * NUM, None)
    (plan, *progress), _ = drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    row = 9 * 16 * 4 + 9
    assert isinstance(plan, Plan)
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert (plan.examples, plan.bytes_needed) == (2 * NUM, NUM * (2 * row + 16 * 4))
    counts = [event.done for event in progress if isinstance(event, Progress)]
    assert len(counts) == len(progress)
    assert counts == sorted(set(counts))
    last = progress[-1]
    assert isinstance(last, Progress)
    assert (last.done, last.total, last.seconds_left) == (2 * NUM, 2 * NUM, 0)
    assert made.plan(AT_CUT, range(NUM)).examples == 0
    made.close()


def test_what_is_done_once_is_not_taken_for_the_pace(backbone: Backbone, exported: Path, tmp_path: Path) -> None:
    """The first input takes as long as a session's start; told from the first batch, the rest would take seconds."""

    def load(example: int, number: int) -> dict[str, np.ndarray]:
        time.sleep(0.5 if (example, number) == (0, 0) else 0)
        return toy_input(example, number)

    made = activations(backbone, tmp_path, Source(load))
    (plan, first, *_, last), _ = drain(made.fill([AT_CUT], range(NUM)))
    made.close()
    assert isinstance(plan, Plan)
    assert isinstance(first, Progress)
    assert isinstance(last, Progress)
    assert plan.seconds is not None
    assert first.done == 16
    assert first.seconds_left is not None
    assert 0 < first.seconds_left < 0.4
    assert 0.5 <= plan.seconds - first.seconds_left <= first.seconds, "what was spent, and the rest at the later pace"
    assert last.seconds >= 0.5, "all of the time is told in the end"


def test_a_single_batch_has_a_plan_too(backbone: Backbone, exported: Path, tmp_path: Path) -> None:
    made = activations(backbone, tmp_path)
    events, _ = drain(made.fill([AT_TOP], range(5)))
    made.close()
    (plan, progress) = events
    assert isinstance(plan, Plan)
    assert (plan.examples, plan.bytes_needed) == (5, 5 * 16 * 4)
    assert plan.seconds is not None
    assert isinstance(progress, Progress)
    assert (progress.done, progress.seconds_left) == (5, 0)


def pins(root: Path) -> list[Path]:
    """The entries that somebody has open."""
    return [entry.path for entry in Store(root).entries() if entry.pinned]


def test_over_the_stores_limit_it_says_so_and_what_fits_stays(backbone: Backbone, tmp_path: Path) -> None:
    """Room for the first shard at the cut, and no more. Both entries have rows waiting, and both are let go of."""
    filled(activations(backbone, tmp_path / "whole"), [AT_CUT, AT_TOP], range(1))
    root = tmp_path / "store"
    filled(activations(backbone, root), [AT_CUT, AT_TOP], range(1))
    limit = Store(root).size_bytes() + 30_000
    first = Source()
    made = activations(backbone, root, first, shard_bytes=10_000, limit=limit)
    told = made.plan(AT_CUT, range(NUM))
    assert told.bytes_free < told.bytes_needed
    with pytest.raises(OutOfSpace, match="in use") as raised:
        drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    assert "REGRAFT_CACHE_LIMIT" in raised.value.fix
    assert "fewer views or a higher cut" in raised.value.fix
    assert pins(root) == []
    again = Source()
    found = filled(activations(backbone, root, again), [AT_CUT, AT_TOP])
    assert 0 < len(again.asked) < 2 * NUM - 2
    assert all(map(equal, found, filled(activations(backbone, tmp_path / "whole"), [AT_CUT, AT_TOP])))


def test_a_full_disk_is_told_and_what_was_written_stays(
    backbone: Backbone, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full once one shard is on it, and for all entries: none of them stays open."""
    filled(activations(backbone, tmp_path), [AT_CUT, AT_TOP], range(1))
    synced, shards = os.fsync, list[int]()

    def fsync(handle: int) -> None:
        shards.append(handle)
        if len(shards) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(handle)

    made = activations(backbone, tmp_path, shard_bytes=10_000)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutOfSpace, match="The disk is full") as raised:
        drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    monkeypatch.undo()
    assert "regraft cache" in raised.value.fix
    assert "REGRAFT_CACHE" in raised.value.fix
    assert pins(tmp_path) == []
    again = Source()
    found = filled(activations(backbone, tmp_path, again), [AT_CUT, AT_TOP])
    assert 0 < len(again.asked) < 2 * NUM - 2
    assert all(map(equal, found, filled(activations(backbone, exported), [AT_CUT, AT_TOP])))


def test_an_error_on_the_way_is_not_hidden_by_a_full_disk(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def load(example: int, number: int) -> dict[str, np.ndarray]:
        if example == 30:
            raise BadData("Example 30 is damaged.", fix="mend it.")
        return toy_input(example, number)

    filled(activations(backbone, tmp_path), [AT_CUT, AT_TOP], range(1))
    made = activations(backbone, tmp_path, Source(load))
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BadData, match="Example 30"):
        drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    assert pins(tmp_path) == []


def test_closing_lets_go_of_every_entry_even_where_one_cannot_be_written(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = activations(backbone, tmp_path)
    for want in (AT_TOP, AT_CUT):
        entry = made.entry(want.cut, want.dtype)
        rows = {slot.name: np.zeros((1, *slot.shape), slot.stored_dtype) for slot in entry.row_slots}
        entry.append([RowKey("0", "plain")], rows)

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutOfSpace):
        made.close()
    assert pins(tmp_path) == []


def test_rows_are_kept_under_the_backend_that_computed_them(tmp_path: Path) -> None:
    """The upper stages cannot be exported, the lower ones can. Once that shows, all of this backbone's rows are
    torch's; what was read of before stays readable."""
    backbone, root, notices = with_last_stage(Unexportable, tmp_path), tmp_path / "store", list[Notice]()
    reference = filled(activations(backbone, tmp_path / "torch", backend="torch"), [AT_CUT, AT_TOP])
    made, where = activations(backbone, root, notices=notices), (np.arange(NUM), np.ones(NUM, int))
    drain(made.fill([AT_CUT], range(NUM)))
    early, fresh = made.states(AT_CUT, NUM, range(NUM)), made.fresh("layer.0")
    before = early.batch(*where)
    assert made.key("layer.0", "float32")["backend"].startswith("onnxruntime-")
    drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    assert len(notices) == 1
    assert equal(early.batch(*where), before)
    assert equal(fresh.batch(*where), made.states(AT_CUT, NUM, range(NUM)).batch(*where))
    rows = {(e.key["cut"], e.key["backend"].partition("-")[0]): e.rows for e in Store(root).entries() if e.rows}
    assert rows == {("layer.0", "onnxruntime"): 2 * NUM, ("layer.0", "torch"): 2 * NUM, ("output", "torch"): NUM}
    late = made.states(AT_CUT, NUM, range(NUM)).batch(*where)
    assert np.array_equal(late["hidden"], reference[0]["hidden"].reshape(NUM, 2, 9, 16)[:, 1])
    made.close()
    again = Source()
    found = filled(activations(backbone, root, again), [AT_CUT, AT_TOP])
    assert again.asked == []
    assert all(map(equal, found, reference))


def test_equal_contents_are_one_row(backbone: Backbone, tmp_path: Path) -> None:
    source = Source(lambda example, number: toy_input(example // 2, number))
    contents = [digest_json(example // 2) for example in range(NUM)]
    made = activations(backbone, tmp_path, source, contents=contents)
    drain(made.fill([AT_TOP], range(NUM)))
    assert len(made.entry("output", "float32")) == (NUM + 1) // 2
    made.close()


def test_states_that_are_not_stored_are_refused(backbone: Backbone, exported: Path) -> None:
    made = activations(backbone, exported)
    drain(made.fill([AT_CUT], range(5)))
    states = made.states(AT_CUT, NUM, range(5))
    for example, view in ((5, 0), (0, 2)):
        with pytest.raises(ValueError, match="not stored"):
            states.batch(np.array([example]), np.array([view]))
    made.close()


@pytest.mark.parametrize("cut", ["input", "layer.0", "output"])
def test_fresh_states_are_those_that_would_be_stored(cut: str, backbone: Backbone, exported: Path) -> None:
    made = activations(backbone, exported)
    (stored,) = filled(activations(backbone, exported), [Want(cut=cut, views=2, dtype="float32")])
    fresh = made.fresh(cut)
    assert fresh.num_views is None
    found = fresh.batch(np.array([3, 0, 3]), np.array([1, 0, 0]))
    for name, array in found.items():
        expected = stored[name] if name == "position_bias" else stored[name][[7, 0, 6]]
        assert np.array_equal(array, expected)
    made.close()


def test_the_toy_is_built_like_any_family() -> None:
    network = build(ENTRY.card("toy")).network
    assert tuple(network.stages) == ENTRY.card("toy").stages
