"""Jobs: commands that wait, run and are done, one at a time, each in a folder of its own under queue/.

job.json       the command, and what it is called
started        is there once it was begun
lock           held by the process that works, as long as it lives, whatever becomes of the server
pid            that process
events.jsonl   notices, plans and progress
log.txt        what the command printed
code           its exit code, once it ended by itself

How a job stands follows from these files, so a server that is killed and started again finds every job as it is.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regraft.errors import BadRequest
from regraft.files import Lock, write_json
from regraft.records import from_json, to_json

Lane = Literal["long", "quick", "serve"]
State = Literal["waiting", "running", "done", "stopped", "interrupted", "failed"]
FOUND = 10
"""Exit code of an audit that found something: it is done."""
STOPPED = (129, 130, 143)
STARTS_S = 30
"""Seconds that a process has to say that it works."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command."""

    id: str
    """Its number, as it stands in addresses."""
    title: str
    """What it does, for people."""
    args: tuple[str, ...]
    """The command line after `regraft`; paths are relative to the folder of the page."""
    out: str = ""
    """What it makes, as KIND/NAME; empty where that is nothing to look at."""
    lane: Lane = "long"
    """Jobs of one lane wait for one another; what serves waits for none."""
    resumes: bool = False
    """Whether the command knows --resume."""
    made: float
    """When it was asked for, in seconds since 1970."""


class Queue:
    """The jobs of a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "queue"
        self._alone = threading.RLock()

    def jobs(self) -> list[Job]:
        """All of them, the newest first."""
        found = sorted(self.folder.glob("[0-9]*/job.json"), reverse=True)
        return [from_json(Job, json.loads(path.read_text(encoding="utf-8"))) for path in found]

    def job(self, number: str) -> Job:
        """Raises: BadRequest: there is none of that number."""
        path = self.folder / number / "job.json"
        if not number.isdecimal() or not path.is_file():
            raise BadRequest(f"There is no job {number[:20]!r}.", fix="go back to the first page.")
        return from_json(Job, json.loads(path.read_text(encoding="utf-8")))

    def add(self, title: str, args: list[str], *, out: str = "", lane: Lane = "long", resumes: bool = False) -> Job:
        """Put a command at the end."""
        with self._alone:
            number = max((int(path.name) for path in self.folder.glob("[0-9]*")), default=0) + 1
            job = Job(id=f"{number:05d}", title=title, args=tuple(args), out=out, lane=lane, resumes=resumes,
                      made=time.time())  # fmt: skip
            write_json(self.folder / job.id / "job.json", to_json(job))
        return job

    def state(self, job: Job) -> State:
        """How it stands."""
        folder = self.folder / job.id
        with self._alone:
            code = folder / "code"
            if code.is_file():
                number = int(code.read_text() or 1)
                if number in STOPPED or (number == 0 and job.lane == "serve"):  # a server ends well when it is stopped
                    return "stopped"
                return "done" if number in (0, FOUND) else "failed"
            if not (folder / "started").exists():
                return "waiting"
            if not (folder / "pid").exists() and time.time() - (folder / "started").stat().st_mtime < STARTS_S:
                return "running"
            lock = Lock(folder / "lock")
            free = lock.acquire()
            lock.release()
            return "interrupted" if free else "running"

    def start(self) -> None:
        """Begin what may begin: in each lane the first that waits, where none runs."""
        with self._alone:
            states = [(job, self.state(job)) for job in reversed(self.jobs())]
            busy = {job.lane for job, state in states if state == "running"} - {"serve"}
            for job, state in states:
                if state == "waiting" and job.lane not in busy:
                    busy |= {job.lane} - {"serve"}
                    self._begin(job)

    def stop(self, job: Job) -> None:
        """End a job that runs, by the signal that the command line understands; one that waits is forgotten."""
        folder, state = self.folder / job.id, self.state(job)
        if state == "waiting":
            shutil.rmtree(folder)
        elif state == "running":
            for _ in range(10 * STARTS_S):  # until it has said who it is
                if (folder / "pid").is_file():
                    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
                    return
                time.sleep(0.1)

    def again(self, job: Job) -> None:
        """Let a job that ended early wait again; a run that was begun goes on."""
        if self.state(job) not in ("stopped", "interrupted", "failed"):
            raise BadRequest(f"Job {job.id} cannot be gone on with: it is {self.state(job)}.", fix="look at it again.")
        made = self.root / job.out
        if job.out and not job.resumes and not (made / "report.json").exists():  # what it left cannot be gone on with
            shutil.rmtree(made, ignore_errors=True)
        for name in ("code", "started", "pid"):
            (self.folder / job.id / name).unlink(missing_ok=True)

    def forget(self, job: Job) -> None:
        """Delete what is known of a job that does not run; what it made stays."""
        if self.state(job) != "running":
            shutil.rmtree(self.folder / job.id)

    def log(self, job: Job) -> str:
        """The end of what it printed."""
        path = self.folder / job.id / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace")[-20_000:] if path.is_file() else ""

    def events(self, job: Job) -> Path:
        """The log of its events: the run's own, where there is one."""
        own = self.root / job.out / "events.jsonl"
        return own if job.out and own.is_file() else self.folder / job.id / "events.jsonl"

    def _begin(self, job: Job) -> None:
        folder = self.folder / job.id
        (folder / "started").touch()
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "regraft.doors.ui.work", str(folder)], cwd=self.root, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=process.wait, daemon=True).start()
