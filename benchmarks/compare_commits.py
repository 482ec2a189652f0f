"""Whether two commits give the same results on the same data: five fits with the code of each, and all differences.

    python benchmarks/compare_commits.py e823506 HEAD                        every recipe, minutes on two cores
    python benchmarks/compare_commits.py e823506 HEAD --recipes probe full   some of them
    python benchmarks/compare_commits.py OLD NEW --data FOLDER --out FOLDER  archives from elsewhere; keep the runs

Both commits are checked out with `git worktree` into a temporary folder and fit through their own command line, with
an empty cache, the same seed and the same few hundred images. The images come from `../shared/data` beside the
checkout; where an archive is not there, that recipe takes images drawn here, and the list says so.

Exit code 0: all labels are equal and all metrics (estimates, interval bounds, the probe's and the differences to it)
are within 1e-6, relative to their size where that is above 1. Exit code 1: they are not, or a fit failed, or one side
lacks a metric. Other differences (probabilities, training curves, tensors, metadata, sentences) are listed and judge
nothing: a rebuild may rename a tensor or reword a note. What was only renamed goes into `RENAMED`.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from _compare_data import read_table, table_of
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-6
SEED = 7

RENAMED: dict[str, str] = {
    "part": "split",
    "parts": "splits",
    "unlike": "ood",
    "half_error": "reduced_precision_error",
    "cross_validation": "cross-validation",
    "extended": "extension",
    "from": "from_split",
    "to": "to_split",
    "per_tag": "per_label",
    "per_number": "per_target",
    "least": "minimum",
    "greatest": "maximum",
    "val": "validation",
}
"""Names of the older commit and what the newer calls them: columns, splits, keys of JSON files at any depth, and pieces
of tensor names. Both spellings are read on both sides."""
RENAMED_ARGUMENTS: dict[str, str] = {}
"""The same for the command line: `{"options.min_steps": "options.minimum_steps"}` would say that a setting is called
so now. A side that does not know the old spelling is asked by the new one."""

JUDGED = ("evaluation", "probe", "paired", "gaps")
"""Sections of report.json whose numbers must be equal."""
UNJUDGED = ("main", "data", "strategy", "calibration", "backbone", "store")
"""Sections whose differences are listed. The rest is times, places and what the user asked for."""
VARIES = ("created", "seconds", "path", "bytes", "peak", "made_with", "digest", "digests", "fingerprint", "revision")
"""Keys that differ between two runs of the same code, or whose contents are compared elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One fit on one reduced data set."""

    name: str
    archive: str
    """Archive under the data folder; its reduced table is made by `_compare_data.TABLES`."""
    arguments: tuple[str, ...]
    """What follows `regraft fit TABLE`."""
    epochs: int = 0
    """Passes over the training images; 0: the strategy has none."""

    def command(self, table: Path, out: Path) -> list[str]:
        """Arguments of `python -m regraft`; one repeat of cross-validation, for time decides whether there are more."""
        few = ("--set", f"options.epochs={self.epochs}", "--set", "options.min_steps=0") if self.epochs else ()
        return [
            "fit", str(table), "--out", str(out), "--path-column", "file", "--seed", str(SEED),
            "--input-px", "64", "--set", "max_repeats=1", "--quiet", *self.arguments, *few,
        ]  # fmt: skip


SPLIT, PATIENT = ("--split-column", "given_split"), ("--group-column", "patient")
PRICE = ("--task", "regression", "--label-column", "target")
RECIPES = (
    # No split is named, and the column is not called what would be found unasked: cross-validation by patient.
    Recipe(name="probe", archive="breast_histology", arguments=("--strategy", "probe", *PATIENT)),
    Recipe(name="partial", archive="hymenoptera", arguments=("--strategy", "partial", *SPLIT), epochs=2),
    Recipe(name="full", archive="house_prices", arguments=("--strategy", "full", *PRICE, *SPLIT), epochs=3),
    Recipe(name="gradual", archive="breast_histology", arguments=("--strategy", "gradual", *SPLIT, *PATIENT), epochs=4),
    Recipe(name="lora", archive="att_faces", arguments=("--strategy", "lora", *SPLIT), epochs=3),
)


@dataclass(kw_only=True)
class Differences:
    """What differs between two runs of one recipe, one sentence each."""

    judged: list[str] = field(default_factory=list)
    """Labels and metrics: any of these fails the comparison."""
    other: list[str] = field(default_factory=list)
    """All else."""


# ---------------------------------------------------------------------------------------------------- comparing


def compare_runs(old: Path, new: Path) -> Differences:
    """Every difference between two run folders."""
    found = Differences()
    compare_predictions(read_table(old / "predictions.csv"), read_table(new / "predictions.csv"), found)
    compare_reports(read_json(old / "report.json"), read_json(new / "report.json"), found)
    compare_bundles(old / "model", new / "model", found)
    return found


def compare_predictions(old: Sequence[Mapping[str, str]], new: Sequence[Mapping[str, str]], found: Differences) -> None:
    """Labels must be equal, predicted numbers within the tolerance; probabilities are listed where they moved."""
    sides = [
        {(renamed(row.get("split", "")), row["id"]): row for row in map(with_new_names, rows)} for rows in (old, new)
    ]
    lacking(sides[0], sides[1], "predictions.csv: row", found.judged)
    columns = [list(dict.fromkeys(name for row in side.values() for name in row)) for side in sides]
    lacking(columns[0], columns[1], "predictions.csv: column", found.judged)
    moved: dict[str, float] = {}
    for key in sides[0]:
        if key not in sides[1]:
            continue
        for column in columns[0]:
            before, after = sides[0][key].get(column), sides[1][key].get(column)
            if before is None or after is None or before == after or column == "split":
                continue
            if ":" not in column and not close(number(before), number(after)):
                found.judged.append(f"predictions.csv: {column} of {key[1]} is {after}, was {before}")
            elif ":" in column:
                gap = abs((number(before) or 0.0) - (number(after) or 0.0))
                moved[column] = max(moved.get(column, 0.0), gap)
    # The file holds six digits, so that rounding alone may move the last one.
    found.other += [f"predictions.csv: {name} differs by up to {gap:.1e}" for name, gap in moved.items() if gap > 2e-6]


def compare_reports(old: Mapping[str, Any], new: Mapping[str, Any], found: Differences) -> None:
    """Numbers of the judged sections within the tolerance; sentences and other sections are listed."""
    reports = [{renamed(key): value for key, value in report.items()} for report in (old, new)]
    for section in (*JUDGED, *UNJUDGED):
        sides = [flat(report.get(section), section) for report in reports]
        judged = found.judged if section in JUDGED else found.other
        for path in sides[0].keys() & sides[1].keys():
            before, after = sides[0][path], sides[1][path]
            if same(before, after):
                continue
            numeric = all(value is None or isinstance(value, int | float) for value in (before, after))
            (judged if numeric else found.other).append(f"report.json: {path} is {after!r}, was {before!r}")
        for here, there, side in ((sides[0], sides[1], "new"), (sides[1], sides[0], "old")):
            for path in here.keys() - there.keys():
                is_metric = section in JUDGED and isinstance(here[path], int | float)
                (judged if is_metric else found.other).append(f"report.json: the {side} side lacks {path}")
    found.judged.sort()
    found.other.sort()


def compare_bundles(old: Path, new: Path, found: Differences) -> None:
    """Tensors bit by bit, and the metadata beside them; listed only."""
    sides = [load_file(folder / "model.safetensors") for folder in (old, new)]
    named = [{renamed(name): tensor for name, tensor in side.items()} for side in sides]
    lacking(named[0], named[1], "model.safetensors: tensor", found.other)
    for name in sorted(named[0].keys() & named[1].keys()):
        before, after = named[0][name], named[1][name]
        if before.shape != after.shape or before.dtype != after.dtype:
            found.other.append(
                f"model.safetensors: {name} is {after.dtype} {after.shape}, was {before.dtype} {before.shape}"
            )
        elif before.tobytes() != after.tobytes():
            gap = float(np.abs(before.astype(np.float64) - after.astype(np.float64)).max())
            found.other.append(f"model.safetensors: {name} differs by up to {gap:.1e}")
    facts = [flat(read_json(folder / "bundle.json"), "") for folder in (old, new)]
    lacking(facts[0], facts[1], "bundle.json:", found.other)
    for path in facts[0].keys() & facts[1].keys():
        if not same(facts[0][path], facts[1][path]):
            found.other.append(f"bundle.json: {path} is {facts[1][path]!r}, was {facts[0][path]!r}")


def lacking(old: Any, new: Any, what: str, told: list[str]) -> None:
    """Tell which of the names one side lacks."""
    told += [f"{what} {shown(name)} is missing in the new" for name in old if name not in new]
    told += [f"{what} {shown(name)} is missing in the old" for name in new if name not in old]


def shown(name: Any) -> str:
    """A row's key or a name, readable."""
    return " ".join(filter(None, name)) if isinstance(name, tuple) else str(name)


