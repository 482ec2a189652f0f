"""One model, one set of numbers: Python, command line, HTTP, ONNX and the stand-alone script agree on files of a real
set."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from bundles.delivery import said_by
from kinds import LABELS, labels_of, names_of
from networks import FAMILIES
from regraft.bundles.bundle import load
from regraft.doors.http.app import make_app
from regraft.doors.http.settings import Settings
from regraft.recipe import Recipe, Target, with_settings
from regraft.workbench.export import Exported, export
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

EVERY = [
    *(("googlenet:tiny", 64, kind) for kind in LABELS),
    *((name, max(64, family.smallest_px), "classification") for name, family in FAMILIES.items()),
]
"""Every task with a small network, and every network with one task."""
STEPS = {"epochs": 1, "min_steps": 2, "batch": 8}


def table_of(kind: str, photos: Path, path: Path) -> Path:
    """24 images to learn from and 12 to test on, with labels of this kind; only that they are there matters."""
    files = sorted((photos / "train").rglob("*.jpg"))[:24] + sorted((photos / "val").rglob("*.jpg"))[:12]
    labels = labels_of(kind, np.arange(36) % 3)
    columns = names_of(kind) if kind == "regression" else ("label",)
    rows = [",".join(["path", "split", *columns])]
    for at, (file, label) in enumerate(zip(files, labels, strict=True)):
        rows.append(
            ",".join([str(file), "train" if at < 24 else "test", *label.split(";" if kind == "regression" else "\0")])
        )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def recipe_of(kind: str, table: Path, backbone: str, px: int, strategy: str) -> Recipe:
    settings: dict[str, Any] = {
        "multilabel": {"source.label_delimiter": ";"}, "regression": {"source.label_columns": list(names_of(kind))},
    }.get(kind, {})  # fmt: skip
    recipe = Recipe(
        data=str(table), backbone=f"{backbone}@random", strategy=strategy, input_px=px, task=kind, threads=1,
        options=STEPS if strategy == "full" else {}, target=Target(order=names_of(kind) if kind == "ordinal" else ()),
    )  # fmt: skip
    return with_settings(recipe, settings)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["probe", "full"])
@pytest.mark.parametrize(("backbone", "px", "kind"), EVERY, ids=str)
def test_python_command_line_http_onnx_and_the_script_agree(
    backbone: str, px: int, kind: str, strategy: str, tmp_path: Path, unpacked: Callable[[str], Path],
    child_env: dict[str, str],
) -> None:  # fmt: skip
    table = table_of(kind, unpacked("hymenoptera"), tmp_path / "table.csv")
    assert isinstance(list(fit(recipe_of(kind, table, backbone, px, strategy), tmp_path / "run"))[-1], RunDone)
    *_, exported = export(tmp_path / "run", "onnx", threads=1)
    assert isinstance(exported, Exported)
    assert exported.same_labels in (None, exported.examples)
    files = [Path(line.split(",")[0]) for line in table.read_text(encoding="utf-8").splitlines()[25:]]

    python = load(tmp_path / "run", threads=1).predict(files)
    command = [sys.executable, "-m", "regraft", "predict", str(tmp_path / "run"), *map(str, files), "--json"]
    done = subprocess.run(command, env=child_env, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    with TestClient(make_app(Settings(models=(("served", tmp_path / "run"),), threads=1))) as client:
        form = [("file", (file.name, file.read_bytes())) for file in files]
        served = client.post("/v1/models/served/predict", files=form).json()["predictions"]
    alone = said_by(exported.path / "predict.py", *files)
    largest = max(abs(number) for one in python for number in (one.values or one.probabilities).values())
    for one, cli, http, script in zip(python, told, served, alone, strict=True):
        numbers, key = one.values or one.probabilities, "values" if one.values else "probabilities"
        assert cli[key] == pytest.approx(numbers, rel=0, abs=1e-5 * largest)
        assert http[key] == pytest.approx(numbers, rel=0, abs=1e-5 * largest)
        assert script[key] == pytest.approx(numbers, rel=0, abs=1e-4 * largest)
