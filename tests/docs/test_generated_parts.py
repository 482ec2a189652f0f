"""What the documentation takes from the code is as the code has it, and the check would notice if it were not."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check(script: Path) -> subprocess.CompletedProcess[str]:
    """Run the check of a copy of the documentation."""
    return subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)


def copy_of(folder: Path) -> Path:
    """The documentation copied, its sources beside it; returns the script."""
    (folder / "src").symlink_to(ROOT / "src")
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in (".md", ".py"):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder / "docs" / "generate.py"


def test_a_changed_part_a_missing_page_and_a_page_of_no_command_are_named(tmp_path: Path) -> None:
    script = copy_of(tmp_path)
    page = tmp_path / "docs" / "verbs" / "fit.md"
    page.write_text(page.read_text(encoding="utf-8").replace("--strategy <str>", "--strategie <str>"), encoding="utf-8")
    (tmp_path / "docs" / "verbs" / "show.md").unlink()
    (tmp_path / "docs" / "verbs" / "frobnicate.md").write_text("# frobnicate\n", encoding="utf-8")
    done = check(script)
    assert done.returncode == 1
    told = sorted(line.partition(" ")[0] for line in done.stdout.splitlines())
    assert told == ["docs/verbs/fit.md", "docs/verbs/frobnicate.md", "docs/verbs/show.md", "fix:"]
