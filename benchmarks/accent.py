"""Spoken digits of a speaker who was not heard before, and what a few recordings of the speaker add.

    .venv/bin/python benchmarks/accent.py [--only-write]

Needs the shared data, the extra `sound`, and for Whisper's rows the extra `whisper`. Features are made first and kept,
so a run that was stopped goes on; the rows of the table are kept in benchmarks/rows. Writes docs/results/accent.md.
"""

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _kept import FOLDER, Kept
from _markdown import head, line, told
from _sets import ROOT, Set

from regraft.backbones.opening import open_backbone
from regraft.contracts.modality import MODALITIES
from regraft.evaluation.intervals import wilson
from regraft.folds import folds
from regraft.tasks.linear import solve
from regraft.tasks.losses import Softmax
from regraft.tasks.rows import outputs_of
from regraft.values import drained
from regraft.workbench.features import Extracted, features

PAGE = ROOT / "docs" / "results" / "accent.md"
POOL, TESTED = 10, 20
"""Recordings 0 to 9 of every digit and speaker may be learned from, 10 to 19 are what is tested."""
SPEAKERS = 5
SHOTS = (1, 2, 5, 10)
SEEDS = 3
BLOCK = 50
PENALTIES = (1e-4, 1e-3, 1e-2)
"""Inverse strengths that three folds choose from; with fewer recordings of a digit, one over the number of features."""
SOUND = MODALITIES.get("sound")
INTRODUCTION = """spoken_digits: recordings 0 to 19 of every digit and speaker (1,000 of 2,500), every one of the
five speakers left out in turn. A head (multinomial logistic regression, as a probe solves it)
learns from recordings 0 to 9 of the other four speakers (400), of the left-out speaker's from 1,
2, 5 or 10 of each digit drawn from the same numbers, or from both; it is tested on recordings 10
to 19 of the left-out speaker. Accuracy over 500 recordings of five speakers; in brackets a 95 %
interval (Wilson) over recordings, as if speakers were like these five; in the right column the
lowest and the highest speaker. Of {seeds} draws of the few recordings the mean.

What five speakers can show is little: all are men, three accents have one or two of them each
(george Greek, jackson and theo American, lucas and yweweler German), so an accent cannot be told
from its speaker. The networks below the heads stay frozen. Made by `python benchmarks/accent.py`."""
NOT_RUN = """Whisper as a transcriber, before and after it is adapted to an accent: [transcription](transcription.md).
Not run: the other 1,500 recordings."""


def recordings() -> list[dict[str, str]]:
    """Rows of metadata.csv with the paths of the files, recordings 0 to 19."""
    folder = Set(name="spoken_digits").open()
    with (folder / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["index"]) < TESTED]
    return [{**row, "path": str(folder / "recordings" / row["file"])} for row in rows]


def by_network(spec: str) -> Callable[[Sequence[str]], np.ndarray]:
    """Features of some files by a backbone; one of images sees their spectrograms."""
    backbone = drained(open_backbone(spec))
    if (card := SOUND.bridged(backbone.card)) is not None:
        backbone = replace(backbone, card=card)

    def made(paths: Sequence[str]) -> np.ndarray:
        *_, found = features(list(map(Path, paths)), backbone, stored=False)
        assert isinstance(found, Extracted)
        return found.array

    return made


def by_bands(paths: Sequence[str]) -> np.ndarray:
    """Log-mel features alone: 80 bands in 16 stretches of time."""
    prepared = SOUND.Preparation(seconds=1.6)
    records = [SOUND.load(SOUND.given(path), prepared, None)[0]["mel"] for path in paths]
    return np.stack(records).reshape(len(paths), 80, 16, 10).mean(axis=3).reshape(len(paths), -1)


KINDS: dict[str, Callable[[], Callable[[Sequence[str]], np.ndarray]]] = {
    "Whisper's encoder": lambda: by_network("whisper_tiny_en@package"),
    "log-mel alone": lambda: by_bands,
    "GoogLeNet on spectrograms": lambda: by_network("googlenet"),
}


