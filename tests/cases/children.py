"""The command line in processes of their own, quickly: a server imports what commands need, and forks for each.

    with Children() as children:
        done = children.run("predict", "m", "photos", folder=root, env={"LC_ALL": "C"}, before="os.close(1)")

`before` and `after` are Python code that the child runs around the command. What it says is returned, or goes to the
files `out` and `err`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOADED = ("torch", "regraft.workbench.fit", "regraft.workbench.evaluate", "regraft.workbench.predict",
          "regraft.workbench.compare", "regraft.activations.export", "regraft.reports.page",
          "regraft.backbones.opening", "regraft.bundles.bundle", "regraft.doors.cli", "regraft.doors.sklearn",
          "PIL.PngImagePlugin")  # fmt: skip
"""What is imported before the fork; never ONNX Runtime nor matplotlib, whose imports the package has to guard."""


@dataclass(frozen=True)
class Done:
    """What a child left."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    out: bytes
    err: str


class Children:
    """The server; one at a time."""

    def __init__(self) -> None:
        source = str(Path(__file__).parents[2] / "src")
        env = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=60)

    def run(
        self,
        *arguments: object,
        folder: Path,
        env: Mapping[str, str | None] | None = None,
        before: str = "",
        after: str = "",
        out: str = "",
        err: str = "",
    ) -> Done:
        """Run `regraft ARGUMENTS` in `folder`; a variable of None is taken away; `out` and `err` are files to write."""
        asked = {"arguments": list(map(str, arguments)), "folder": str(folder), "env": env or {}, "before": before,
                 "after": after,
                 "out": out or str(folder / ".out"), "err": err or str(folder / ".err")}  # fmt: skip
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        said = [b"" if given else (folder / name).read_bytes() for given, name in ((out, ".out"), (err, ".err"))]
        for name in (".out", ".err"):
            (folder / name).unlink(missing_ok=True)
        return Done(code, said[0], said[1].decode(errors="backslashreplace"))


def _serve() -> None:
    for name in LOADED:
        __import__(name)
    for line in sys.stdin:
        if not (child := os.fork()):
            _child(json.loads(line))
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _child(asked: Mapping[str, Any]) -> None:
    code = 97
    try:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | (0 if asked[name][:4] == "/dev" else os.O_TRUNC),
                            0o600), number)  # fmt: skip
        os.chdir(asked["folder"])
        for name, value in asked["env"].items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
        encoding = asked["env"].get("PYTHONIOENCODING")  # what a fresh interpreter would do with it
        sys.stdout.reconfigure(encoding=encoding or "utf-8", errors="strict")  # type: ignore[union-attr]
        around = {"os": os, "sys": sys}
        exec(asked["before"], around)  # noqa: S102
        from regraft.doors.cli import main

        sys.argv = ["regraft", *asked["arguments"]]
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:  # noqa: BLE001 - as the interpreter does
            code = 1
            sys.excepthook(*sys.exc_info())
        exec(asked["after"], around)  # noqa: S102
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
