"""A model that was damaged, changed or made by another program is refused by name; nothing of it is run."""

import contextlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.backbones.opening import open_backbone
from regraft.bundle_format import FACTS, FORMAT, TENSORS, read_facts, read_tensors, write_tensors
from regraft.bundles.bundle import load
from regraft.errors import BundleError, RegraftError, UnknownName

Reseal = Callable[[Callable[[Any], None]], Path]


def opened(path: Path) -> None:
    """As the backbone of the next transfer."""
    for _ in open_backbone(f"bundle:{path}"):
        pass


def refused(path: Path, how: Callable[[Path], object] = load) -> BundleError:
    with pytest.raises(BundleError) as caught:
        how(path)
    assert caught.value.fix
    return caught.value


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def part_at(path: Path, at: int) -> str:
    """Whose tensor the byte belongs to."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    (name,) = (name for name, one in header.items() if one["data_offsets"][0] <= at - start < one["data_offsets"][1])
    return str(name).partition("/")[0]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("how", [load, opened])
def test_one_changed_byte_of_a_tensor_names_file_part_and_both_digests(
    share: float, how: Callable[[Path], object], copy: Path
) -> None:
    path = copy / TENSORS
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    at = start + int(share * (path.stat().st_size - start - 1))
    flip(path, at)
    error = refused(copy, how)
    part, facts = part_at(path, at), read_facts(copy)
    expected = {**facts["backbone"]["stages"], **facts["parts"]}[part]
    for said in (str(path), "changed or is damaged", repr(part), expected[:12], FACTS):
        assert said in error.message
    assert "copy the whole folder again" in error.fix


@pytest.mark.parametrize("at", [0, 4, 8, 20, 400])
def test_one_changed_byte_of_the_header_is_noticed(at: int, copy: Path) -> None:
    flip(copy / TENSORS, at)
    assert str(copy / TENSORS) in refused(copy).message


@pytest.mark.parametrize("name", [FACTS, TENSORS])
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    for how in (load, opened):
        assert name in refused(copy, how).message


@pytest.mark.parametrize("name", [FACTS, TENSORS])
def test_a_file_that_was_cut_short_is_named(name: str, copy: Path) -> None:
    os.truncate(copy / name, (copy / name).stat().st_size // 2)
    error = refused(copy)
    assert str(copy / name) in error.message
    assert "again" in error.fix


def test_bytes_after_the_end_are_noticed(copy: Path) -> None:
    with (copy / TENSORS).open("ab") as file:
        file.write(b"more")
    assert "is not a valid safetensors file" in refused(copy).message


class Trap:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", [FACTS, TENSORS])
def test_a_pickle_in_place_of_a_file_is_refused_and_does_not_run(name: str, copy: Path, tmp_path: Path) -> None:
    (copy / name).write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    for how in (load, opened):
        refused(copy, how)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran")))  # noqa: S301 - the trap works
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "edit",
    [
        lambda facts: facts["task"]["classes"].reverse(),
        lambda facts: facts["task"]["classes"].append("third"),
        lambda facts: facts.update(temperature=2.0),
        lambda facts: facts["backbone"]["card"].update(mean=[0, 0, 0]),
        lambda facts: facts["golden"]["logits"][0].reverse(),
        lambda facts: facts.update(more=1),
        lambda facts: facts.pop("digest"),
    ],
    ids=["classes reversed", "class added", "temperature", "normalisation", "golden", "field added", "no digest"],
)
def test_an_edited_description_is_refused(edit: Callable[[Any], object], copy: Path) -> None:
    facts = json.loads((copy / FACTS).read_text())
    edit(facts)
    (copy / FACTS).write_text(json.dumps(facts))
    for how in (load, opened):
        assert "was changed after it was saved: its digest is" in refused(copy, how).message


def test_a_format_of_the_future_is_refused_before_anything_else(copy: Path) -> None:
    (copy / TENSORS).unlink()
    (copy / FACTS).write_text(json.dumps({"format": FORMAT + 1, "made_with": {"regraft": "9.0"}, "new": [1]}))
    for how in (load, opened):
        error = refused(copy, how)
        assert f"format {FORMAT + 1}" in error.message
        assert "9.0" in error.fix


def test_golden_logits_that_differ_are_told_by_how_much_and_from_which_backend(reseal: Reseal) -> None:
    def edit(facts: Any) -> None:
        facts["golden"]["logits"][2][0] += 0.5
        facts["golden"]["backend"] = "another machine's"

    path = reseal(edit)
    error = refused(path)
    for said in ("predicts differently on this machine", "limit 0.0001", "another machine's"):
        assert said in error.message
    assert "backend='torch'" in error.fix
    assert load(path, verify=False).classes == ("columns", "rows")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda facts: facts["golden"].update(inputs=["0"] * 4), "golden inputs of"),
        (lambda facts: facts["golden"].update(seed=1), "golden inputs of"),
        (lambda facts: facts["golden"]["logits"].pop(), "predicts differently"),
        (lambda facts: facts["golden"]["logits"][0].__setitem__(0, float("1e300")), "predicts differently"),
        (lambda facts: facts["golden"].pop("logits"), "lacks its golden inputs"),
        (lambda facts: facts.update(golden=[]), "lacks its golden inputs"),
        (lambda facts: facts["task"]["classes"].append("third"), "requires 3 outputs"),
        (lambda facts: facts["task"].pop("classes"), "lacks 'classes'"),
        (lambda facts: facts.pop("temperature"), "lacks 'temperature'"),
        (lambda facts: facts.pop("backbone"), "is not a valid Regraft network description"),
        (lambda facts: facts["backbone"]["stages"].pop("4a"), "part '4a'"),
        (lambda facts: facts["backbone"]["card"].update(more=1), "is not a valid Regraft network description"),
        (lambda facts: facts["backbone"]["card"].update(family=None), "is not a valid Regraft network description"),
        (
            lambda facts: facts["backbone"]["card"].update(variant=["tiny"]),
            "is not a valid Regraft network description",
        ),
        (lambda facts: facts["backbone"]["card"].update(stages=[]), "is not a valid Regraft network description"),
        (lambda facts: facts["backbone"]["card"].update(mean=["a"] * 3), "is not a valid Regraft network description"),
        (lambda facts: facts["backbone"]["card"].update(std=[0.5]), "is not a valid Regraft network description"),
        (lambda facts: facts["backbone"]["card"]["preparation"].update(input_px=[1e30, 32]), "is not a valid"),
        (lambda facts: facts["parts"].pop("head"), "part 'head'"),
    ],
    ids=lambda value: value if type(value) is str else "",
)
def test_a_sealed_description_that_makes_no_sense_is_no_fault_of_ours(
    edit: Callable[[Any], None], said: str, reseal: Reseal
) -> None:
    assert said in refused(reseal(edit)).message


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda facts: facts["task"].update(kind="clasification"), "did you mean 'classification'?"),
        (lambda facts: facts["backbone"]["card"].update(family="googlenett"), "did you mean 'googlenet'?"),
    ],
    ids=["task", "family"],
)
def test_what_is_not_on_the_shelf_is_named_with_the_nearest(
    edit: Callable[[Any], None], said: str, reseal: Reseal
) -> None:
    with pytest.raises(UnknownName) as caught:
        load(reseal(edit))
    assert caught.value.fix == said


def test_a_head_of_another_size_is_refused(copy: Path, reseal: Reseal) -> None:
    from regraft.bundle_format import part_digests

    tensors = read_tensors(copy / TENSORS)
    tensors["head/weight"] = np.ascontiguousarray(tensors["head/weight"][:, :-1])
    write_tensors(copy / TENSORS, tensors)
    head = part_digests(tensors)["head"]
    assert "head in" in refused(reseal(lambda facts: facts["parts"].update(head=head))).message


def test_a_backbone_needs_no_head_that_is_whole(copy: Path) -> None:
    """Its digests are checked all the same: what was changed is not built upon."""
    tensors = read_tensors(copy / TENSORS)
    write_tensors(copy / TENSORS, {**tensors, "head/bias": tensors["head/bias"] + 1})
    assert "'head'" in refused(copy, opened).message


@pytest.mark.parametrize("place", ["nowhere", "", "runs"])
def test_a_place_without_a_model_is_said_to_be_none(place: str, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert str(tmp_path / place) in refused(tmp_path / place).message


def test_every_refusal_is_of_the_family(runs: Mapping[str, Any], reseal: Reseal) -> None:
    """Each field of the description in turn replaced by something else; a fault would be another exception."""
    body = read_facts(runs["probe"].model)
    for section in ("task", "backbone", "parts", "digests", "golden", "made_with", "facts", "temperature"):
        for instead in (None, "x", [], {}, -1):
            path = reseal(lambda facts, to=(section, instead): facts.update({**body, to[0]: to[1]}))
            with contextlib.suppress(RegraftError):
                load(path)
