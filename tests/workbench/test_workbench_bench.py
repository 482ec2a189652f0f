"""A model is timed in every format, each beside the others."""

from pathlib import Path

import pytest

from bundles.delivery import of_shelf
from regraft.doors._listings import of_bench
from regraft.errors import BadRequest, UnknownName
from regraft.workbench.bench import Benched, bench
from regraft.workbench.export import export


def test_every_format_is_timed_and_exports_that_were_checked_are_told_from_those_made_for_it(tmp_path: Path) -> None:
    of_shelf("googlenet:tiny", 32, "classification", tmp_path / "m")
    list(export(tmp_path / "m", "onnx", threads=1))
    *_, found = bench(tmp_path / "m", to=("onnx", "onnx-fp16"), rounds=2, batches=1, threads=1)
    assert isinstance(found, Benched)
    assert [(one.name, one.exported) for one in found.formats] == [
        ("regraft", True),
        ("onnx", True),
        ("onnx-fp16", False),
    ]
    assert all(0 < one.p50_ms <= one.p95_ms and one.per_second > 0 and one.bytes > 1000 for one in found.formats)
    assert found.formats[2].bytes < 0.6 * found.formats[1].bytes
    shown = of_bench(found)
    assert found.processor in shown.replace("\n", " ")
    assert "onnx-fp16 *" in shown
    assert not (tmp_path / "m" / "exports" / "onnx-fp16").exists()
    with pytest.raises(UnknownName):
        list(bench(tmp_path / "m", to=("onx",)))
    with pytest.raises(BadRequest, match="rounds is 0"):
        list(bench(tmp_path / "m", rounds=0))
