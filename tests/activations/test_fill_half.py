"""Half precision: kept where it costs little, measured first, and given up where a value does not fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activations.filling import AT_CUT, NUM, Source, activations, drain, filled, with_tensors
from regraft.activations.fill import Want
from regraft.backbones.backbone import Backbone
from regraft.values import Event, Notice
from toy_backbone import toy_backbone, toy_input

AT_WORDS = Want(cut="embeddings", views=1, dtype="float16")
WORDS = "embeddings/body.words.weight"


def notices(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_half_precision_is_kept_where_it_costs_little(tmp_path: Path) -> None:
    made = activations(toy_backbone(tmp_path), tmp_path / "store")
    events, dtypes = drain(made.fill([replace(AT_CUT, dtype="float16")], range(NUM)))
    assert dtypes == {"layer.0": "float16"}
    assert 0 < made.half_error["layer.0"] < 1e-2
    assert notices(events) == []
    states = made.states(replace(AT_CUT, dtype="float16"), NUM, range(NUM))
    assert {name: array.dtype.name for name, array in states.batch(np.arange(2), np.zeros(2, int)).items()} == {
        "hidden": "float32", "mask": "bool", "position_bias": "float32",
    }  # fmt: skip
    assert made.entry("layer.0", "float16").row_bytes == 9 * 16 * 2 + 9
    made.close()


def offset(by: float, folder: Path) -> Backbone:
    """The toy whose word vectors all lie around `by`, far from zero, so that half precision blurs them."""

    def further(tensors: dict[str, np.ndarray]) -> None:
        tensors[WORDS] += np.float32(by)

    return with_tensors(toy_backbone(folder), folder / "offset.safetensors", further)


@pytest.mark.parametrize(("make", "said"), [(lambda p: toy_backbone(p, scale=1e6), "overflows"),
                                            (lambda p: offset(3000, p), "of their standard deviation")])  # fmt: skip
def test_where_half_precision_costs_too_much_float32_is_kept_and_a_notice_given(
    make: Callable[[Path], Backbone], said: str, tmp_path: Path
) -> None:
    backbone, sources = make(tmp_path), (Source(), Source())
    for source in sources:
        made = activations(backbone, tmp_path / "store", source)
        events, dtypes = drain(made.fill([AT_WORDS], range(NUM)))
        assert dtypes == {"embeddings": "float32"}
        (notice,) = notices(events)
        assert said in notice
        made.close()
    assert sources[1].asked == [], "measured and stored once"


def last_is_huge(folder: Path) -> tuple[Backbone, Callable[[int, int], dict[str, np.ndarray]]]:
    """One word is huge, and occurs in the last example only: the check on the first ones cannot see it."""

    def huge(tensors: dict[str, np.ndarray]) -> None:
        tensors[WORDS][49] = 1e6

    def load(example: int, number: int) -> dict[str, np.ndarray]:
        record = toy_input(example, number)
        return {**record, "ids": np.full(9, 49) if example == NUM - 1 else record["ids"] % 49}

    return with_tensors(toy_backbone(folder), folder / "huge.safetensors", huge), load


def test_a_value_too_large_for_half_precision_is_found_wherever_it_comes(tmp_path: Path) -> None:
    backbone, load = last_is_huge(tmp_path)
    made = activations(backbone, tmp_path / "store", Source(load))
    events, dtypes = drain(made.fill([AT_WORDS], range(NUM)))
    assert dtypes == {"embeddings": "float32"}
    (notice,) = notices(events)
    assert "overflows" in notice
    states = made.states(replace(AT_WORDS, dtype="float32"), NUM, range(NUM))
    assert (states.batch(np.array([NUM - 1]), np.array([0]))["hidden"] == 1e6).all()
    made.close()
    again = Source(load)
    (found,) = filled(activations(backbone, tmp_path / "store", again), [AT_WORDS])
    assert again.asked == []
    (exact,) = filled(activations(backbone, tmp_path / "exact", Source(load)), [replace(AT_WORDS, dtype="float32")])
    assert np.array_equal(found["hidden"], exact["hidden"]), "no row was rounded before the large one came"


def test_every_cut_has_one_notice_though_filling_begins_anew(tmp_path: Path) -> None:
    """The top overflows at once, the words at the last example, when the top has had its notice."""
    plain, load = last_is_huge(tmp_path)

    def large(tensors: dict[str, np.ndarray]) -> None:
        tensors["layer.2/feed.3.bias"][0] = 1e9  # so large that it swallows what is added, and stays constant

    backbone = with_tensors(plain, tmp_path / "large.safetensors", large)
    made = activations(backbone, tmp_path / "store", Source(load))
    events, dtypes = drain(made.fill([AT_WORDS, replace(AT_WORDS, cut="output")], range(NUM)))
    made.close()
    assert dtypes == {"embeddings": "float32", "output": "float32"}
    assert [text.split()[2] for text in notices(events)] == ["output", "embeddings"]
