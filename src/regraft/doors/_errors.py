"""From what went wrong to what the command line says and returns. This is the one place; commands catch nothing.

    0    done
    1    a fault in regraft: the traceback is shown, with a request to report it; or the reader of a pipe has left
    2 …  `EXIT_CODES`, by the class of the error; 2 also for a command line that cannot be parsed, and for a path that
         the system does not let us read or write; 7 also for a full disk under the output
    130  interrupted (Ctrl-C); 143 when the process was asked to end

What a command prints at the end goes to stdout; everything else to stderr.
"""

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType

from regraft import errors
from regraft.doors._output import escape_what_an_encoding_lacks

EXIT_CODES: Mapping[type[errors.RegraftError], int] = {
    errors.RegraftError: 1,
    errors.BadRequest: 2,
    errors.BadData: 3,
    errors.WeightsError: 4,
    errors.BundleError: 5,
    errors.TrainingFailed: 6,
    errors.OutOfSpace: 7,
    errors.MissingExtra: 8,
    errors.RunError: 9,
}
"""Exit codes of the command line; a class that is not listed has the code of the nearest class above it."""
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""What a system says of a path that may not be read or written as it is: for the user to mend, not a fault of ours."""
ISSUES = "the project's issue tracker"


class Interrupted(BaseException):
    """The process was asked to stop. Not a KeyboardInterrupt: that, libraries turn into something else."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def exit_code_of(kind: type[errors.RegraftError]) -> int:
    """The exit code for errors of this class."""
    return next(EXIT_CODES[each] for each in kind.__mro__ if each in EXIT_CODES)


@contextmanager
def guarded() -> Iterator[None]:
    """Inside the `with` a command runs; what goes wrong is reported, and ends the process with its exit code."""
    sys.excepthook = _unexpected
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    escape_what_an_encoding_lacks()
    warnings.filterwarnings("ignore", module=r"PIL\.|pydicom\.")  # what they find odd in a file they read all the same
    try:
        try:
            yield
        finally:  # what was printed before an error is written as well; a click command ends by SystemExit
            sys.stdout.flush()
    except errors.RegraftError as error:
        sys.stderr.write(f"regraft: {error}\n")
        sys.exit(exit_code_of(type(error)))
    except Interrupted as stop:
        sys.stderr.write("\n".join(["\nStopped.", *getattr(stop, "__notes__", ())]) + "\n")
        sys.exit(stop.exit_code)
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENOSPC and not error.filename:
            _discard_stdout()
            sys.stderr.write(f"regraft: The output cannot be written: {error.strerror}.\n  fix: free some space.\n")
            sys.exit(EXIT_CODES[errors.OutOfSpace])
        if error.errno not in _REFUSALS or not error.filename:
            raise
        sys.stderr.write(
            f"regraft: The system refuses {error.filename2 or error.filename}: {error.strerror}.\n"
            "  fix: check the path and its rights, or choose another place (--out, or REGRAFT_CACHE for the cache).\n"
        )
        sys.exit(EXIT_CODES[errors.BadRequest])


@contextmanager
def if_interrupted(advice: str) -> Iterator[None]:
    """What to say when the work inside is interrupted."""
    try:
        yield
    except Interrupted as stop:
        stop.add_note(advice)
        raise


def _discard_stdout() -> None:
    """Let the interpreter's own last flush go nowhere, since it would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    traceback.print_exception(kind, error, trace)
    sys.stderr.write(
        f"\nregraft: This is a fault in regraft, not in what you asked. Please report it to {ISSUES}: the lines above, "
        "the command, and `regraft --version`.\n"
    )
