"""What the command line says and returns when something goes wrong."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regraft import errors
from regraft.doors._errors import exit_code_of

HEAD = "import sys\nfrom regraft.doors._errors import guarded, if_interrupted\nfrom regraft.errors import *\n"


def run(body: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = f"{HEAD}def command():\n    {body}\nwith guarded(): command()"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def family() -> list[type[errors.RegraftError]]:
    found = [errors.RegraftError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return [kind for kind in found if kind.__module__ == "regraft.errors"]


def test_an_error_of_the_family_is_one_message_with_its_fix_and_its_code(child_env: dict[str, str]) -> None:
    done = run("raise BadData('There is nothing at x.', fix='check the path.')", child_env)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "regraft: There is nothing at x.\n  fix: check the path.\n"


def test_every_branch_of_the_family_has_a_code_of_its_own_and_its_classes_share_it() -> None:
    branches = [kind for kind in errors.RegraftError.__subclasses__() if kind in family()]
    assert sorted(map(exit_code_of, branches)) == list(range(2, 10))
    assert exit_code_of(errors.RegraftError) == 1
    for branch in branches:
        assert {exit_code_of(kind) for kind in family() if issubclass(kind, branch)} == {exit_code_of(branch)}


def test_the_page_of_exit_codes_is_the_family() -> None:
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in page.splitlines() if row.startswith("| ")]
    listed = {row[1].strip("`"): (int(row[0]), row[2]) for row in rows if len(row) == 3 and row[1].startswith("`")}
    assert listed == {kind.__name__: (exit_code_of(kind), str(kind.__doc__)) for kind in family()}


def test_a_path_that_the_system_refuses_is_no_fault(child_env: dict[str, str], tmp_path: Path) -> None:
    done = run(f"open({str(tmp_path)!r})", child_env)
    assert done.returncode == 2
    assert done.stderr.startswith(f"regraft: {tmp_path} cannot be accessed: Is a directory.\n  fix: check the path")
    done = run("open('no such file')", child_env)
    assert (done.returncode, "Traceback" in done.stderr) == (1, True), "a file of ours that is missing is a fault"


def test_a_fault_keeps_its_traceback_and_asks_for_a_report(child_env: dict[str, str]) -> None:
    done = run("{}['missing']", child_env)
    assert done.returncode == 1
    assert "KeyError: 'missing'" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("regraft: This is a bug in regraft")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_cleans_up_and_tells_how_to_go_on(
    number: int, code: int, child_env: dict[str, str], tmp_path: Path
) -> None:
    body = f"""
    import os
    with if_interrupted('To go on: again'):
        try:
            os.kill(os.getpid(), {int(number)})
        finally:
            open({str(tmp_path / "cleaned")!r}, 'w').close()"""
    done = run(body.strip(), child_env)
    assert done.returncode == code
    assert done.stderr == "\nStopped.\nTo go on: again\n"
    assert (tmp_path / "cleaned").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of another kind")
def test_a_reader_that_leaves_is_no_fault(child_env: dict[str, str]) -> None:
    code = f"{HEAD}def command():\n    for i in range(100000): print(i)\nwith guarded(): command()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=child_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "latin-1", "utf-8", "utf-16"])
def test_printing_does_not_fail_whatever_the_encoding(encoding: str, child_env: dict[str, str]) -> None:
    body = r"print('R\u00b2 \u2026 \u732b', 'caf\udce9.png')"
    done = subprocess.run(
        [sys.executable, "-c", f"{HEAD}def command():\n    {body}\nwith guarded(): command()"],
        env={**child_env, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert r"caf\udce9.png" in text
    assert ("R²" in text) == (encoding not in ("ascii", "cp1251"))
