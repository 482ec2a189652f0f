"""Error messages and exit codes of the command line, for all commands; none of them handles errors itself.

    0    done
    1    a bug in regraft: the traceback is shown, with a request to report it; or the reader of a pipe has exited
    2 …  `EXIT_CODES`, by the class of the error; 2 also for a command line that cannot be parsed, and for a path
         without permission to read or write
    10   done, and an audit found problems that it was asked to fail on
    130  interrupted (Ctrl-C); 143 if the process was terminated, 129 if its terminal was closed

What a command prints at the end goes to stdout; everything else to stderr.
"""

import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from regraft import errors
from regraft.doors.screen import escape_what_an_encoding_lacks
from regraft.files import FULL, cache_home, disk_full
from regraft.words import visible

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
FOUND = 10
"""Exit code of an audit that found what it was asked to fail on."""
_REFUSALS = frozenset(
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "EEXIST", "ELOOP", "ENAMETOOLONG", "EINVAL", "EFBIG",
                 "EBUSY", "EIO", "ENXIO")
)  # fmt: skip
"""System errors about paths that cannot be read or written: for the user to fix, not bugs."""
ISSUES = "the project's issue tracker"


class Interrupted(BaseException):
    """The process was asked to stop. Not a KeyboardInterrupt, which libraries convert to other errors."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def exit_code_of(kind: type[errors.RegraftError]) -> int:
    """Return the exit code for errors of this class."""
    return next(EXIT_CODES[each] for each in kind.__mro__ if each in EXIT_CODES)


@contextmanager
def guarded() -> Iterator[None]:
    """Run a command inside the `with`; an error is reported, and ends the process with its exit code."""
    sys.excepthook = _unexpected
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup, and `&` in a script, ask us to go on
            signal.signal(number, _interrupt)
    escape_what_an_encoding_lacks()
    # what these find odd in a file they read all the same
    warnings.filterwarnings("ignore", module=r"PIL\.|pydicom\.|nibabel\.")
    try:
        with translated():
            try:
                yield
            finally:  # what was printed before an error is written as well; a click command ends by SystemExit
                sys.stdout.flush()
    except errors.RegraftError as error:
        _tell("\n".join(map(visible, f"regraft: {error}".split("\n"))) + "\n")
        sys.exit(exit_code_of(type(error)))
    except Interrupted as stop:
        _tell("\n".join(["\nStopped.", *getattr(stop, "__notes__", ())]) + "\n")
        sys.exit(stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _close(stream)


@contextmanager
def translated() -> Iterator[None]:
    """Convert errors of the system, memory allocation or encodings inside the `with` to a `RegraftError`, for all
    interfaces.

    Raises:
        OutOfSpace: memory, disk or quota are used up.
        BadRequest: the system rejects a path, or its encoding cannot represent it.
    """
    try:
        yield
    except (errors.RegraftError, BrokenPipeError):
        raise
    except Exception as error:
        if (known := _known(error)) is None:
            raise
        raise known from error


def _known(error: Exception) -> errors.RegraftError | None:
    number, name = getattr(error, "errno", None), getattr(error, "filename2", None) or getattr(error, "filename", None)
    if number == errno.ENOMEM or errors.out_of_memory(error):
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        return errors.OutOfSpace(
            f"Out of memory: {said}.",
            fix="lower the batch size (--set options.batch=8) or the input size (--input-px 128), freeze more (a later "
            "--cut), or close other programs.",
        )
    if number in FULL:
        return disk_full(name or "the output")
    if isinstance(error, UnicodeEncodeError):
        return errors.BadRequest(
            f"{error.object!a} cannot be written in this system's encoding, {error.encoding}.",
            fix="set PYTHONUTF8=1, or rename the file or folder.",
        )
    if number not in _REFUSALS or name is None:
        return None
    path = Path(os.fsdecode(name)).absolute()
    said = getattr(error, "strerror", "")
    if path.is_symlink() and not path.exists():
        said = "it is a broken link"
    home = cache_home().absolute()
    ours = path in (home, *home.parents) or path.is_relative_to(home)
    other = "check the path and its permissions, or choose another."
    fix = "set REGRAFT_CACHE to a folder of your own." if ours else other
    return errors.BadRequest(f"{path} cannot be accessed: {said}.", fix=fix)


@contextmanager
def if_interrupted(advice: str) -> Iterator[None]:
    """Set the message to show if the work inside is interrupted."""
    try:
        yield
    except Interrupted as stop:
        stop.add_note(advice)
        raise


def _tell(text: str) -> None:
    """Write a message to stderr, if possible."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _close(stream: Any) -> None:
    """Flush a stream; if that fails, redirect it, so that the interpreter's own attempt at exit does not fail too."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    said = "".join(traceback.format_exception(kind, error, trace))
    _tell(
        f"{said}\nregraft: This is a bug in regraft. Please report it to {ISSUES}: the lines "
        "above, the command, and `regraft --version`.\n"
    )
