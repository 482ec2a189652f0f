"""An export predicts what the model predicts, without regraft: every format, every task, every backbone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundles.conftest import Small, stripes
from bundles.delivery import in_clean_interpreter, of_shelf, said_by
from kinds import LABELS
from networks import FAMILIES
from regraft.bundles.bundle import Bundle
from regraft.bundles.exporting import fed, write_export
from regraft.contracts.export import EXPORTS
from regraft.contracts.modality import MODALITIES
from regraft.errors import BadRequest, ExportDiffers, RunError
from regraft.workbench.export import Exported, export

QUICK_MB = 12
"""Published weights of at most so many MiB: these backbones' exports are in the default tier."""
FLOAT = [name for name in EXPORTS if not EXPORTS.get(name).rounds]


def exported(bundle: Bundle, to: str, folder: Path) -> Any:
    """The `Model` of the export's own `predict.py`."""
    folder.mkdir(parents=True)
    made = EXPORTS.get(to)
    golden = [
        fed(bundle, one, bundle.prepare_pieces(one)) for one in bundle.modality.golden(1, bundle.card.preparation)
    ]
    return write_export(bundle, made, folder, golden if made.calibrates else [], threads=1)


def photos_of(folder: Path, count: int = 5) -> list[Path]:
    files = [folder / f"{at}.png" for at in range(count)]
    for at, path in enumerate(files):
        stripes(at % 2, at, size=50 + 13 * at).save(path)
    return files


def agree(bundle: Bundle, model: Any, files: list[Path], tolerance: float) -> None:
    """From files, by each one's own preparation: records to the bit, logits and outputs to a share of the largest."""
    records = [bundle.prepare(path) for path in files]
    read = [model.prepare(path) for path in files]
    assert all(np.array_equal(one[name], two[name]) for one, two in zip(records, read, strict=True) for name in one)
    logits, found = bundle.logits(records), model.outputs(read)
    outputs = bundle.model.task.outputs(logits, bundle.model.temperature)
    assert logits.std() > 0.01
    for got, wanted in ((found["logits"], logits), (found["outputs"], outputs)):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("kind", LABELS)
def test_every_task_is_exported_whole_and_its_predict_script_says_the_same_alone(kind: str, tmp_path: Path) -> None:
    bundle = of_shelf("googlenet:tiny", 32, kind, tmp_path / "model")
    model = exported(bundle, "onnx", tmp_path / "onnx")
    files = photos_of(tmp_path)
    agree(bundle, model, files, 1e-4)
    for said, wanted in zip(said_by(tmp_path / "onnx" / "predict.py", *files), bundle.predict(files), strict=True):
        assert said.pop("input") == wanted.id
        numbers = wanted.values or wanted.probabilities
        assert said.get("label") == (None if wanted.values or wanted.labels is not None else wanted.label)
        assert said.get("labels") == (None if wanted.labels is None else list(wanted.labels))
        assert said["values" if wanted.values else "probabilities"] == pytest.approx(numbers, rel=1e-4, abs=1e-6)


def quick_ones_first() -> list[Any]:
    """The name of every family; those that weigh more, and open ones, are for the slow tier."""
    sizes = {name: max((p.size_mb for p in one.published.values()), default=1e9) for name, one in FAMILIES.items()}
    return [pytest.param(name, marks=[] if sizes[name] <= QUICK_MB else [pytest.mark.slow]) for name in FAMILIES]


@pytest.mark.parametrize("name", quick_ones_first())
def test_every_backbone_is_exported_within_promise_four(name: str, tmp_path: Path) -> None:
    bundle = of_shelf(name, max(64, FAMILIES[name].smallest_px), "classification", tmp_path / "model")
    for to in FLOAT:
        if to == "openvino":
            pytest.importorskip("openvino", reason="OpenVINO is not installed")
        agree(bundle, exported(bundle, to, tmp_path / to), photos_of(tmp_path), 1e-4)


@pytest.mark.slow
def test_every_format_says_what_it_is_and_its_golden_inputs_are_replayed(tmp_path: Path) -> None:
    bundle = of_shelf("googlenet:tiny", 64, "classification", tmp_path / "model")
    for to in EXPORTS:
        if to == "openvino":
            pytest.importorskip("openvino", reason="OpenVINO is not installed")
        exported(bundle, to, tmp_path / to)
        spec = json.loads((tmp_path / to / "spec.json").read_text(encoding="utf-8"))
        assert spec["task"]["classes"] == list(bundle.classes)
        assert spec["task"]["temperature"] == 1.7
        assert [one["file"] for one in spec["golden"]] == [f"golden/{at}" for at in range(4)]
        done = in_clean_interpreter(tmp_path / to / "predict.py", "--check")
        assert done.returncode == 0, done.stderr + done.stdout


