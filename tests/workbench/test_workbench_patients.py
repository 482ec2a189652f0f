"""Runs on DICOM files: patients are groups of the proof, and nothing of them travels with the model."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

from data.dicoms import dicom_at
from regraft.recipe import Recipe
from regraft.workbench.evaluate import Evaluated, evaluate
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone


def wards(root: Path) -> Path:
    """`{train,test}/{rows,columns}` of twelve files each, two of every patient, with stripes along rows or columns."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("rows", "columns"):
            for at in range(12):
                wave = (np.searchsorted(np.sort(rng.choice(40, 8, replace=False)), np.arange(40)) % 2) * 120
                plane = wave[:, None].repeat(40, 1) if label == "rows" else wave[None].repeat(40, 0)
                stored = (plane + rng.integers(0, 100, (40, 40))).astype(np.uint8)
                patient = f"Secret^{part}-{label}-{at // 2}"
                dicom_at(root / part / label / f"{at}.dcm", stored, PatientID=patient, PatientName=patient)
    return root


def test_patients_group_the_proof_and_do_not_travel(tmp_path: Path) -> None:
    data, out = wards(tmp_path / "wards"), tmp_path / "run"
    chosen = Recipe(data=str(data), backbone="googlenet:tiny@random", input_px=32, channels=1, threads=1)
    done = list(fit(chosen, out))[-1]
    assert isinstance(done, RunDone)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        groups = [row["group"] for row in csv.DictReader(file) if row["split"] == "test"]
    assert len(groups) == 24
    assert len(set(groups)) == 12
    assert all(group.startswith("patient-") for group in groups)
    report = list(evaluate(out, data, threads=1))[-1]
    assert isinstance(report, Evaluated)
    assert report.report.data.groups == 12
    model = b"".join(path.read_bytes() for path in (out / "model").rglob("*") if path.is_file())
    assert b"patient-" not in model
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"Secret" not in everything
