"""The frozen part gives the same numbers whatever runs it, and the same bits whatever comes along."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from problems import opened
from regraft.activations.disk import Memo
from regraft.activations.runner import BATCH, Prefixes
from toy_backbone import SHAPES, Changeable, Unexportable, toy_backbone, toy_input, with_last_stage

Arrays = dict[str, np.ndarray]

CASES = {
    "toy": ("", 0, ("layer.0", "output")),
    "googlenet": ("googlenet:tiny@random", 32, ("3b", "4e", "output")),
    "resnet18": ("resnet18@random", 32, ("layer1", "layer3", "output")),
}
SLOW = {
    "googlenet in full": ("googlenet:torchvision@random", 64, ("stem", "4e", "5a", "output")),
    "paper": ("googlenet:paper@random", 64, ("4e", "output")),
    "vit": ("vit_b_16@random", 32, ("embeddings", "layer.8", "output")),
}


class Case:
    """A backbone, sixteen and a few more inputs, and where its prefixes lie."""

    def __init__(self, name: str, folder: Path) -> None:
        spec, px, self.cuts = (CASES | SLOW)[name]
        self.folder, self.spec, self.px, rows = folder, spec, px, BATCH + 5
        random = np.random.default_rng(0)
        if spec:
            self.backbone, self.shapes = opened(spec, px), {"pixels": ((px, px, 3), "uint8")}
            self.inputs: Arrays = {"pixels": random.integers(0, 256, (rows, px, px, 3), dtype=np.uint8)}
        else:
            self.backbone, self.shapes = toy_backbone(folder), SHAPES
            records = [toy_input(i) for i in range(rows)]
            self.inputs = {key: np.stack([record[key] for record in records]) for key in SHAPES}

    def prefixes(self, **how: Any) -> Prefixes:
        memo = Memo(self.folder / "store")
        return Prefixes(self.backbone, self.shapes, view="pooled", memo=memo, **{"threads": 1, **how})

    def rows(self, which: Any) -> Arrays:
        return {name: array[which] for name, array in self.inputs.items()}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        return made.setdefault(name, made.get(name) or Case(name, tmp_path_factory.mktemp("case")))

    return case


every_case = pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])


@every_case
def test_onnx_runtime_and_torch_give_the_same_numbers(name: str, cases: Callable[[str], Case]) -> None:
    case = cases(name)
    onnx, reference = case.prefixes().runner(case.cuts), case.prefixes(backend="torch").runner(case.cuts)
    assert onnx.name.startswith("onnxruntime-")
    assert reference.name.startswith("torch-")
    found, expected = onnx(case.inputs), reference(case.inputs)
    for cut in case.cuts:
        assert set(found[cut]) == set(expected[cut])
        for key, array in expected[cut].items():
            assert found[cut][key].dtype == array.dtype
            scale = float(np.abs(array).max())
            np.testing.assert_allclose(found[cut][key], array, rtol=0, atol=1e-5 * scale)


@every_case
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_rows_bits_depend_on_nothing_but_the_row(name: str, backend: str, cases: Callable[[str], Case]) -> None:
    """Neither on its neighbours, nor its place, nor padding, nor the size of the batch."""
    case = cases(name)
    runner = case.prefixes(backend=backend).runner(case.cuts)
    whole, order = runner(case.inputs), np.random.default_rng(1).permutation(BATCH + 5)
    for which in (order, np.arange(3, 12), np.array([7]), np.array([20, 2])):
        part = runner(case.rows(which))
        for cut, key in [(at, name) for at in case.cuts for name in whole[at]]:
            expected = whole[cut][key] if key in runner.shared else whole[cut][key][which]
            assert np.array_equal(part[cut][key], expected), (cut, key, which)


@every_case
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_cuts_in_one_pass_have_the_bits_of_each_alone(name: str, backend: str, cases: Callable[[str], Case]) -> None:
    case = cases(name)
    together = case.prefixes(backend=backend).runner(case.cuts)(case.inputs)
    for cut in case.cuts:
        alone = case.prefixes(backend=backend).runner((cut,))(case.inputs)[cut]
        assert all(np.array_equal(alone[key], array) for key, array in together[cut].items()), cut


@every_case
def test_the_number_of_threads_changes_no_bit_of_onnx_runtime(name: str, cases: Callable[[str], Case]) -> None:
    case = cases(name)
    one, three = (case.prefixes(threads=n).runner(case.cuts)(case.inputs) for n in (1, 3))
    assert all(np.array_equal(three[cut][key], array) for cut in case.cuts for key, array in one[cut].items())


def test_torchs_name_tells_the_threads_that_its_sums_depend_on(cases: Callable[[str], Case]) -> None:
    case = cases("toy")
    names = {case.prefixes(backend="torch", threads=n).backend_name() for n in (1, 2)}
    assert names == {f"torch-{torch.__version__}-cpu-{n}-threads-float32" for n in (1, 2)}


def test_the_number_of_threads_of_the_process_is_as_before(cases: Callable[[str], Case]) -> None:
    case, before = cases("toy"), torch.get_num_threads()
    case.prefixes(backend="torch", threads=before + 1).runner(("output",))(case.rows(slice(2)))
    assert torch.get_num_threads() == before


def test_the_torch_runner_folds_batch_norm_and_gives_the_networks_own_numbers(cases: Callable[[str], Case]) -> None:
    case = cases("googlenet")
    runner = case.prefixes(backend="torch").runner(case.cuts)
    assert any(isinstance(part, nn.BatchNorm2d) for part in case.prefixes()._prefix(case.cuts).modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in runner._prefix.modules())
    found, network = runner(case.inputs), case.backbone.network
    with torch.no_grad():
        inputs = {"pixels": torch.from_numpy(case.inputs["pixels"])}
        for cut in case.cuts:
            state = network.run(inputs, upto=cut)
            key, expected = (
                ("pooled", network.readouts(state)["pooled"]) if cut == "output" else ("hidden", state["hidden"])
            )
            scale = float(expected.abs().max())
            np.testing.assert_allclose(found[cut][key], expected.numpy(), rtol=0, atol=1e-5 * scale)


def test_the_torch_runner_leaves_the_backbones_network_alone(cases: Callable[[str], Case]) -> None:
    case = cases("googlenet")
    before = {name: tensor.clone() for name, tensor in case.backbone.network.tensors().items()}
    case.prefixes(backend="torch").runner(("4e",))(case.rows(slice(2)))
    after = case.backbone.network.tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(tensor.is_contiguous() for tensor in after.values())


@pytest.mark.parametrize(("name", "cut"), [("toy", "input"), ("toy", "layer.1"), ("googlenet", "4e")])
def test_the_slots_of_a_cut_are_those_of_what_is_computed(name: str, cut: str, cases: Callable[[str], Case]) -> None:
    case = cases(name)
    slots = {slot.name: slot for slot in case.prefixes().slots(cut)}
    inputs = case.rows(slice(2))
    found = inputs if cut == "input" else case.prefixes().runner((cut,))(inputs)[cut]
    assert set(slots) == set(found)
    for key, array in found.items():
        assert slots[key].shape == (array.shape if slots[key].shared else array.shape[1:])
        assert slots[key].dtype == array.dtype.name


@pytest.mark.parametrize(("wrap", "said"), [(Unexportable, "the export failed"), (Changeable, "differs from torch at")])
def test_an_export_that_fails_or_disagrees_means_torch_and_one_notice(
    wrap: Callable[[nn.Module], nn.Module], said: str, tmp_path: Path, cases: Callable[[str], Case]
) -> None:
    backbone = with_last_stage(wrap, tmp_path)
    inputs = cases("toy").rows(slice(5))

    def prefixes() -> Prefixes:
        return Prefixes(backbone, SHAPES, view="pooled", memo=Memo(tmp_path), threads=1)

    first = prefixes()
    assert first.runner(("layer.0",)).name.startswith("onnxruntime-")
    assert first.backend_name().startswith("onnxruntime-")
    found = first.runner(("output",))(inputs)["output"]["pooled"]
    assert first.backend_name() == first.runner(("output",)).name == first.runner(("layer.0",)).name
    assert first.backend_name().startswith("torch-")
    assert [notice.topic for notice in first.notices] == ["backend"]
    assert said in first.notices[0].text

    again = prefixes()
    assert again.backend_name() == first.backend_name()
    assert np.array_equal(again.runner(("output",))(inputs)["output"]["pooled"], found)
    assert len(first.notices + again.notices) == 1
    with torch.no_grad():
        network, tensors = backbone.network, {name: torch.from_numpy(array) for name, array in inputs.items()}
        expected = network.readouts(network.run(tensors))["pooled"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_prefix_that_was_cut_short_is_exported_again(tmp_path: Path) -> None:
    case = Case("toy", tmp_path)
    expected = case.prefixes().runner(("output",))(case.inputs)["output"]["pooled"]
    (path,) = (tmp_path / "store" / "prefixes").glob("*.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert np.array_equal(case.prefixes().runner(("output",))(case.inputs)["output"]["pooled"], expected)
    assert path.stat().st_size == len(whole)


def test_a_store_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    case = Case("toy", tmp_path)
    expected = case.prefixes().runner(("output",))(case.inputs)["output"]["pooled"]
    (tmp_path / "file").write_text("no folder")
    refused = Prefixes(case.backbone, SHAPES, view="pooled", memo=Memo(tmp_path / "file"), threads=1)
    assert np.array_equal(refused.runner(("output",))(case.inputs)["output"]["pooled"], expected)


def test_several_threads_may_ask_at_once(tmp_path: Path) -> None:
    case, found = Case("toy", tmp_path), list[np.ndarray]()
    prefixes = case.prefixes()
    asking = [
        threading.Thread(target=lambda: found.append(prefixes.runner(("output",))(case.inputs)["output"]["pooled"]))
        for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(array, found[0]) for array in found)


def test_a_prefix_that_was_exported_before_needs_no_torch(tmp_path: Path, child_env: dict[str, str]) -> None:
    case = Case("googlenet", tmp_path)
    case.prefixes().runner(("output",))
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from regraft.activations.runner import Prefixes\n"
        "from regraft.activations.disk import Memo\n"
        "from regraft.backbones.opening import open_backbone\n"
        "opening = open_backbone(sys.argv[2], input_px=int(sys.argv[3]))\n"
        "try:\n"
        "    while True: next(opening)\n"
        "except StopIteration as stop: backbone = stop.value\n"
        "shapes = {'pixels': ((int(sys.argv[3]), int(sys.argv[3]), 3), 'uint8')}\n"
        "prefixes = Prefixes(backbone, shapes, view='pooled', memo=Memo(Path(sys.argv[1])), threads=1)\n"
        "found = prefixes.runner(('output',))({'pixels': np.zeros((2, *shapes['pixels'][0]), np.uint8)})\n"
        "assert prefixes.slots('output'), prefixes.backend_name()\n"
        "assert found['output']['pooled'].shape == (2, 256)\n"
        "print([name for name in ('torch', 'onnx', 'scipy', 'sklearn') if name in sys.modules])\n"
    )
    case.prefixes().slots("output")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store"), case.spec, str(case.px)],
        env=child_env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_onnx_runtime_writes_nothing_into_the_users_folders(tmp_path: Path, child_env: dict[str, str]) -> None:
    code = (
        "from regraft.activations.runner import onnx_runtime; library = onnx_runtime(); import onnx\n"
        "from onnx import helper as h, TensorProto as T\n"
        "node = h.make_node('Identity', ['x'], ['y'])\n"
        "graph = h.make_graph([node], 'g', *([h.make_tensor_value_info(n, T.FLOAT, [1])] for n in 'xy'))\n"
        "model = h.make_model(graph, opset_imports=[h.make_opsetid('', 17)], ir_version=8)\n"
        "library.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])\n"
    )
    home = {
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    subprocess.run([sys.executable, "-c", code], env={**child_env, **home}, check=True)
    assert list(tmp_path.iterdir()) == []
