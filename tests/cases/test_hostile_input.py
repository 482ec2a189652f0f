"""Two thousand inputs that nobody should send, each ending in a result or in an error with a name."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cases import hostile

COUNT = int(os.environ.get("REGRAFT_HOSTILE", "2000"))
HANG_S, PATIENCE_S = 20.0, 120.0
"""A case may keep a processor busy so long; a process that says nothing for the longer time, on however busy a machine,
is ended."""


class Worker:
    """A process that runs cases, and is replaced when one hangs or kills it."""

    def __init__(self, root: Path, model: Path, env: dict[str, str]) -> None:
        self.command = [sys.executable, hostile.__file__, "work", str(model), str(root)]
        places = {"HOME": "home", "TMPDIR": "tmp", "REGRAFT_CACHE": "cache"}
        path = os.pathsep.join([env["PYTHONPATH"], str(Path(__file__).parents[1])])
        self.env = env | {name: str(root / place) for name, place in places.items()} | {"PYTHONPATH": path}
        self.process: subprocess.Popen[str] | None = None

    def run(self, number: int) -> dict[str, Any]:
        """The outcome of a case."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                env=self.env,
            )  # fmt: skip
            self.lines: queue.Queue[str] = queue.Queue()
            threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()
        assert self.process.stdin
        line = ""
        try:
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=PATIENCE_S)
        except (queue.Empty, OSError):
            pass
        if not line:
            self.close()
            return {
                "number": number,
                "kind": "?",
                "verb": "?",
                "code": None,
                "cpu": PATIENCE_S,
                "wrong": ["a hang or a crash"],
                "err": "",
            }
        found: dict[str, Any] = json.loads(line)
        if found["cpu"] > HANG_S:
            found["wrong"].append(f"{found['cpu']} s of work")
        return found

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe:
                    pipe.close()

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: "queue.Queue[str]") -> None:
        assert process.stdout
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in process.stdout:
                lines.put(line)
        lines.put("")


@pytest.mark.slow
def test_hostile_input_ends_in_a_result_or_in_an_error_with_a_name(
    model: Path, tmp_path: Path, child_env: dict[str, str]
) -> None:
    numbers: queue.Queue[int] = queue.Queue()
    for number in range(COUNT):
        numbers.put(number)
    outcomes = list[dict[str, Any]]()

    def drain(name: str) -> None:
        worker = Worker(tmp_path / name, model, child_env)  # in a folder of its own, where nobody else writes
        while True:
            try:
                outcomes.append(worker.run(numbers.get_nowait()))
            except queue.Empty:
                worker.close()
                return

    threads = [threading.Thread(target=drain, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter((one["kind"], one["verb"], one["code"]) for one in outcomes)
    for (kind, verb, code), count in sorted(counts.items(), key=str):
        sys.stdout.write(f"{kind:8} {verb:9} exit {code}: {count}\n")
    wrong = [one for one in outcomes if one["wrong"]]
    assert len(outcomes) == COUNT
    assert not wrong, "\n\n".join(
        f"case {one['number']} ({one['verb']} of {one['kind']}): {one['wrong']}\n{one['err']}" for one in wrong[:20]
    )
    assert len({code for _, _, code in counts}) > 2
