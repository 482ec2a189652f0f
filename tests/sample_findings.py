"""An audit, an advice and a sweep as their verbs write them, made by hand."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from regraft.advisor.cost import Cost
from regraft.advisor.noise import Curve
from regraft.contracts.page import Finding
from regraft.reports import advice, audit, sweep
from regraft.values import Measured

CREATED = "2026-01-02T03:04:05+00:00"


def measured(value: float) -> Measured:
    return Measured(value=value, low=value - 0.05, high=value + 0.04, method="bootstrap")


def write_all(root: Path) -> None:
    """Write all three under `root`, each called `sample`."""
    write_audit(root / "audits" / "sample")
    write_advice(root / "advice" / "sample")
    write_sweep(root / "sweeps" / "sample")


def write_audit(folder: Path) -> None:
    names = tuple(f"train/a_rather_long_name_of_a_class/photograph_number_{at:04d}.jpg" for at in range(9))
    previews = dict[str, bytes | str]()
    for at, name in enumerate(names):
        pixels, file = np.random.default_rng(at).integers(0, 256, (60, 90, 3)).astype(np.uint8), io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        previews[name] = file.getvalue() if at else "a text that <is> read where an image would stand " * 4
    findings = (
        Finding(check="Exact copies", severity="stop", message="9 examples lie in train and in test.",
                fix="leave them out of one.", examples=names, score=9.0),
        Finding(check="Class sizes", severity="warn", message="The class `bees` has 3 examples only."),
    )  # fmt: skip
    report = audit.AuditReport(
        data="sample", described="60 examples of 2 classes; train 40, test 20", backbone="googlenet:bn@shipped",
        probe=measured(0.8), findings=findings, checks=("Exact copies", "Class sizes"), created=CREATED,
    )  # fmt: skip
    audit.write_audit(report, previews, folder)


def write_advice(folder: Path) -> None:
    price = Cost(filling_s=20.0, training_s=40.0, memory_bytes=300_000_000, disk_bytes=90_000_000)
    candidates = tuple(
        advice.Candidate(
            backbone="googlenet", strategy=name, cut=cut, measured=measured(value), predicted=measured(value - 0.01),
            tied=value > 0.8, cost=price, reason="behind the best by 0.010 on 80 held-out training examples.",
        )
        for name, cut, value in (("partial", "4e", 0.86), ("probe", "output", 0.85), ("full", "input", 0.7))
    )  # fmt: skip
    looked = (advice.Looked(name="googlenet", probe=measured(0.85), scores={"LogME": 0.41, "LEEP": None}),)
    curve = Curve(sizes=(50, 100, 200), errors=(0.3, 0.2, 0.15), exponent=0.5, doubled=measured(0.1))
    report = advice.AdviceReport(
        data="sample", described="260 examples of 2 classes", metric="accuracy", num_train=200, num_test=60,
        num_groups=None, noise_floor=0.08, disagreement=0.1, backbones=looked, candidates=candidates, curve=curve,
        weakest="Collect more of bees first: of its 40 examples 60% are predicted.", budget_s=60.0, seconds=48.0,
        created=CREATED, not_done=("No time was left for all of the pilot's second round.",),
    )  # fmt: skip
    advice.write_advice(report, folder)


def write_sweep(folder: Path) -> None:
    def candidate(name: str, value: float, seconds: float) -> sweep.Candidate:
        points = tuple(
            sweep.Point(share=share, examples=int(200 * share), by_seed={0: value * share**0.1, 1: value * share**0.2})
            for share in (0.1, 0.5, 1.0)
        )
        return sweep.Candidate(
            name=f"googlenet {name}", backbone="googlenet", strategy=name, cut="4e", measured=measured(value),
            by_seed=(value, value - 0.01), behind=measured(0.86 - value), tied=value > 0.8, seconds=seconds,
            parameters_trained=12_345, on_front=True, curve=points,
        )  # fmt: skip

    report = sweep.SweepReport(
        data="sample", metric="accuracy", split="test", num_examples=60, num_groups=None, seeds=(0, 1),
        candidates=(candidate("partial", 0.86, 90.0), candidate("probe", 0.84, 12.0), candidate("full", 0.7, 400.0)),
        optimism=0.01, num_pairs=3, created=CREATED, machine="2 cores", not_run=("full seed 1",),
        failed=(sweep.Cell(name="googlenet scratch", reason="the loss is not a number"),),
    )  # fmt: skip
    sweep.write_sweep(report, folder)
