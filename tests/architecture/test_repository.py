"""The repository is whole: no path of one machine in it, every room told of, every requirement pinned."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:work|farm|tmp|root|home/\w+)/")


def files_of_the_repository(root: Path) -> list[Path]:
    """Files that git tracks, and those it would be given by `git add`."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    return [path for name in listed if name and (path := root / name).is_file()]


def pinned(root: Path) -> dict[str, str]:
    """Version of each package in constraints.txt, by normalised name."""
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_file_names_a_path_of_one_machine(root: Path) -> None:
    found = []
    for path in files_of_the_repository(root):
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("folder", ["work", "tmp", "farm", "root", "home/someone"])
def test_the_checker_finds_a_path_of_one_machine(folder: str) -> None:
    assert MACHINE_PATH.search(f"path = '/{folder}/photos'")
    assert not MACHINE_PATH.search(f"https://example.org/{folder}/photos and runs/{folder}/photos")


def test_every_room_is_told_of_in_the_architecture_page(root: Path, package: Path) -> None:
    page = root / "docs" / "architecture.md"
    if not page.is_file():
        pytest.skip("docs/architecture.md is not written yet")
    rooms = [path.parent.name for path in package.glob("*/__init__.py")]
    text = page.read_text(encoding="utf-8")
    assert [room for room in rooms if f"`{room}/`" not in text and f"`{room}`" not in text] == []


def test_the_readme_is_the_page_of_the_package(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert (root / project["readme"]).name == "README.md"


def test_every_requirement_is_pinned_once_and_exactly(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {normal(match.group()) for r in required if (match := re.match(r"[\w.-]+", r))} - {"regraft"}
    assert len(names) > 10
    assert names <= set(pinned(root))
    assert all(re.fullmatch(r"[\d.]+", version) for version in pinned(root).values()), (
        "a build tag, or no exact version"
    )


def test_every_page_of_results_is_listed_once(root: Path) -> None:
    folder = root / "docs" / "results"
    listed = re.findall(r"\]\((\w+)\.md\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.stem for path in folder.glob("*.md") if path.stem != "README")


def test_links_and_pictures_of_pages_lead_to_files_of_the_repository(root: Path) -> None:
    tracked, broken = set(files_of_the_repository(root)), []
    folders = {parent for path in tracked for parent in path.parents}
    pages = [path for path in tracked if path.suffix == ".md"]
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = (page.parent / target.partition("#")[0]).resolve()
            if "://" not in target and path not in tracked and path not in folders:
                broken.append(f"{page.relative_to(root)}: {target}")
    assert len(pages) > 20
    assert not broken, "\n".join(broken)


def test_every_line_of_slow_txt_names_a_test(root: Path) -> None:
    lines = [line for line in (root / "tests" / "slow.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert lines == sorted(set(lines))
    for line in lines:
        path, _, name = line.partition("[")[0].partition("::")
        assert not name or f"def {name}(" in (root / path).read_text(encoding="utf-8"), (
            f"slow.txt: there is no test {line}"
        )
