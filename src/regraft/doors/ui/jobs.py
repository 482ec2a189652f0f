"""A queue of jobs: commands that run one at a time, each in its own folder under queue/.

job.json       the command and its title
started        exists once the job was started
lock           held by the job's process as long as it lives, even if the server dies
pid            id of that process
events.jsonl   notices, plans and progress
log.txt        output of the command
code           exit code, once the command has ended by itself

A job's state is derived from these files, so that a restarted server finds every job unchanged.
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
"""Exit code of an audit with findings; the job counts as done."""
STOPPED = (129, 130, 143)
STARTS_S = 30
"""Seconds within which a process must report that it has started."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command."""

    id: str
    """Its number, used in URLs."""
    title: str
    """Its title, for display."""
    args: tuple[str, ...]
    """Command line after `regraft`; paths are relative to the folder of the web interface."""
    out: str = ""
    """Its result, as KIND/NAME; empty if there is nothing to display."""
    lane: Lane = "long"
    """Lane of the queue: jobs of one lane run one after another, except that servers wait for no other job."""
    resumes: bool = False
    """Whether the command accepts --resume."""
    made: float
    """Time of creation, in seconds since 1970."""


class Queue:
    """The jobs of a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "queue"
        self._alone = threading.RLock()

    def jobs(self) -> list[Job]:
        """Return all jobs, newest first."""
        found = sorted(self.folder.glob("[0-9]*/job.json"), reverse=True)
        return [from_json(Job, json.loads(path.read_text(encoding="utf-8"))) for path in found]

    def job(self, number: str) -> Job:
        """Raises: BadRequest: there is no job with that number."""
        path = self.folder / number / "job.json"
        if not number.isdecimal() or not path.is_file():
            raise BadRequest(f"There is no job {number[:20]!r}.", fix="go back to the first page.")
        return from_json(Job, json.loads(path.read_text(encoding="utf-8")))

    def add(self, title: str, args: list[str], *, out: str = "", lane: Lane = "long", resumes: bool = False) -> Job:
        """Add a command to the end of the queue."""
        with self._alone:
            number = max((int(path.name) for path in self.folder.glob("[0-9]*")), default=0) + 1
            job = Job(id=f"{number:05d}", title=title, args=tuple(args), out=out, lane=lane, resumes=resumes,
                      made=time.time())  # fmt: skip
            write_json(self.folder / job.id / "job.json", to_json(job))
        return job

    def state(self, job: Job) -> State:
        """Return the state of a job."""
        folder = self.folder / job.id
        with self._alone:
            code = folder / "code"
            if code.is_file():
                number = int(code.read_text() or 1)
                if number in STOPPED or (number == 0 and job.lane == "serve"):  # servers exit normally when stopped
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
        """Start the next job in each lane in which none is running."""
        with self._alone:
            states = [(job, self.state(job)) for job in reversed(self.jobs())]
            busy = {job.lane for job, state in states if state == "running"} - {"serve"}
            for job, state in states:
                if state == "waiting" and job.lane not in busy:
                    busy |= {job.lane} - {"serve"}
                    self._begin(job)

    def stop(self, job: Job) -> None:
        """Stop a running job with the signal that the command line handles; delete one that is waiting."""
        folder, state = self.folder / job.id, self.state(job)
        if state == "waiting":
            shutil.rmtree(folder)
        elif state == "running":
            for _ in range(10 * STARTS_S):  # until it has written its process id
                if (folder / "pid").is_file():
                    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
                    return
                time.sleep(0.1)

    def again(self, job: Job) -> None:
        """Queue a job again that ended early; an unfinished run is resumed."""
        if self.state(job) not in ("stopped", "interrupted", "failed"):
            raise BadRequest(f"Job {job.id} cannot be resumed: it is {self.state(job)}.", fix="reload the page.")
        made = self.root / job.out
        if job.out and not job.resumes and not (made / "report.json").exists():  # its partial result cannot be resumed
            shutil.rmtree(made, ignore_errors=True)
        for name in ("code", "started", "pid"):
            (self.folder / job.id / name).unlink(missing_ok=True)

    def forget(self, job: Job) -> None:
        """Delete a job that is not running; its result is kept."""
        if self.state(job) != "running":
            shutil.rmtree(self.folder / job.id)

    def log(self, job: Job) -> str:
        """Return the end of its output."""
        path = self.folder / job.id / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace")[-20_000:] if path.is_file() else ""

    def events(self, job: Job) -> Path:
        """Return the path of its event log: the run's own, if there is one."""
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
