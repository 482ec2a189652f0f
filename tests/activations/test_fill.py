"""Filling the store: what is stored equals what is computed, is computed once, and anew when anything in its key
changes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_backbone import FAMILY, SHAPES, build, toy_backbone, toy_input
from toys import ToyEncoder

from regraft.activations._runner import Prefixes
from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.memo import Memo
from regraft.activations.store import Store
from regraft.backbones._backbone import Backbone
from regraft.bundle_format import part_digests, read_tensors, write_tensors
from regraft.errors import BadData, OutOfSpace
from regraft.identity import digest_json
from regraft.values import Event, Notice, Plan, Progress

NUM = 37
AT_CUT = Want(cut="layer.0", views=2, dtype="float32")
AT_TOP = Want(cut="output", views=1, dtype="float32")


class Source:
    """The toy's inputs, which remember what was asked for."""

    def __init__(self, load: Callable[[int, int], dict[str, np.ndarray]] = toy_input) -> None:
        self.asked: list[tuple[int, int]] = []
        self._load = load

    def __call__(self, example: int, number: int) -> dict[str, np.ndarray]:
        self.asked.append((example, number))
        return self._load(example, number)

    def inputs(self, **how: Any) -> Inputs:
        known: dict[str, Any] = {
            "contents": [digest_json(example) for example in range(NUM)],
            "load": self,
            "view_name": lambda number: f"{number}:shift" if number else "plain",
            "fields": {"rule": 1},
        }
        return Inputs(**{**known, **how})


def activations(
    backbone: Backbone, root: Path, source: Source | None = None, *, backend: str = "auto", view: str = "pooled",
    limit: int | None = None, shard_bytes: int = 1 << 20, notices: list[Notice] | None = None, **inputs: Any,
) -> Activations:  # fmt: skip
    memo = Memo(root)
    tell = (lambda notice: None) if notices is None else notices.append
    prefixes = Prefixes(backbone, SHAPES, view=view, memo=memo, backend=backend, threads=1, tell=tell)
    store = Store(root, limit, shard_bytes=shard_bytes)
    return Activations(store, memo, prefixes, (source or Source()).inputs(**inputs))


def drain(filling: Iterator[Event]) -> tuple[list[Event], dict[str, str]]:
    """The events, and what the generator returned."""
    events = []
    while True:
        try:
            events.append(next(filling))
        except StopIteration as stop:
            return events, stop.value


def filled(made: Activations, wants: Sequence[Want], examples: Sequence[int] = range(NUM)) -> list[dict[str, Any]]:
    """Fill, and read all states back, as one record by want."""
    _, dtypes = drain(made.fill(wants, examples))
    found = []
    for want in wants:
        states = made.states(replace(want, dtype=dtypes[want.cut]), NUM, examples)
        pairs = list(itertools.product(examples, range(want.views)))
        found.append(states.batch(np.array([e for e, _ in pairs]), np.array([v for _, v in pairs])))
    made.close()
    return found


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


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


@pytest.mark.parametrize("cut", ["input", "embeddings", "layer.0", "layer.1"])
def test_stored_states_lead_to_the_original_models_logits(cut: str, backbone: Backbone, tmp_path: Path) -> None:
    """Through stage, store and tail: a mask, a bias without an example axis, and what is made again."""
    (stored,) = filled(activations(backbone, tmp_path), [Want(cut=cut, views=2, dtype="float32")])
    network = backbone.fresh_network().eval()
    original = ToyEncoder().eval()
    kept = backbone.tensors()
    with torch.no_grad():
        for name, tensor in zip(network.tensors(), toy_tensors(original), strict=True):
            tensor.copy_(torch.from_numpy(kept[name]))
        records = [toy_input(example, view) for example in range(NUM) for view in range(2)]
        ids, mask = (torch.from_numpy(np.stack([record[name] for record in records])) for name in ("ids", "mask"))
        state = {name: torch.from_numpy(array) for name, array in stored.items()}
        found = network.source_head(network.views(network.run(state, after=cut))["pooled"])
        torch.testing.assert_close(found, original(ids, mask), rtol=1e-5, atol=1e-5)
    if cut not in ("input", "output"):
        assert set(stored) == {"hidden", "mask", "position_bias"}
        assert stored["position_bias"].shape == (1, 2, 9, 9)


