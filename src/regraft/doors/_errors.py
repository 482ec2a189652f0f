"""From what went wrong to what the command line says and returns. This is the one place; commands catch nothing.

    0    done
    1    a fault in regraft: the traceback is shown, with a request to report it; or the reader of a pipe has left
    2 …  the family in `regraft.errors`, by class; 2 also for a command line that cannot be parsed, and for a path that
         the system does not let us read or write
    130  interrupted (Ctrl-C); 143 when the process was asked to end

What a command prints at the end goes to stdout; everything else to stderr.
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from regraft.errors import BadRequest, RegraftError

_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""What a system says of a path that may not be read or written as it is: the user's to mend, and no fault of ours."""

ISSUES = "the project's issue tracker"


class Interrupted(BaseException):
    """The process was asked to stop. Not a KeyboardInterrupt: that, libraries turn into something else."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def guarded(command: Callable[[], object]) -> int:
    """Run a command; tell what went wrong, if anything; the exit code."""
    sys.excepthook = _unexpected
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        command()
        sys.stdout.flush()
    except RegraftError as error:
        sys.stderr.write(f"regraft: {error}\n")
        return error.exit_code
    except Interrupted as stop:
        sys.stderr.write("\n".join(["\nStopped.", *getattr(stop, "__notes__", ())]) + "\n")
        return stop.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _REFUSALS or not error.filename:
            raise
        sys.stderr.write(
            f"regraft: The system refuses {error.filename2 or error.filename}: {error.strerror}.\n"
            "  fix: check the path and its rights, or choose another place (--out, or REGRAFT_CACHE for the cache).\n"
        )
        return BadRequest.exit_code
    return 0


@contextmanager
def if_interrupted(said: str) -> Iterator[None]:
    """What to tell when the work inside is interrupted."""
    try:
        yield
    except Interrupted as stop:
        stop.add_note(said)
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    traceback.print_exception(kind, error, trace)
    sys.stderr.write(
        f"\nregraft: This is a fault in regraft, not in what you asked. Please report it to {ISSUES}: the lines above, "
        "the command, and `regraft --version`.\n"
    )
