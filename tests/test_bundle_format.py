"""Tensors and facts on disk: what is written comes back bit for bit, and what was not written so is refused by name."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from regraft.bundle_format import (
    FACTS,
    FORMAT,
    bundle_folder,
    check_tensors,
    part_digests,
    read_facts,
    read_json,
    read_tensors,
    sealed,
    write_tensors,
)
from regraft.errors import BundleError
from toy_backbone import toy_backbone

KINDS = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
)


def odd_bits(kind: str) -> np.ndarray:
    """Every bit pattern at its edges; for floats NaNs with a payload, infinities, -0 and subnormal numbers."""
    if kind == "bool":
        return np.array([True, False, True])
    dtype = np.dtype(kind)
    bits = np.random.default_rng(0).integers(0, 256, 24 * dtype.itemsize).astype(np.uint8).view(dtype)
    if dtype.kind != "f":
        return np.concatenate([bits, np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)])
    finfo = np.finfo(dtype)
    return np.concatenate([bits, np.array([np.nan, np.inf, -np.inf, -0.0, finfo.smallest_subnormal, finfo.max], dtype)])


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def facts_in(folder: Path, body: dict[str, object]) -> Path:
    (folder / FACTS).write_text(json.dumps(sealed(body)), encoding="utf-8")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"stem/weight": np.arange(12, dtype=np.float32).reshape(3, 4), "head/bias": np.zeros(3)})
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_element_comes_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    array = odd_bits(kind)
    write_tensors(tmp_path / "a", {"a": array, "b/c": array[::-1], "byte": np.zeros(1, np.uint8)})
    found = read_tensors(tmp_path / "a")
    assert same_bits(found["a"], array)
    assert same_bits(found["b/c"], array[::-1])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 4, 5)], ids=str)
def test_every_shape_comes_back(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    write_tensors(tmp_path / "a", {"a": array})
    assert same_bits(read_tensors(tmp_path / "a")["a"], array)


def test_arrays_that_do_not_lie_in_one_piece_or_order_come_back(tmp_path: Path) -> None:
    table = np.arange(24, dtype=np.float32).reshape(4, 6)
    write_tensors(tmp_path / "a", {"turned": table.T, "every": table[::2, 1::3], "big": table.astype(">f4")})
    found = read_tensors(tmp_path / "a")
    np.testing.assert_array_equal(found["turned"], table.T)
    np.testing.assert_array_equal(found["every"], table[::2, 1::3])
    np.testing.assert_array_equal(found["big"], table)


def test_the_library_of_the_format_reads_the_same(file: Path) -> None:
    theirs, ours = load_file(file), read_tensors(file)
    assert theirs.keys() == ours.keys()
    assert all(same_bits(theirs[name], array) for name, array in ours.items())


def test_the_bytes_of_a_file_follow_from_the_tensors_alone(tmp_path: Path) -> None:
    one, other = np.arange(3.0), np.ones((2, 2), np.float16)
    write_tensors(tmp_path / "a", {"x/one": one, "y/other": other})
    write_tensors(tmp_path / "b", {"y/other": other, "x/one": one})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_names_that_begin_so_are_read_alone(file: Path) -> None:
    assert list(read_tensors(file, beginning=("head/", "ood/"))) == ["head/bias"]


def test_a_part_is_a_name_up_to_the_first_slash() -> None:
    one, other = np.zeros(2), np.ones(2)
    assert part_digests({"a/x": one, "a/y/z": other, "b/x": one}).keys() == {"a", "b"}
    assert part_digests({"a/x": one, "a/y": other}) == part_digests({"a/y": other, "a/x": one})


@pytest.mark.parametrize(
    "changed",
    [{"a/x": np.ones(4, np.float32)}, {"a/x": np.zeros(4)}, {"a/x": np.zeros((2, 2), np.float32)},
     {"a/y": np.zeros(4, np.float32)}, {"a/x": np.array([0, 0, 0, -0.0], np.float32)}],
    ids=["value", "dtype", "shape", "name", "sign of zero"],
)  # fmt: skip
def test_a_parts_digest_knows_names_kinds_shapes_and_bits(changed: dict[str, np.ndarray]) -> None:
    assert part_digests({"a/x": np.zeros(4, np.float32)})["a"] != part_digests(changed)["a"]


def test_a_tensor_above_the_cut_leaves_the_digests_below_alone(tmp_path: Path) -> None:
    backbone = toy_backbone(tmp_path)
    tensors = backbone.tensors()
    upper = next(name for name in tensors if name.startswith("layer.1/"))
    before, after = part_digests(tensors), part_digests({**tensors, upper: tensors[upper] + 1})
    assert {part for part in before if before[part] != after[part]} == {"layer.1"}
    changed = type(backbone)(backbone.card, backbone.family, backbone.tensors_path, after)
    same = {cut: backbone.digest(cut) == changed.digest(cut) for cut in backbone.cuts}
    assert same == {"input": True, "embeddings": True, "layer.0": True, "layer.1": False, "output": False}


def test_a_changed_missing_or_added_part_is_named_with_both_digests(file: Path) -> None:
    tensors = read_tensors(file)
    expected = part_digests(tensors)
    check_tensors(tensors, expected, file)
    changed = {**tensors, "stem/weight": -tensors["stem/weight"]}
    with pytest.raises(BundleError) as caught:
        check_tensors(changed, expected, file)
    for said in (str(file), "'stem'", expected["stem"][:12], part_digests(changed)["stem"][:12]):
        assert said in caught.value.message
    with pytest.raises(BundleError, match="part 'head' is missing"):
        check_tensors({"stem/weight": tensors["stem/weight"]}, expected, file)
    with pytest.raises(BundleError, match=r"part 'more' is .*records none"):
        check_tensors({**tensors, "more/x": np.zeros(1)}, expected, file)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1], lambda raw: raw[: len(raw) // 2], lambda raw: raw[:20], lambda raw: raw[:7],
        lambda raw: b"", lambda raw: raw + b"\0", lambda raw: raw + raw, lambda raw: b"\0" * len(raw),
        lambda raw: b"\xff" * 8 + raw[8:], lambda raw: raw.replace(b"F32", b"F99"), lambda raw: b"<html>404</html>",
        lambda raw: pickle.dumps({"stem/weight": [1.0]}), lambda raw: raw.replace(b"[0,24]", b"[8,24]"),
    ],
    ids=["a byte short", "half", "header cut", "length cut", "empty", "a byte more", "twice", "zeros", "huge header",
         "unknown kind", "a web page", "a pickle", "a hole"],
)  # fmt: skip
def test_a_file_that_is_not_whole_is_refused(damage: object, file: Path) -> None:
    raw = file.read_bytes()
    damaged = damage(raw)  # type: ignore[operator]
    assert damaged != raw
    file.write_bytes(damaged)
    with pytest.raises(BundleError, match="is not a valid safetensors file") as caught:
        read_tensors(file)
    assert str(file) in caught.value.message
    assert "again" in caught.value.fix


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.safetensors", tmp_path):
        with pytest.raises(BundleError, match="does not exist"):
            read_tensors(path)


def test_facts_come_back_with_their_format(tmp_path: Path) -> None:
    facts = read_facts(facts_in(tmp_path, {"classes": ["Ä", "猫"], "temperature": 0.1 + 0.2}))
    assert (facts["format"], facts["classes"], facts["temperature"]) == (FORMAT, ["Ä", "猫"], 0.1 + 0.2)


@pytest.mark.parametrize("written", ["", "{", '{"format": 1', "[" * 100_000, "\0\0", '{"a": "\udc00"}'])
def test_facts_that_are_no_json_are_refused(written: str, tmp_path: Path) -> None:
    (tmp_path / FACTS).write_bytes(written.encode(errors="surrogatepass"))
    with pytest.raises(BundleError, match="is not valid JSON") as caught:
        read_facts(tmp_path)
    assert str(tmp_path / FACTS) in caught.value.message


@pytest.mark.parametrize("written", ["[]", "3", "null", "{}", '{"format": "1"}', '{"format": null}'])
def test_json_that_is_no_model_is_called_so(written: str, tmp_path: Path) -> None:
    (tmp_path / FACTS).write_text(written)
    with pytest.raises(BundleError, match="Regraft did not save this model"):
        read_facts(tmp_path)


def test_a_format_of_the_future_says_which_version_made_it(tmp_path: Path) -> None:
    (tmp_path / FACTS).write_text(json.dumps({"format": FORMAT + 1, "made_with": {"regraft": "9.1"}}))
    with pytest.raises(
        BundleError, match=f"format {FORMAT + 1}; this version of regraft reads format {FORMAT}"
    ) as caught:
        read_facts(tmp_path)
    assert "9.1" in caught.value.fix
    (tmp_path / FACTS).write_text(json.dumps({"format": FORMAT + 1, "made_with": 3}))
    with pytest.raises(BundleError) as caught:
        read_facts(tmp_path)
    assert "the version of regraft that saved it, or a later one" in caught.value.fix


def test_an_edited_field_is_noticed_and_reformatting_is_not(tmp_path: Path) -> None:
    path = facts_in(tmp_path, {"temperature": 1.0}) / FACTS
    path.write_text(json.dumps(json.loads(path.read_text()), indent=8, sort_keys=True))
    assert read_facts(tmp_path)["temperature"] == 1.0
    path.write_text(path.read_text().replace("1.0", "1.5"))
    with pytest.raises(BundleError, match="was changed after it was saved: its digest is"):
        read_facts(tmp_path)


def test_a_folder_without_a_model_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="contains no model"):
        read_facts(tmp_path)
    (tmp_path / "begun.json").write_text("{}")
    with pytest.raises(BundleError) as caught:
        read_facts(tmp_path)
    assert "--resume" in caught.value.fix
    with pytest.raises(BundleError, match="nowhere does not exist"):
        read_facts(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is a file"):
        read_facts(tmp_path / "begun.json")


def test_the_model_of_a_run_is_found_inside_it(tmp_path: Path) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    facts_in(tmp_path / "run" / "model", {})
    assert bundle_folder(tmp_path / "run") == bundle_folder(tmp_path / "run" / "model") == tmp_path / "run" / "model"
    assert bundle_folder(tmp_path) == tmp_path


def test_other_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        read_json(tmp_path / "none.json")
    with pytest.raises(BundleError, match="cannot be read"):
        read_json(tmp_path)
