"""Filling from several processes, killed in the middle, and with many inputs."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FILL = """
import json, os, resource, sys, time
from pathlib import Path
import numpy as np
from toy_backbone import SHAPES, toy_backbone, toy_input
from regraft.activations._runner import Prefixes
from regraft.activations.fill import Activations, Inputs, Want
from regraft.activations.memo import Memo
from regraft.activations.store import Store
from regraft.identity import digest_json
from regraft.values import Progress

root, num, die_after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
asked = 0

def load(example, number):
    global asked
    asked += 1
    return toy_input(example, number)

memo = Memo(root / "store")
prefixes = Prefixes(toy_backbone(root / f"weights-{os.getpid()}"), SHAPES, view="pooled", memo=memo, threads=1)
inputs = Inputs(contents=[digest_json(i) for i in range(num)], load=load, fields={},
                view_name=lambda number: str(number) if number else "plain")
made = Activations(Store(root / "store", shard_bytes=20_000), memo, prefixes, inputs)
wants = [Want(cut="layer.0", views=2, dtype="float32"), Want(cut="output", views=1, dtype="float32")]
peaks = []
for event in made.fill(wants, range(num)):
    if isinstance(event, Progress):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if event.done >= die_after > 0:
            print("dying", flush=True)
            time.sleep(60)
states = made.states(wants[0], num, range(num))
digest = 0
for first in range(0, num, 64):
    examples = np.arange(first, min(first + 64, num))
    for view in range(2):
        hidden = states.batch(examples, np.full(len(examples), view))["hidden"]
        digest = digest_json([digest, hidden.tobytes().hex()])
made.close()
print(json.dumps({"asked": asked, "digest": digest, "peaks": peaks}))
"""


def start(root: Path, num: int, env: dict[str, str], die_after: int = 0) -> "subprocess.Popen[str]":
    env = {**env, "PYTHONPATH": f"{env['PYTHONPATH']}:{Path(__file__).parents[1]}"}
    command = [sys.executable, "-c", FILL, str(root), str(num), str(die_after)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]") -> dict[str, object]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found: dict[str, object] = json.loads(out.splitlines()[-1])
    return found


def test_a_filling_killed_in_the_middle_goes_on_to_the_same_bytes(tmp_path: Path, child_env: dict[str, str]) -> None:
    whole = finished(start(tmp_path / "whole", 200, child_env))
    dying = start(tmp_path / "killed", 200, child_env, die_after=200)
    assert dying.stdout is not None
    assert dying.stdout.readline() == "dying\n"
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    resumed = finished(start(tmp_path / "killed", 200, child_env))
    assert resumed["digest"] == whole["digest"]
    assert 0 < int(str(resumed["asked"])) < int(str(whole["asked"])) == 400


def test_two_processes_fill_one_store_with_the_same_rows(tmp_path: Path, child_env: dict[str, str]) -> None:
    whole = finished(start(tmp_path / "whole", 100, child_env))
    both = [start(tmp_path / "shared", 100, child_env) for _ in range(2)]
    assert [finished(process)["digest"] for process in both] == [whole["digest"]] * 2
    assert finished(start(tmp_path / "shared", 100, child_env))["asked"] == 0


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_number_of_inputs(tmp_path: Path, child_env: dict[str, str]) -> None:
    """Between a quarter and the end of 20,000 rows; kilobytes on Linux."""
    peaks = np.array(finished(start(tmp_path, 10_000, child_env))["peaks"])
    quarter = len(peaks) // 4
    assert peaks[-1] - peaks[quarter] < 8_000
