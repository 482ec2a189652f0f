"""What a row may be beside arrays of one shape: placed in its example, one of its pieces, with taps of lower stages,
and as long as its text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from activations.filling import AT_CUT, AT_TOP, NUM, Source, activations, drain, equal
from regraft.activations.fill import Want
from regraft.activations.slots import Slot
from regraft.backbones.backbone import Backbone
from regraft.contracts.backbone import Network
from regraft.contracts.family import Built
from regraft.values import Plan
from toy_backbone import ENTRY, toy_backbone, toy_input
from toys import Start

RAGGED = {"ids": ((None,), "int64"), "mask": ((None,), "bool")}
BOX = Slot(name="box", shape=(4,), dtype="float32")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return toy_backbone(tmp_path_factory.mktemp("toy"))


def box(example: int, number: int) -> dict[str, np.ndarray]:
    return {"box": np.array([example, number, example + number, 1], np.float32)}


def test_placements_are_kept_with_their_rows_and_are_no_part_of_the_state(backbone: Backbone, tmp_path: Path) -> None:
    examples, views = np.array([5, 0, 36]), np.array([1, 0, 1])
    expected = np.stack([box(*pair)["box"] for pair in zip(examples, views, strict=True)])
    plain = activations(backbone, tmp_path / "plain")
    drain(plain.fill([AT_CUT], range(NUM)))
    wanted = plain.states(AT_CUT, NUM, range(NUM)).batch(examples, views)
    assert plain.states(AT_CUT, NUM, range(NUM)).placements(examples, views) == {}
    plain.close()
    for source in (Source(toy_input, box), Source(toy_input, box)):
        made = activations(backbone, tmp_path / "placed", source, placement=[BOX])
        drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
        states = made.states(AT_CUT, NUM, range(NUM))
        found = states.batch(examples, views)
        assert set(found) == set(wanted)
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
        np.testing.assert_array_equal(states.placements(examples, views)["box"], expected)
        top = made.states(AT_TOP, NUM, range(NUM)).placements(examples, np.zeros(3, int))
        np.testing.assert_array_equal(top["box"], np.stack([box(example, 0)["box"] for example in examples]))
        made.close()
    assert source.asked == [], "the second time they come from the store"


def test_fresh_states_have_placements_that_cost_no_second_loading(backbone: Backbone, tmp_path: Path) -> None:
    source = Source(toy_input, box)
    made = activations(backbone, tmp_path, source, placement=[BOX])
    states, examples, views = made.fresh("input"), np.array([3, 1]), np.array([7, 2])
    states.batch(examples, views)
    np.testing.assert_array_equal(states.placements(examples, views)["box"], [[3, 7, 10, 1], [1, 2, 3, 1]])
    assert len(source.asked) == 2
    np.testing.assert_array_equal(states.placements(np.array([4]), np.array([0]))["box"], [[4, 0, 4, 1]])
    made.close()


def test_pieces_are_rows_of_their_own(backbone: Backbone, tmp_path: Path) -> None:
    """Example e has 1 + e % 3 pieces; piece p of it is what example e + NUM p of the plain data is."""
    examples, views, pieces = np.array([5, 5, 0, 8, 5]), np.array([1, 0, 1, 0, 1]), np.array([2, 1, 0, 2, 0])
    plain = activations(backbone, tmp_path / "plain", contents=[str(i) for i in range(3 * NUM)])
    drain(plain.fill([AT_CUT], range(3 * NUM)))
    expected = plain.states(AT_CUT, 3 * NUM, range(3 * NUM)).batch(examples + NUM * pieces, views)
    plain.close()
    order = [*range(NUM - 1, 4, -1), 0]
    for source in (Source(), Source()):
        made = activations(backbone, tmp_path / "pieces", source, pieces_of=lambda example: 1 + example % 3)
        assert made.plan(AT_CUT, [0, 5]).examples in (2 * (1 + 3), 0)
        drain(made.fill([AT_CUT], order))
        states = made.states(AT_CUT, NUM, order)
        found, fresh = states.batch(examples, views, pieces), made.fresh("layer.0").batch(examples, views, pieces)
        for name, array in expected.items():
            assert np.array_equal(found[name], array)
            assert np.array_equal(fresh[name], array)
        assert states.pieces_of(np.array([0, 5, 6])).tolist() == [1, 3, 1]
        assert made.fresh("input").pieces_of(np.array([0, 5, 6])).tolist() == [1, 3, 1]
        with pytest.raises(ValueError, match="piece"):
            states.batch(np.array([6]), np.array([0]), np.array([1]))
        made.close()
    assert len(source.asked) == len(examples), "only the fresh ones are asked for again"
    with pytest.raises(ValueError, match="at least one piece"):
        drain(activations(backbone, tmp_path / "none", pieces_of=lambda example: 0).fill([AT_CUT], range(3)))


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_taps_are_stored_at_the_cut_as_the_lower_stages_gave_them(
    backend: str, backbone: Backbone, tmp_path: Path
) -> None:
    examples, views = np.arange(NUM), np.zeros(NUM, int)
    low = Want(cut="embeddings", views=1, dtype="float32")
    plain = activations(backbone, tmp_path, backend=backend)
    drain(plain.fill([low, AT_CUT, AT_TOP], range(NUM)))
    lower, at_cut, top = (plain.states(want, NUM, range(NUM)).batch(examples, views) for want in (low, AT_CUT, AT_TOP))
    plain.close()
    keep, source = {"layer.0": ["embeddings"], "output": ["layer.0", "embeddings"]}, Source()
    made = activations(backbone, tmp_path, source, backend=backend, keep=keep)
    drain(made.fill([low, AT_CUT, AT_TOP], range(NUM)))
    assert len(source.asked) == 2 * NUM, "the taps are part of the key"
    found = made.states(AT_CUT, NUM, range(NUM)).batch(examples, views)
    assert set(found) == {*at_cut, "tap.embeddings"}
    assert set(made.states(low, NUM, range(NUM)).batch(examples, views)) == set(lower)
    np.testing.assert_allclose(found["tap.embeddings"], lower["hidden"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["hidden"], at_cut["hidden"], rtol=0, atol=1e-5)
    on_top = made.states(AT_TOP, NUM, range(NUM)).batch(examples, views)
    assert set(on_top) == {"pooled", "tap.embeddings", "tap.layer.0"}
    np.testing.assert_allclose(on_top["pooled"], top["pooled"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(on_top["tap.layer.0"], at_cut["hidden"], rtol=0, atol=1e-5)
    made.close()


def test_a_stage_may_offer_a_tap_of_its_own_and_stored_taps_go_on_to_the_top(backbone: Backbone) -> None:
    class Offering(nn.Module):
        def forward(self, state: Any) -> Any:
            return {**state, "hidden": state["hidden"] * 2, "tap.inside": state["hidden"] + 1}

    network = backbone.network
    stages = {**network.stages, "layer.1": Offering()}
    network = replace(network, stages=stages)
    record = {name: torch.from_numpy(array[None]) for name, array in toy_input(0).items()}
    low = network.run(record, upto="layer.0")["hidden"]
    state = network.run(record, upto="layer.1", keep=["inside", "layer.0", "layer.2"])
    assert set(state) == {"hidden", "mask", "position_bias", "tap.inside", "tap.layer.0"}
    assert torch.equal(state["tap.inside"], low + 1)
    assert torch.equal(state["tap.layer.0"], low)
    top = network.run(state, after="layer.1", keep=["inside", "layer.0", "layer.2"])
    assert torch.equal(top["tap.inside"], low + 1)
    assert torch.equal(top["tap.layer.2"], top["hidden"])
    assert set(network.run(state, after="layer.1")) == {"hidden", "mask", "position_bias"}


class Words(nn.Module):
    """Word vectors, and their mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"words": nn.Embedding(50, 16)})

    def forward(self, state: Any) -> Any:
        return {"hidden": self.body["words"](state["ids"]), "mask": state["mask"]}


