"""Process of a job: `python -m regraft.doors.ui.work FOLDER` runs the command in FOLDER/job.json like the command line,
and writes its exit code."""

import json
import os
import sys
import time
from pathlib import Path

from regraft.doors.cli import main
from regraft.doors.screen import EVENTS
from regraft.files import Lock, write_text


def work(folder: Path) -> None:
    """Run the job, unless another process is running it."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    lock, end = Lock(folder / "lock"), time.monotonic() + 10
    while not lock.acquire():  # a state check holds the lock for a moment
        if time.monotonic() > end:
            return
        time.sleep(0.01)
    resumes = job["resumes"] and any((Path(job["out"]) / name).is_file() for name in ("begun.json", "sweep.json"))
    sys.argv = ["regraft", *job["args"], *(["--resume"] if resumes else [])]
    os.environ[EVENTS] = str(folder / "events.jsonl")
    write_text(folder / "pid", str(os.getpid()))
    code = 1
    try:
        main()
        code = 0
    except SystemExit as end_:
        code = end_.code if isinstance(end_.code, int) else int(end_.code is not None)
        raise
    finally:
        write_text(folder / "code", str(code))


if __name__ == "__main__":
    work(Path(sys.argv[1]).absolute())
