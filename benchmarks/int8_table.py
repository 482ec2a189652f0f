"""What 8-bit integers cost and give: accuracy on the test splits of four sets, and time, against float32.

    .venv/bin/python benchmarks/int8_table.py [--backbone googlenet] [--px 128] [--seconds 30]

Probes are fitted (about two CPU minutes the first time), exported to `onnx` and `onnx-int8` whatever they lose on
the validation split, and asked about the test split through each export's own `predict.py`. Times are CPU seconds of
one thread, so that other work on the machine counts little; the formats take turns. Writes docs/results/int8.md.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _markdown import head, line, told
from _sets import ROOT, SETS

from regraft.activations.openvino import processor
from regraft.bundles.exporting import open_export
from regraft.contracts.metric import main_metric
from regraft.doors.screen import result_of
from regraft.evaluation.differences import compare
from regraft.files import write_text
from regraft.recipe import Recipe, parse_setting, with_settings
from regraft.values import drained
from regraft.words import size
from regraft.workbench.export import Exported, data_of, export
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone

BATCH = 16
FORMATS = ("onnx", "onnx-int8")
TITLE = "# 8-bit integers: what they cost and what they give"
TOLD = """\
Network: {backbone}, input {px} pixels, the head alone solved (`probe`). *Lost*: accuracy of the float32
export less that of the 8-bit export on the same test images, with a 95 % interval by paired bootstrap (by
group where the set has groups); *right only* counts the test images that one of both predicts right and the
other wrong. *Times as fast*: CPU seconds of one thread, `onnx` divided by `onnx-int8`, the median of rounds
in turn and between brackets the lowest and the highest round. Calibrated on up to 128 training images.
Nothing was refused for this table; the last column says what `regraft export` does with its default of 0.02
on the validation split, where the run has one, or else on training images. One seed each. Made by `python
benchmarks/int8_table.py`."""


def run_of(name: str, backbone: str, px: int) -> Path:
    """The probe on a set, fitted where it is not yet."""
    out = ROOT / "runs" / "int8" / f"{name}-{backbone.replace(':', '_')}-{px}"
    if not (out / "report.json").is_file():
        recipe = Recipe(data=str(SETS[name].open()), backbone=backbone, input_px=px, threads=1)
        recipe = with_settings(recipe, dict(map(parse_setting, SETS[name].settings)))
        result_of(fit(recipe, out), RunDone, quiet=True)
    return out


def exports_of(run: Path) -> dict[str, Any]:
    """What both exports of a run say of themselves; made where they are not yet."""
    made = {}
    for to in FORMATS:
        spec = run / "exports" / to / "spec.json"
        if not spec.is_file():
            result_of(export(run, to, max_loss=1.0, threads=1), Exported, quiet=True)
        made[to] = json.loads(spec.read_text(encoding="utf-8"))["compared"]
    return made


def asked(run: Path) -> tuple[Any, dict[str, np.ndarray], list[Any], Any, tuple[str, ...]]:
    """Test targets, each format's outputs of them, their records, groups and the classes."""
    session, why = drained(data_of(run, None, 1))
    assert session is not None, why
    models = {to: open_export(run / "exports" / to, 1) for to in FORMATS}
    outputs: dict[str, list[np.ndarray]] = {to: [] for to in FORMATS}
    test = session.splits.test
    records = [models["onnx"].prepare(session.dataset.examples[at].path) for at in test.tolist()]
    for first in range(0, len(test), BATCH):
        for to, model in models.items():
            outputs[to].append(model.outputs(records[first : first + BATCH])["outputs"])
    found = {to: np.concatenate(parts).astype(np.float64) for to, parts in outputs.items()}
    return session.targets[test], found, records, session.user_groups(test), session.task.classes


def times_as_fast(run: Path, records: list[Any], rows: int, seconds: float) -> list[float]:
    """CPU seconds in float32 by those in 8 bits, round by round, for batches of so many rows."""
    models = {to: open_export(run / "exports" / to, 1) for to in FORMATS}
    batch, ratios, began = records[:rows], list[float](), time.process_time()
    for model in models.values():
        model.outputs(batch)
    while time.process_time() - began < seconds or len(ratios) < 3:
        spent = {to: cpu_seconds(lambda model=model: model.outputs(batch)) for to, model in models.items()}
        ratios.append(spent["onnx"] / spent["onnx-int8"])
    return ratios


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def row(name: str, backbone: str, px: int, seconds: float) -> str:
    """A set's line of the table."""
    run = run_of(name, backbone, px)
    made = exports_of(run)
    targets, outputs, records, groups, classes = asked(run)
    found = compare(
        targets, outputs["onnx"], outputs["onnx-int8"], groups=groups, metric=main_metric("classification").name,
        outputs=classes,
    )  # fmt: skip
    one, many = (times_as_fast(run, records, rows, seconds / 2) for rows in (1, BATCH))
    kept, split = made["onnx-int8"]["paired"], made["onnx-int8"]["split"]
    fell = kept["a"] - kept["b"]
    verdict = f"{'written' if fell <= 0.02 else 'refused'} (lost {fell:+.3f} on {split})"
    ratios = (f"{median(some):.2f} [{min(some):.2f}, {max(some):.2f}]" for some in (one, many))
    sizes = " / ".join(size(made[to]["bytes"]) for to in FORMATS)
    right = f"{found.only_a_right} / {found.only_b_right}"
    lost = found.difference.told(signed=True)
    return line(name, len(targets), f"{found.a:.3f}", f"{found.b:.3f}", lost, right, *ratios, sizes, verdict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="googlenet")
    parser.add_argument("--px", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=30.0, help="CPU seconds for timing, all sets together")
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="which sets; all four by default")
    given = parser.parse_args()
    name, units = processor()
    machine = f"Processor: {name}, {', '.join(units) or 'without units for 8-bit products (VNNI)'}; one thread."
    columns = ("set", "test", "float32", "8 bits", "lost", "right only in float32 / 8 bits", "times as fast, one image",
               "times as fast, 16", "size, float32 / 8 bits", "`regraft export`")  # fmt: skip
    said, rows, left = told(TOLD, backbone=f"`{given.backbone}`", px=given.px), list[str](), list(given.sets)
    while left:  # the page is written after every set
        rows.append(row(left.pop(0), given.backbone, given.px, given.seconds / len(given.sets)))
        absent = [one for one in SETS if one in left or one not in given.sets]
        note = [f"Not measured: {', '.join(absent)}.", ""] if absent else []
        text = "\n".join([TITLE, "", said, "", machine, "", *head(*columns), *rows, "", *note])
        write_text(ROOT / "docs" / "results" / "int8.md", text.rstrip() + "\n")
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
