"""The command line in this process, and small photos: what the cases that users bring are tried with."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from regraft.doors.cli import main

TINY = ("--backbone", "googlenet:tiny@random", "--input-px", "32", "--set", "threads=1")


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str


def regraft(*arguments: object, folder: Path | None = None) -> Done:
    """Run `regraft ARGUMENTS` in `folder`; a fault of ours, which is no error with a name, is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before, argv, hook = Path.cwd(), sys.argv, sys.excepthook
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            os.chdir(folder or before)
            sys.argv = ["regraft", *map(str, arguments)]
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            os.chdir(before)
            sys.argv, sys.excepthook = argv, hook
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Done(code, out.getvalue(), err.getvalue())


def photo(kind: int, number: int, side: int = 40) -> Image.Image:
    """Stripes with noise: `kind` decides direction and colour, `number` the rest."""
    random = np.random.default_rng(1000 * kind + number)
    y, x = np.mgrid[:side, :side]
    wave = np.sin((x * np.cos(kind) + y * np.sin(kind)) / 2 + random.uniform(0, 6))
    noise = random.normal(0, 25, (side, side, 3))
    return Image.fromarray((100 + 40 * kind % 100 + 60 * wave[..., None] + noise).clip(0, 255).astype(np.uint8))


def photos(
    root: Path, count: int = 6, first: int = 0, names: Sequence[str] = ("cat", "dog"), ending: str = "png"
) -> Path:
    """`root/NAME/000.png` and so on, `count` of each."""
    for kind, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            photo(kind, number).save(root / name / f"{number:03}.{ending}")
    return root