def flat(value: Any, path: str) -> dict[str, Any]:
    """Leaves of a JSON value by path, under new names; an element of a list goes by its `name` where it has one."""
    if isinstance(value, Mapping):
        inner = {renamed(str(key)): each for key, each in value.items() if not varies(str(key))}
    elif isinstance(value, list):
        inner = {
            str(each["name"] if isinstance(each, Mapping) and "name" in each else at): each
            for at, each in enumerate(value)
        }
    else:
        return {path: value}
    # The figures of a family of metrics stood beside the metrics before they had a level of their own.
    paths = {key: path if key == "figures" else f"{path}.{key}".strip(".") for key in inner}
    return {name: leaf for key, each in inner.items() for name, leaf in flat(each, paths[key]).items()}


def varies(key: str) -> bool:
    """Whether the value of this key is another one each run."""
    return any(key == word or key.endswith(f"_{word}") for word in VARIES)


def renamed(name: str) -> str:
    """A dotted name under which the newer commit knows it."""
    return ".".join(RENAMED.get(piece, piece) for piece in name.split("."))


def with_new_names(row: Mapping[str, str]) -> dict[str, str]:
    """A row of a table with the newer commit's column names."""
    return {RENAMED.get(name, name): value for name, value in row.items()}


def same(old: Any, new: Any) -> bool:
    """Equal, or numbers within the tolerance."""
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    return close(old, new) if numeric else bool(old == new)


