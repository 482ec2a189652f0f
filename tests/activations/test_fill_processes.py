"""Filling from several processes, killed in the middle, and with many inputs."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FILL = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from toy_backbone import SHAPES, toy_backbone, toy_input
from regraft.activations.runner import Prefixes
from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.disk import Memo
from regraft.activations.store import Store
from regraft.identity import digest_json
from regraft.values import Progress

asked = 0
WANTS = [Want(cut="layer.0", views=2, dtype="float32"), Want(cut="output", views=1, dtype="float32")]

def load(example, number, piece):
    global asked
    asked += 1
    return toy_input(example, number), {}

def activations(root, num, width=16, shard_bytes=20_000):
    backbone = toy_backbone(root / f"weights-{os.getpid()}", width=width)
    prefixes = Prefixes(backbone, SHAPES, view="pooled", memo=Memo(root / "store"), threads=1)
    inputs = Inputs(contents=[digest_json(i) for i in range(num)], load=load, fields={},
                    view_name=lambda number: str(number) if number else "plain")
    return Activations(Store(root / "store", shard_bytes=shard_bytes), prefixes.memo, prefixes, inputs)

def digest(made, num):
    found = 0
    for want in WANTS:
        states = made.states(want, num, range(num))
        for view in range(want.views):
            batch = states.batch(np.arange(num), np.full(num, view))
            found = digest_json([found, {name: array.tobytes().hex() for name, array in sorted(batch.items())}])
    return found
"""

ONCE = """
root, num, die_after, company = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
made, met = activations(root, num), False
for event in made.fill(WANTS, range(num)):
    if isinstance(event, Progress):
        if not met:
            (root / f"begun-{os.getpid()}").touch()
            give_up_at, met = time.monotonic() + 100, True
            while len(list(root.glob("begun-*"))) < company:
                assert time.monotonic() < give_up_at
                time.sleep(0.01)
        if event.done >= die_after > 0:
            print("dying", flush=True)
            time.sleep(100)
found = digest(made, num)
made.close()
print(json.dumps({"asked": asked, "digest": found}))
"""

PEAK = """
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

class Heavy(dict):
    # a prepared input that takes 10 kB as long as it is held
    pass

def load(example, number, piece):
    record = Heavy(toy_input(example, number))
    record.ballast = bytearray(b"x" * 10_000)
    return record, {}

root, peaks = Path(sys.argv[1]), []
for num in json.loads(sys.argv[2]):
    made = activations(root / str(num), num, width=256, shard_bytes=1 << 20)
    for event in made.fill(WANTS, range(num)):
        pass
    peaks.append(peak())
    row_bytes = made.entry("layer.0", "float32").row_bytes
    made.close()
print(json.dumps({"peaks": peaks, "row_bytes": row_bytes}))
"""


def start(script: str, env: dict[str, str], *arguments: object) -> "subprocess.Popen[str]":
    env = {**env, "PYTHONPATH": f"{env['PYTHONPATH']}:{Path(__file__).parents[1]}"}
    command = [sys.executable, "-c", FILL + script, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fill(root: Path, num: int, env: dict[str, str], *, die_after: int = 0, company: int = 1) -> "subprocess.Popen[str]":
    """Fills the store at `root` from `num` inputs, after `die_after` rows waiting to be killed; after its first batch
    it waits until `company` processes are as far."""
    root.mkdir(exist_ok=True)
    return start(ONCE, env, root, num, die_after, company)


def finished(process: "subprocess.Popen[str]") -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, child_env: dict[str, str]) -> dict[str, Any]:
    """What one process makes of 150 inputs without interruption."""
    found = finished(fill(tmp_path_factory.mktemp("whole"), 150, child_env))
    assert found["asked"] == 300
    return found


def test_a_filling_killed_in_the_middle_goes_on_to_the_same_bytes(
    tmp_path: Path, child_env: dict[str, str], whole: dict[str, Any]
) -> None:
    dying = fill(tmp_path, 150, child_env, die_after=200)
    assert dying.stdout is not None
    assert dying.stdout.readline() == "dying\n"
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    resumed = finished(fill(tmp_path, 150, child_env))
    assert resumed["digest"] == whole["digest"]
    assert 100 <= resumed["asked"] < 200, "what was written before is not computed again, the rest is"


def test_two_processes_fill_one_store_at_once_with_the_same_rows(
    tmp_path: Path, child_env: dict[str, str], whole: dict[str, Any]
) -> None:
    """Both have begun before either goes on."""
    both = [finished(process) for process in [fill(tmp_path, 150, child_env, company=2) for _ in range(2)]]
    assert [found["digest"] for found in both] == [whole["digest"]] * 2
    assert min(found["asked"] for found in both) > 100, "both computed"
    again = finished(fill(tmp_path, 150, child_env))
    assert (again["asked"], again["digest"]) == (0, whole["digest"])


def growth(root: Path, env: dict[str, str], few: int, many: int) -> tuple[int, int]:
    """By how many bytes the peak of memory grows from `few` inputs to `many`, and what the rows of the many take."""
    found = finished(start(PEAK, env, root, json.dumps([few, few, many])))
    return found["peaks"][2] - found["peaks"][1], 2 * many * found["row_bytes"]


linux = pytest.mark.skipif(sys.platform != "linux", reason="a process reads its own peak from /proc")


@linux
def test_peak_memory_does_not_grow_with_the_number_of_inputs(tmp_path: Path, child_env: dict[str, str]) -> None:
    """A process's own `ru_maxrss` would not do: it begins with the peak of the one that started it."""
    grown, rows_bytes = growth(tmp_path, child_env, 200, 2000)
    assert rows_bytes > 32 << 20
    assert grown < 8 << 20


@linux
@pytest.mark.slow
def test_peak_memory_does_not_grow_with_very_many_inputs(tmp_path: Path, child_env: dict[str, str]) -> None:
    grown, _ = growth(tmp_path, child_env, 200, 20_000)
    assert grown < 12 << 20