def mean_of(state: Any) -> torch.Tensor:
    kept = state["mask"][..., None].float()
    found: torch.Tensor = (state["hidden"] * kept).sum(1) / kept.sum(1)
    return found


class Mixing(nn.Module):
    """Every word hears of all others."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(16, 16)

    def forward(self, state: Any) -> Any:
        return {**state, "hidden": torch.tanh(state["hidden"] + self.out(mean_of(state))[:, None])}


def build_ragged(card: Any) -> Built:
    stages = nn.ModuleDict({"embeddings": Words(), **{f"layer{i}": Mixing() for i in range(3)}})
    named = {name.replace("layer", "layer."): stage for name, stage in stages.items()}
    readouts = {"pooled": mean_of, "tokens": lambda state: state["hidden"]}
    network = Network(
        start=Start(), stages=named, readouts=lambda state: {name: read(state) for name, read in readouts.items()}
    )
    return Built(network=network, original=stages)


def text(example: int, number: int) -> dict[str, np.ndarray]:
    """A text of 1 to 70 words, all of them kept."""
    length = 1 + (29 * example + 11 * number) % 70
    return {"ids": np.random.default_rng([example, number]).integers(0, 50, length), "mask": np.ones(length, bool)}


def spans(example: int, number: int) -> dict[str, np.ndarray]:
    at = np.arange(len(text(example, number)["ids"]), dtype=np.int32)
    return {"offsets": np.stack([5 * at, 5 * at + 4], axis=1)}


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return toy_backbone(tmp_path_factory.mktemp("ragged"), family=replace(ENTRY, build=build_ragged))


@pytest.mark.parametrize("cut", ["input", "layer.0", "output"])
@pytest.mark.parametrize("view", ["pooled", "tokens"])
def test_rows_of_different_lengths_come_padded_with_a_mask(
    cut: str, view: str, ragged: Backbone, tmp_path: Path
) -> None:
    """Each is what the network makes of it alone, without any padding."""
    offsets, source = Slot(name="offsets", shape=(None, 2), dtype="int32"), Source(text, spans)
    made = activations(ragged, tmp_path, source, shapes=RAGGED, view=view, placement=[offsets])
    want = Want(cut=cut, views=2, dtype="float32")
    total = sum(len(text(example, number)["ids"]) for example in range(NUM) for number in range(2))
    told = made.plan(want, range(NUM))
    (plan, *_), _ = drain(made.fill([want], range(NUM)))
    assert isinstance(plan, Plan)
    if view == "tokens" or cut != "output":
        unit = made.entry(cut, "float32").row_bytes_of(1)
        assert plan.bytes_needed == pytest.approx(unit * total, rel=0.2)
        assert told.bytes_needed == pytest.approx(unit * total, rel=0.2)
    states, examples, views = made.states(want, NUM, range(NUM)), np.array([6, 0, 30, 6]), np.array([1, 0, 1, 0])
    found, placed = states.batch(examples, views), states.placements(examples, views)["offsets"]
    fresh = made.fresh(cut).batch(examples, views)
    assert set(fresh) == set(found)
    assert all(np.array_equal(fresh[name], found[name]) for name in found)
    lengths = [len(text(*pair)["ids"]) for pair in zip(examples.tolist(), views.tolist(), strict=True)]
    name = {"input": "ids", "layer.0": "hidden", "output": view}[cut]
    for row, (example, number) in enumerate(zip(examples.tolist(), views.tolist(), strict=True)):
        record = {key: torch.from_numpy(array[None]) for key, array in text(example, number).items()}
        with torch.no_grad():
            state = ragged.network.run(record, upto=cut)
            expected = (ragged.network.readouts(state) if cut == "output" else state)[name][0].numpy()
        if name != "pooled":
            assert found[name].shape[1] == max(lengths)
            assert found["mask"][row].tolist() == [True] * lengths[row] + [False] * (max(lengths) - lengths[row])
            assert not found[name][row, lengths[row] :].any()
        part = slice(None) if name == "pooled" else slice(lengths[row])
        np.testing.assert_allclose(found[name][row][part], expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(placed[row, : lengths[row]], spans(example, number)["offsets"])
    made.close()


def test_a_ragged_row_has_the_same_bits_whatever_was_filled_before(ragged: Backbone, tmp_path: Path) -> None:
    wants, examples, views = [AT_CUT, AT_TOP], np.arange(NUM), np.zeros(NUM, int)

    def filled_states(store: str, which: Any) -> list[dict[str, np.ndarray]]:
        made = activations(ragged, tmp_path / store, Source(text), shapes=RAGGED)
        drain(made.fill(wants, which))
        found = [made.states(want, NUM, which).batch(examples, views) for want in wants] if len(which) == NUM else []
        made.close()
        return found

    at_once = filled_states("one", range(NUM))
    filled_states("two", range(20, 5, -1))
    assert all(map(equal, at_once, filled_states("two", range(NUM))))


def test_arrays_of_one_input_that_differ_in_length_are_refused(ragged: Backbone, tmp_path: Path) -> None:
    source = Source(lambda example, number: {**text(example, number), "mask": np.ones(3, bool)})
    made = activations(ragged, tmp_path, source, shapes=RAGGED)
    with pytest.raises(ValueError, match="lengths"):
        drain(made.fill([AT_TOP], range(NUM)))
