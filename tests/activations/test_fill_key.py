"""The key of the store: everything is computed again when any part of it changes, and only then."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activations.filling import AT_CUT, AT_TOP, NUM, Source, activations, equal, filled, with_tensors
from regraft.activations.fill import Want
from regraft.backbones.backbone import Backbone
from regraft.identity import digest_json
from toy_backbone import ENTRY, toy_backbone

PLAIN = {(example, 0) for example in range(NUM)}
TURNED = {(example, 1) for example in range(NUM)}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return toy_backbone(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, backbone: Backbone) -> Path:
    """A store that holds the states at the cut and at the top; what a test adds has other keys."""
    root = tmp_path_factory.mktemp("stored")
    filled(activations(backbone, root), [AT_CUT, AT_TOP])
    return root


def changed(backbone: Backbone, folder: Path, name: str) -> Backbone:
    """The backbone with one tensor a little larger."""

    def larger(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] += np.float32(0.01)

    return with_tensors(backbone, folder / "changed.safetensors", larger)


CHANGES: dict[str, Callable[[Backbone, Path], dict[str, Any]]] = {
    "a tensor below the cut": lambda b, p: {"backbone": changed(b, p, "layer.0/qkv.weight")},
    "the first stage": lambda b, p: {"backbone": changed(b, p, "embeddings/body.bias.weight")},
    "the family": lambda b, p: {"backbone": replace(b, card=replace(b.card, family="other"))},
    "the family's revision": lambda b, p: {"backbone": replace(b, family=replace(ENTRY, revision=2))},
    "the normalisation": lambda b, p: {"backbone": replace(b, card=replace(b.card, mean=(0.5,)))},
    "the variant": lambda b, p: {"backbone": replace(b, card=replace(b.card, variant="other"))},
    "the preparation": lambda b, p: {"fields": {"rule": 2}},
    "the content": lambda b, p: {"contents": [digest_json(["new", example]) for example in range(NUM)]},
    "the backend": lambda b, p: {"backend": "torch"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_everything_is_computed_again_when_a_part_of_the_key_changes(
    change: str, backbone: Backbone, root: Path, tmp_path: Path
) -> None:
    again, how = Source(), CHANGES[change](backbone, tmp_path)
    filled(activations(how.pop("backbone", backbone), root, again, **how), [AT_CUT])
    assert sorted(again.asked) == sorted(PLAIN | TURNED)


def test_an_augmentation_of_another_name_is_computed_and_the_plain_view_is_not(backbone: Backbone, root: Path) -> None:
    again = Source()
    named = {"view_name": lambda number: f"{number}:turn" if number else "plain"}
    filled(activations(backbone, root, again, **named), [AT_CUT])
    assert sorted(again.asked) == sorted(TURNED)


def test_one_example_of_new_content_is_computed_and_the_others_are_not(backbone: Backbone, root: Path) -> None:
    again, contents = Source(), [digest_json(7.5 if example == 7 else example) for example in range(NUM)]
    filled(activations(backbone, root, again, contents=contents), [AT_CUT])
    assert sorted(again.asked) == [(7, 0), (7, 1)]


@pytest.mark.parametrize(
    "want",
    [replace(AT_CUT, cut="embeddings"), replace(AT_CUT, cut="layer.1"), replace(AT_CUT, dtype="float16")],
    ids=["a lower cut", "a higher cut", "dtype"],
)
def test_another_cut_or_dtype_is_computed_too(want: Want, backbone: Backbone, root: Path) -> None:
    """For half precision the first inputs are asked for once more, to measure what it costs."""
    again = Source()
    (found,) = filled(activations(backbone, root, again), [want])
    assert set(again.asked) == PLAIN | TURNED
    assert not equal(found, filled(activations(backbone, root), [AT_CUT])[0])


def test_another_view_of_the_top_state_is_computed_too_and_below_the_top_it_does_not_matter(
    backbone: Backbone, root: Path
) -> None:
    again = Source()
    filled(activations(backbone, root, again, view="tokens"), [AT_CUT])
    assert again.asked == []
    (found,) = filled(activations(backbone, root, again, view="tokens"), [AT_TOP])
    assert sorted(again.asked) == sorted(PLAIN)
    assert found["tokens"].shape == (NUM, 9, 16)


def test_a_tensor_above_the_cut_changes_nothing_below_it(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    """So a model whose upper stages were tuned shares its lower activations with the one it came from."""
    tuned, again = changed(backbone, tmp_path, "layer.2/out.weight"), Source()
    (found,) = filled(activations(tuned, root, again), [AT_CUT])
    assert again.asked == []
    filled(activations(tuned, root, again), [AT_TOP])
    assert sorted(again.asked) == sorted(PLAIN)
    (alone,) = filled(activations(tuned, tmp_path / "alone"), [AT_CUT])
    assert equal(found, alone)


def test_what_is_not_part_of_the_key_costs_nothing(backbone: Backbone, root: Path) -> None:
    """Other examples around it, and the number of threads that read."""
    again = Source()
    filled(activations(backbone, root, again, workers=5), [AT_TOP, AT_CUT], range(NUM - 1, 0, -2))
    assert again.asked == []


def test_the_source_classifier_is_no_part_of_any_state(backbone: Backbone, root: Path, tmp_path: Path) -> None:
    again = Source()
    filled(activations(changed(backbone, tmp_path, "source/weight"), root, again), [AT_CUT, AT_TOP])
    assert list(itertools.chain(again.asked)) == []