def kept_features(kind: str, paths: Sequence[str]) -> np.ndarray:
    """The features of all files, in blocks that are kept; says what is left to do."""
    folder = ROOT / "runs" / "accent" / kind.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    starts, make, blocks = range(0, len(paths), BLOCK), None, []
    for number, start in enumerate(starts):
        file = folder / f"{start}.npy"
        if not file.is_file():
            make, began = make or KINDS[kind](), time.process_time()
            np.save(file, make(paths[start : start + BLOCK]))
            left = (len(starts) - number - 1) * (time.process_time() - began)
            print(f"{kind}: {start + BLOCK} of {len(paths)}, about {left:.0f} s of processor time left", flush=True)
        blocks.append(np.load(file))
    return np.concatenate(blocks)


def accuracy(rows: np.ndarray, targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> int:
    """How many of the tested are right by a head that learned from the others."""
    fold_of = folds(targets[train], None, 3, 1).of_example if min(np.bincount(targets[train])) > 2 else None
    solved = solve(Softmax(targets[train], 10), rows[train], fold_of=fold_of, grid=PENALTIES)
    return int((outputs_of(rows[test], solved.weight, solved.bias).argmax(axis=1) == targets[test]).sum())


def measure(kept: Kept) -> None:
    """Every cell that is not kept yet."""
    rows = recordings()
    targets, speakers = np.array([int(row["digit"]) for row in rows]), np.array([row["speaker"] for row in rows])
    index, done = np.array([int(row["index"]) for row in rows]), {tuple(row["cell"]) for row in kept.rows}
    names = sorted(set(speakers))
    first, second, last = KINDS
    for kind, shots in (*((kind, shots) for shots in (0, *SHOTS) for kind in (first, second)),
                        *((last, shots) for shots in (0, *SHOTS))):  # fmt: skip
        found = kept_features(kind, [row["path"] for row in rows]).astype(np.float32)
        for speaker, seed in ((name, seed) for name in names for seed in range(SEEDS if 0 < shots < POOL else 1)):
            own, others = speakers == speaker, np.flatnonzero((speakers != speaker) & (index < POOL))
            few = np.flatnonzero(own & np.isin(index, np.random.default_rng(seed).permutation(POOL)[:shots]))
            both = {"others": others} if shots == 0 else {"alone": few, "both": np.concatenate([others, few])}
            test = np.flatnonzero(own & (index >= POOL))
            for way, train in both.items():
                if (kind, way, shots, speaker, seed) not in done:
                    right = accuracy(found, targets, train, test)
                    kept.add({"cell": (kind, way, shots, speaker, seed), "right": right, "of": len(test)})


def page(kept: Kept) -> str:
    """The page in Markdown."""
    table = [*head("features", "learned from", "accuracy", "lowest and highest speaker")]
    ways = {"others": "four others", "alone": "{k} of each digit alone", "both": "four others and {k} of each digit"}
    for kind in KINDS:
        for way, shots in (("others", 0), *((way, k) for way in ("alone", "both") for k in SHOTS)):
            cells = [row for row in kept.rows if tuple(row["cell"][:3]) == (kind, way, shots)]
            if len(cells) < SPEAKERS * (SEEDS if 0 < shots < POOL else 1):
                table.append(line(kind, ways[way].format(k=shots), "not run", ""))
                continue
            names = sorted({row["cell"][3] for row in cells})
            means = {
                name: np.mean([row["right"] / row["of"] for row in cells if row["cell"][3] == name]) for name in names
            }
            total = sum(row["of"] for row in cells if row["cell"][4] == 0)
            share = float(np.mean([*means.values()]))
            low, high = wilson(share * total, total)
            worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            ends = f"{worst} {means[worst]:.2f}, {best} {means[best]:.2f}"
            table.append(line(kind, ways[way].format(k=shots), f"{share:.3f} [{low:.3f}, {high:.3f}]", ends))
    return "\n".join(["# A speaker who was not heard before", "", told(INTRODUCTION, seeds=SEEDS), "", *table, "",
                      told(NOT_RUN), ""])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    asked = parser.parse_args()
    kept = Kept(FOLDER / "accent.jsonl")
    if not asked.only_write:
        measure(kept)
    PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