def toy_tensors(original: ToyEncoder) -> list[torch.Tensor]:
    """The original's tensors in the order of the network's canonical names."""
    return list(build_like(original).tensors().values())


def build_like(original: ToyEncoder) -> Any:
    from toys import toy_network

    return toy_network(original)


def test_cuts_filled_in_one_pass_have_the_bits_of_cuts_filled_alone(backbone: Backbone, tmp_path: Path) -> None:
    together = filled(activations(backbone, tmp_path / "one"), [AT_CUT, AT_TOP])
    top_first = filled(activations(backbone, tmp_path / "two"), [AT_TOP])
    then_cut = filled(activations(backbone, tmp_path / "two"), [AT_CUT])
    assert equal(together[0], then_cut[0])
    assert equal(together[1], top_first[0])


def test_what_was_stored_before_changes_no_bit(backbone: Backbone, exported: Path, tmp_path: Path) -> None:
    """Other batches, other views, other cuts: filled in pieces, every row is what it is when filled at once."""
    at_once = filled(activations(backbone, tmp_path / "one"), [AT_CUT, AT_TOP])
    root = tmp_path / "two"
    filled(activations(backbone, root), [replace(AT_CUT, views=1)], range(5, 9))
    filled(activations(backbone, root), [AT_TOP], range(0, NUM, 3))
    in_pieces = filled(activations(backbone, root), [AT_CUT, AT_TOP])
    assert all(map(equal, at_once, in_pieces))


def test_nothing_is_computed_again_when_nothing_changed(backbone: Backbone, tmp_path: Path) -> None:
    first, again = Source(), Source()
    one = filled(activations(backbone, tmp_path, first), [AT_CUT, AT_TOP])
    assert sorted(first.asked) == list(itertools.product(range(NUM), range(2)))
    two = filled(activations(backbone, tmp_path, again), [AT_CUT, AT_TOP])
    assert again.asked == []
    assert all(map(equal, one, two))


def changed(backbone: Backbone, folder: Path, name: str, **how: Any) -> Backbone:
    """The backbone with one tensor a little larger."""
    tensors = read_tensors(backbone.tensors_path)
    tensors[name] = tensors[name] + np.float32(0.01)
    write_tensors(folder / "changed.safetensors", tensors)
    digests = part_digests(tensors)
    stages = {stage: digests[stage] for stage in backbone.card.stages}
    return replace(backbone, tensors_path=folder / "changed.safetensors", stage_digests=stages, **how)


