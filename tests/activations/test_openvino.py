"""Frozen parts in bfloat16, and which rows are computed in it."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from problems import opened
from regraft.activations import openvino
from regraft.activations.disk import Memo
from regraft.activations.openvino import OpenVinoRunner, precision_of
from regraft.activations.runner import OnnxRunner, Prefixes
from regraft.activations.states import Numbers, States
from regraft.activations.stored import ScoredStates
from regraft.errors import MissingExtra

CUTS = ("output",)


def prefixes(folder: Path, precision: str = "float32") -> Prefixes:
    return Prefixes(
        opened("googlenet:tiny@random", 64),
        {"pixels": ((64, 64, 3), "uint8")},
        view="pooled",
        memo=Memo(folder),
        threads=1,
        precision=precision,
    )


class Constant(States):
    """Every row is the same number, and its example."""

    def __init__(self, number: float) -> None:
        self.number = number

    @property
    def num_views(self) -> int:
        return 2

    def batch(self, examples: Numbers, views: Numbers, pieces: Numbers | None = None) -> dict[str, np.ndarray]:
        return {"hidden": np.stack([np.full(len(examples), self.number), examples], axis=1)}


def test_plain_views_of_scored_examples_come_from_one_source_and_all_else_from_the_other() -> None:
    states = ScoredStates(Constant(32), Constant(16), np.array([True, False, True]))
    examples, views = np.array([0, 1, 2, 2, 1]), np.array([0, 0, 0, 1, 1])
    found = states.batch(examples, views)["hidden"]
    assert found[:, 0].tolist() == [32, 16, 32, 16, 16]
    assert found[:, 1].tolist() == examples.tolist()
    assert states.batch(examples[:1], views[:1])["hidden"].tolist() == [[32, 0]]
    assert states.num_views == 2


def test_a_processor_without_units_computes_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "processor", lambda: ("A Chip", []))
    for wanted in ("auto", "bfloat16"):
        precision, why = precision_of(prefixes(tmp_path), CUTS, wanted)
        assert precision == "float32"
        assert "A Chip has no bfloat16 instructions" in why


def test_without_openvino_auto_stays_and_bfloat16_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise openvino.PackageNotFoundError(name)

    monkeypatch.setattr(openvino, "version", absent)
    monkeypatch.setattr(openvino, "processor", lambda: ("A Chip", ["AVX512-BF16"]))
    assert precision_of(prefixes(tmp_path), CUTS, "auto")[0] == "float32"
    with pytest.raises(MissingExtra) as raised:
        precision_of(prefixes(tmp_path), CUTS, "bfloat16")
    assert raised.value.fix == "pip install 'regraft[openvino]'"


@pytest.mark.parametrize(
    ("error", "times", "wanted", "taken"),
    [
        (0.01, 1.2, "auto", "bfloat16"),
        (0.01, 1.15, "auto", "float32"),
        (0.01, 0.5, "bfloat16", "bfloat16"),
        (0.06, 3.0, "bfloat16", "float32"),
        (None, 0.0, "bfloat16", "float32"),
    ],
)
def test_bfloat16_is_taken_where_it_agrees_and_by_auto_where_it_is_faster(
    error: float | None, times: float, wanted: str, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compared(plain: OnnxRunner, of: Prefixes) -> dict[str, object]:
        asked.append(plain)
        return {"error": error, "times": times, "said": "an operator is missing"}

    monkeypatch.setattr(openvino, "version", lambda name: "1.0")
    monkeypatch.setattr(openvino, "processor", lambda: ("A Chip", ["AMX-BF16"]))
    monkeypatch.setattr(openvino, "_compared", compared)
    for _ in range(2):
        precision, why = precision_of(prefixes(tmp_path), CUTS, wanted)
        assert precision == taken
        assert "bfloat16" in why or "an operator is missing" in why
    assert len(asked) == 1, "timed once for a processor and a network"


def test_openvino_gives_the_states_of_onnx_runtime_whatever_rows_come_along(tmp_path: Path) -> None:
    if importlib.util.find_spec("openvino") is None:  # not imported here: that would import its telemetry
        pytest.skip("the extra `openvino` is not installed")
    before = sys.modules.get("openvino_telemetry")  # which another test of this process may have imported
    inputs = {"pixels": np.random.default_rng(0).integers(0, 256, (21, 64, 64, 3), dtype=np.uint8)}
    reduced = prefixes(tmp_path, "bfloat16").runner(CUTS)
    assert isinstance(reduced, OpenVinoRunner)
    found = reduced(inputs)["output"]["pooled"]
    expected = prefixes(tmp_path).runner(CUTS)(inputs)["output"]["pooled"]
    assert np.linalg.norm(found - expected) <= 0.05 * np.linalg.norm(expected)
    again = reduced({"pixels": inputs["pixels"][:3]})["output"]["pooled"]
    assert np.array_equal(again, found[:3])
    assert reduced.name != prefixes(tmp_path).backend_name(CUTS)
    assert sys.modules.get("openvino_telemetry") is before