def golden_inputs_with_other_numbers_are_noticed(tmp_path: Path) -> None:
    assert in_clean_interpreter(tmp_path / "onnx" / "predict.py", "--check").returncode == 0
    spec = json.loads((tmp_path / "onnx" / "spec.json").read_text(encoding="utf-8"))
    spec["golden"][0]["logits"][0] += 1.0
    (tmp_path / "onnx" / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    assert in_clean_interpreter(tmp_path / "onnx" / "predict.py", "--check").returncode == 1


@pytest.mark.parametrize("name", list(MODALITIES))
def test_every_kind_of_data_can_be_read_without_regraft(name: str) -> None:
    script = MODALITIES.get(name).standalone()
    assert "def prepare(" in script
    assert "def inputs(" in script
    assert "import regraft" not in script
    assert "from regraft" not in script


def test_every_kind_of_image_is_read_as_the_model_reads_it_and_golden_ones_are_checked(tmp_path: Path) -> None:
    bundle = of_shelf("googlenet:tiny", 32, "classification", tmp_path / "model")
    model = exported(bundle, "onnx", tmp_path / "onnx")
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (45, 70, 3), dtype=np.uint8)
    kinds: dict[str, Any] = {
        "grey.png": Image.fromarray(colour[..., 0]),
        "deep.png": Image.fromarray(colour[..., 0].astype(np.uint16) * 257),
        "deep.tif": Image.fromarray(colour[..., 0].astype(np.uint16) * 257),
        "clear.png": Image.fromarray(np.dstack([colour, colour[..., :1]])),
        "palette.gif": Image.fromarray(colour).quantize(16),
        "cmyk.jpg": Image.fromarray(colour).convert("CMYK"),
        "bits.png": Image.fromarray(colour[..., 0] > 127),
        "page.webp": Image.fromarray(colour),
    }
    for file, image in kinds.items():
        image.save(tmp_path / file)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(colour).save(tmp_path / "turned.jpg", exif=turned)
    np.save(tmp_path / "array.npy", colour.astype(np.uint16) * 200)
    for file in (*kinds, "turned.jpg", "array.npy"):
        wanted, found = bundle.prepare(tmp_path / file), model.prepare(tmp_path / file)
        np.testing.assert_array_equal(found["pixels"], wanted["pixels"], err_msg=file)
    golden_inputs_with_other_numbers_are_noticed(tmp_path)


# ---------------------------------------------------------------- the verb


@pytest.mark.parametrize("way", ["probe", pytest.param("full", marks=pytest.mark.slow)])
def test_an_export_lies_in_the_run_and_tells_how_it_compares(
    way: str, runs: Mapping[str, Small], tmp_path: Path
) -> None:
    done = drained_of(runs[way].path, "onnx", out=tmp_path / way)
    assert done.same_labels == done.examples == 24
    assert done.difference is not None
    assert done.difference <= 1e-4
    assert "24 training examples (the run has no validation split)" in done.told()
    assert "same top label on 24 of 24" in (tmp_path / way / "README.md").read_text(encoding="utf-8")
    answers = runs[way].answers()
    for said, wanted in zip(said_by(tmp_path / way / "predict.py", *answers), answers.values(), strict=True):
        assert said["probabilities"] == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def drained_of(model: Path, to: str, **options: Any) -> Exported:
    """The last event of an export."""
    *_, last = export(model, to, threads=1, **options)
    assert isinstance(last, Exported)
    return last


def test_nothing_is_overwritten_and_a_model_without_its_data_is_exported_by_golden_inputs_alone(
    runs: Mapping[str, Small], copy: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadRequest, match=r"cannot be measured: .* without its run"):
        drained_of(copy, "onnx-int8")
    assert not (copy / "exports").exists()
    events = list(export(copy, "onnx", threads=1))
    assert any("Only the golden inputs are compared" in getattr(one, "text", "") for one in events)
    assert events[-1].golden == 4
    with pytest.raises(RunError, match="already exists"):
        drained_of(copy, "onnx")


def test_what_predicts_otherwise_is_not_written(
    runs: Mapping[str, Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.bundles.exports import onnx

    def spoilt(graph: bytes, path: Path, examples: Any) -> None:
        import onnx as library

        model = library.load_from_string(graph)
        bias = next(one for one in model.graph.initializer if one.name == "head.bias")
        bias.CopyFrom(library.numpy_helper.from_array(library.numpy_helper.to_array(bias) + 0.01, "head.bias"))
        path.write_bytes(model.SerializeToString())

    import dataclasses

    monkeypatch.setattr(onnx, "ENTRY", dataclasses.replace(onnx.ENTRY, write=spoilt))
    with pytest.raises(ExportDiffers, match="golden inputs it differs by"):
        drained_of(runs["probe"].path, "onnx", out=tmp_path / "spoilt")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_rounds_is_refused_where_it_loses_more_than_allowed(
    runs: Mapping[str, Small], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = drained_of(runs["probe"].path, "onnx-int8", out=tmp_path / "int8", max_loss=1.0)
    assert done.paired is not None
    assert done.examples == 12, "half of the training examples calibrate, the other half is compared"
    monkeypatch.setattr("regraft.workbench.export._fell", lambda paired: 0.3)
    with pytest.raises(ExportDiffers, match=r"loss of 0\.3; at most 0\.02"):
        drained_of(runs["probe"].path, "onnx-fp16", out=tmp_path / "fp16")
    assert not (tmp_path / "fp16").exists()