CHANGES: dict[str, Callable[[Backbone, Path], dict[str, Any]]] = {
    "a tensor below the cut": lambda b, p: {"backbone": changed(b, p, "layer.0/qkv.weight")},
    "the first stage": lambda b, p: {"backbone": changed(b, p, "embeddings/body.bias.weight")},
    "the family's revision": lambda b, p: {"backbone": replace(b, family=replace(FAMILY, revision=2))},
    "the normalisation": lambda b, p: {"backbone": replace(b, card=replace(b.card, mean=(0.5,)))},
    "the variant": lambda b, p: {"backbone": replace(b, card=replace(b.card, variant="other"))},
    "the preparation": lambda b, p: {"fields": {"rule": 2}},
    "the name of the view": lambda b, p: {"view_name": lambda number: f"{number}:other"},
    "the content": lambda b, p: {"contents": [digest_json(["new", example]) for example in range(NUM)]},
    "the backend": lambda b, p: {"backend": "torch"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_everything_is_computed_again_when_any_part_of_the_key_changes(
    change: str, backbone: Backbone, exported: Path, tmp_path: Path
) -> None:
    drain(activations(backbone, exported).fill([AT_CUT], range(NUM)))
    again, how = Source(), CHANGES[change](backbone, tmp_path)
    made = activations(how.pop("backbone", backbone), exported, again, **how)
    filled(made, [AT_CUT])
    assert sorted(again.asked) == list(itertools.product(range(NUM), range(2)))


@pytest.mark.parametrize(
    "want", [replace(AT_CUT, cut="embeddings"), replace(AT_CUT, dtype="float16")], ids=["cut", "dtype"]
)
def test_another_cut_or_dtype_is_computed_too(want: Want, backbone: Backbone, exported: Path) -> None:
    drain(activations(backbone, exported).fill([AT_CUT], range(NUM)))
    again = Source()
    filled(activations(backbone, exported, again), [want])
    assert set(again.asked) >= set(itertools.product(range(NUM), range(2)))


def test_another_view_of_the_top_state_is_computed_too(backbone: Backbone, exported: Path) -> None:
    drain(activations(backbone, exported).fill([AT_TOP], range(NUM)))
    again = Source()
    (found,) = filled(activations(backbone, exported, again, view="tokens"), [AT_TOP])
    assert len(again.asked) == NUM
    assert found["tokens"].shape == (NUM, 9, 16)


def test_a_tensor_above_the_cut_changes_nothing_below_it(backbone: Backbone, exported: Path, tmp_path: Path) -> None:
    """So a model whose upper stages were tuned shares its lower activations with the one it came from."""
    drain(activations(backbone, exported).fill([AT_CUT], range(NUM)))
    tuned, again = changed(backbone, tmp_path, "layer.2/out.weight"), Source()
    filled(activations(tuned, exported, again), [AT_CUT])
    assert again.asked == []
    filled(activations(tuned, exported, again), [AT_TOP])
    assert len(again.asked) == NUM


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


def test_the_plan_comes_with_the_first_batch_and_progress_ends_at_the_total(backbone: Backbone, tmp_path: Path) -> None:
    made = activations(backbone, tmp_path)
    told = made.plan(AT_CUT, range(NUM))
    assert (told.examples, told.seconds) == (2 * NUM, None)
    events, _ = drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    plan = events[0]
    row = 9 * 16 * 4 + 9
    assert isinstance(plan, Plan)
    assert plan.seconds is not None
    assert (plan.examples, plan.bytes_needed) == (2 * NUM, NUM * (2 * row + 16 * 4))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == sorted({event.done for event in progress})
    assert progress[-1].done == progress[-1].total == 2 * NUM
    assert progress[-1].seconds_left == 0
    assert made.plan(AT_CUT, range(NUM)).examples == 0
    made.close()


def test_over_the_stores_limit_it_says_so_and_what_fits_stays(
    backbone: Backbone, exported: Path, tmp_path: Path
) -> None:
    made = activations(backbone, tmp_path, shard_bytes=16_000, limit=1)
    assert made.plan(AT_CUT, range(NUM)).bytes_free < made.plan(AT_CUT, range(NUM)).bytes_needed
    with pytest.raises(OutOfSpace, match="are in use"):
        drain(made.fill([AT_CUT], range(NUM)))
    wide = activations(backbone, tmp_path)
    assert equal(filled(wide, [AT_CUT])[0], filled(activations(backbone, exported), [AT_CUT])[0])


def test_half_precision_is_kept_where_it_costs_little(backbone: Backbone, tmp_path: Path) -> None:
    made = activations(backbone, tmp_path)
    events, dtypes = drain(made.fill([replace(AT_CUT, dtype="float16")], range(NUM)))
    assert dtypes == {"layer.0": "float16"}
    assert 0 < made.half_error["layer.0"] < 1e-2
    assert not [event for event in events if isinstance(event, Notice)]
    states = made.states(replace(AT_CUT, dtype="float16"), NUM, range(NUM))
    assert {name: array.dtype.name for name, array in states.batch(np.arange(2), np.zeros(2, int)).items()} == {
        "hidden": "float32", "mask": "bool", "position_bias": "float32",
    }  # fmt: skip
    made.close()


def offset(by: float, folder: Path) -> Backbone:
    """The toy whose word vectors all lie around `by`, far from zero, so that half precision blurs them."""
    plain = toy_backbone(folder)
    tensors = plain.tensors()
    tensors["embeddings/body.words.weight"] += np.float32(by)
    write_tensors(plain.tensors_path, tensors)
    digests = part_digests(tensors)
    return replace(plain, stage_digests={stage: digests[stage] for stage in plain.card.stages})


@pytest.mark.parametrize(("make", "said"), [(lambda p: toy_backbone(p, scale=1e6), "overflows"),
                                            (lambda p: offset(3000, p), "of their spread")])  # fmt: skip
def test_where_half_precision_costs_too_much_float32_is_kept_and_a_notice_given(
    make: Callable[[Path], Backbone], said: str, tmp_path: Path
) -> None:
    backbone, want = make(tmp_path), Want(cut="embeddings", views=1, dtype="float16")
    for source in (Source(), Source()):
        made = activations(backbone, tmp_path / "store", source)
        events, dtypes = drain(made.fill([want], range(NUM)))
        assert dtypes == {"embeddings": "float32"}
        (notice,) = [event for event in events if isinstance(event, Notice)]
        assert said in notice.text
        made.close()
    assert source.asked == []


def test_a_value_too_large_for_half_precision_is_found_wherever_it_comes(tmp_path: Path) -> None:
    """One word is huge, and occurs in the last example only: the check on the first ones cannot see it."""
    plain = toy_backbone(tmp_path)
    tensors = plain.tensors()
    tensors["embeddings/body.words.weight"][49] = 1e6
    write_tensors(plain.tensors_path, tensors)
    digests = part_digests(tensors)
    backbone = replace(plain, stage_digests={stage: digests[stage] for stage in plain.card.stages})

    def load(example: int, number: int) -> dict[str, np.ndarray]:
        record = toy_input(example, number)
        return {**record, "ids": np.full(9, 49) if example == NUM - 1 else record["ids"] % 49}

    want = Want(cut="embeddings", views=1, dtype="float16")
    made = activations(backbone, tmp_path / "store", Source(load))
    events, dtypes = drain(made.fill([want], range(NUM)))
    assert dtypes == {"embeddings": "float32"}
    assert [event.text for event in events if isinstance(event, Notice)][0].count("overflows") == 1
    states = made.states(replace(want, dtype="float32"), NUM, range(NUM))
    assert (states.batch(np.array([NUM - 1]), np.array([0]))["hidden"] == 1e6).all()
    made.close()
    again = Source(load)
    assert filled(activations(backbone, tmp_path / "store", again), [want])
    assert again.asked == []


def test_rows_are_kept_under_the_backend_that_computed_them(tmp_path: Path) -> None:
    """The upper stages cannot be exported, the lower ones can: all of this backbone's rows are torch's."""
    from test_runner import Unexportable, with_last_stage

    backbone, notices = with_last_stage(Unexportable, tmp_path), list[Notice]()
    made = activations(backbone, tmp_path / "store", notices=notices)
    drain(made.fill([AT_CUT], range(NUM)))
    drain(made.fill([AT_CUT, AT_TOP], range(NUM)))
    assert len(notices) == 1
    backends = {entry.key["backend"].partition("-")[0] for entry in Store(tmp_path / "store").entries() if entry.rows}
    assert made.key("layer.0", "float32")["backend"].startswith("torch-")
    assert "torch" in backends
    made.close()
    again = Source()
    filled(activations(backbone, tmp_path / "store", again), [AT_CUT, AT_TOP])
    assert again.asked == []


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
    network = build(FAMILY.card("toy")).network
    assert tuple(network.stages) == FAMILY.card("toy").stages