def close(old: float | None, new: float | None) -> bool:
    """Within 1e-6, relative to the larger where that is above 1; what is no number is close to nothing."""
    return old is not None and new is not None and isclose(old, new, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def number(text: str) -> float | None:
    """A cell as a number, where it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


# --------------------------------------------------------------------------------------------------------- runs


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """A commit's files in `folder`, as long as the context lasts."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def fit(recipe: Recipe, table: Path, source: Path, out: Path) -> str:
    """Run a recipe with the code in `source`; returns what went wrong, empty where nothing did."""
    words = recipe.command(table, out)
    wrong = run(words, source, out.parent)
    if wrong and (newer := [with_new_spelling(word) for word in words]) != words:
        wrong = run(newer, source, out.parent)
    return wrong


def run(words: Sequence[str], source: Path, folder: Path) -> str:
    """Run the command line of a checkout with an empty cache; returns what went wrong."""
    with tempfile.TemporaryDirectory(prefix="compare-cache-") as cache:
        environment = os.environ | {
            "PYTHONPATH": str(source / "src"), "REGRAFT_CACHE": cache, "PYTHONHASHSEED": "0", "NO_COLOR": "1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "regraft", *words],
            env=environment, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {(done.stderr or done.stdout)[-600:].strip()}"


def with_new_spelling(word: str) -> str:
    """A word of the command line, its name before an equals sign as the newer commit has it."""
    name, equals, value = word.partition("=")
    return f"{RENAMED_ARGUMENTS.get(name, name)}{equals}{value}"


def compared(recipe: Recipe, table: Path, sources: Mapping[str, Path], out: Path) -> Differences:
    """Fit with the code of both sides and compare what they left."""
    failed = Differences()
    for side, source in sources.items():
        (out / side).mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        if wrong := fit(recipe, table, source, out / side / recipe.name):
            failed.judged.append(f"the {side} side failed, {wrong}")
        print(f"  {side}: {time.monotonic() - began:.0f} s", flush=True)
    return failed if failed.judged else compare_runs(*(out / side / recipe.name for side in sources))


def tell(found: Differences, most: int = 40) -> None:
    """Print the differences of one recipe, the judged ones in full."""
    for line in found.judged:
        print(f"  DIFFERS  {line}")
    for line in found.other[:most]:
        print(f"  also     {line[:220]}")
    if len(found.other) > most:
        print(f"  also     {len(found.other) - most} more that judge nothing")


def main() -> int:
    """Fit, compare, list; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="commit that is right")
    parser.add_argument("new", help="commit that is held against it")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the archives")
    parser.add_argument("--out", type=Path, help="keep images and runs in this folder, which is not there yet")
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument("--recipes", nargs="+", choices=names, default=names, help="only these")
    given = parser.parse_args()
    if given.out is not None and given.out.exists():
        parser.error(f"{given.out} is there already; name a new folder")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktrees are removed then, too
    count = 0
    with tempfile.TemporaryDirectory(prefix="compare-") as temporary:
        room, out = Path(temporary), (given.out or Path(temporary) / "runs").resolve()
        with checkout(given.old, room / "old") as old, checkout(given.new, room / "new") as new:
            for recipe in (recipe for recipe in RECIPES if recipe.name in given.recipes):
                table, real = table_of(recipe.archive, given.data, out / "data")
                print(f"{recipe.name} on {recipe.archive if real else f'drawn images ({recipe.archive} is not there)'}")
                found = compared(recipe, table, {"old": old, "new": new}, out)
                tell(found)
                count += len(found.judged)
    if count:
        print(f"NOT THE SAME: {count} differences of labels or metrics between {given.old} and {given.new}.")
        return 1
    print(f"The same: labels are equal and metrics within {TOLERANCE:g} in {', '.join(given.recipes)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
