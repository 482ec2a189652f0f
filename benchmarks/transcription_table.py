"""Strings of spoken digits written down: Whisper adapted to one accent, and what becomes of the others.

    .venv/bin/python benchmarks/transcription_table.py --minutes 60
    .venv/bin/python benchmarks/transcription_table.py --only-write

Needs the shared data and the extras `whisper` and `text`. Strings are made first; cells are made in order of value
until the CPU minutes are spent, and kept in benchmarks/rows, so a run that was stopped goes on. Writes
docs/results/transcription.md, in which cells that were not made are said to be so.
"""

import argparse
import csv
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from _kept import FOLDER, Kept
from _markdown import head, line, told
from _sets import ROOT, Set

PAGE, BUILD = ROOT / "docs" / "results" / "transcription.md", ROOT / "runs" / "transcription"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = {"German": ("lucas", "yweweler"), "Greek": ("george",), "American": ("jackson", "theo")}
SPEAKERS = sorted(name for some in ACCENTS.values() for name in some)
TRAINED, TESTED, LENGTHS = 40, 16, (3, 4, 5, 6)
"""Strings of a speaker to learn from, and to test on; numbers of digits."""
HELD, LONGEST, GAP, SECONDS, WHOLE = 5, 0.75, 0.08, 4.0, 30.0
"""Recordings 0 to 4 of every digit are tested. In seconds: the longest, the silence between two, a piece, and the piece
that Whisper was trained on."""
SPEC, CUT, SEEDS = "whisper_tiny_en_transcriber@package", "layer.5", 3
OPTIONS = {"epochs": 4, "min_steps": 0, "batch": 8}
TOKENS = 20
CELL_SECONDS = {"before": 20, "before, 30 s": 150, "German": 60, "Greek": 50, "American": 60}
"""CPU seconds of a cell, about, on one core of the machine that this was written on."""
RESAMPLES = 2000
INTRODUCTION = """spoken_digits: strings of three to six digits, made by joining recordings of one speaker with
{gap:g} s of silence between two, {trained} to learn from (of recordings 5 to 49) and {tested} to test on (of 0 to 4)
for each of five speakers. Whisper tiny.en hears {seconds:g} s (the longest string has 3.95 s) and is frozen up to and
including {cut}, the sixth of its eight layers; the two above and the output layer are trained on all speakers of one
accent, for {epochs} epochs without augmentation. Settings were fixed beforehand. Word error rate, figures counted as
words (7 as seven), in brackets a 95 % interval (bootstrap over strings); the difference is paired by strings. Of
several seeds, each of which shuffles the training, the errors of a string are averaged.

An accent has one or two speakers here, all men, so it cannot be told from its speaker; and what is tested are other
strings of the very speakers that were adapted to, and nothing but digits. Before training, the network hears either
{seconds:g} s, as afterwards, or the {whole:g} s that it was trained on, with silence after the string. With
{seconds:g} s it repeats itself at times, which counts as errors. The difference is to the network that hears
{whole:g} s. Made by `python benchmarks/transcription_table.py`."""
BEFORE = {"before": SECONDS, "before, 30 s": WHOLE}
"""The seconds that the network hears where it is not adapted."""
Cell = tuple[str, int]


def cells() -> Iterator[Cell]:
    """Every cell, those first that say most for their time."""
    yield from (("before", 0), ("before, 30 s", 0))
    yield from (("Greek", 0), ("German", 0), ("American", 0))
    yield from ((accent, seed) for seed in range(1, SEEDS) for accent in ACCENTS)


def strings() -> list[dict[str, str]]:
    """A row for every string: path, text, speaker, split; the files are made where they are not there."""
    import soundfile

    table = BUILD / "strings" / "strings.csv"
    if not table.is_file():
        folder = Set(name="spoken_digits").open()
        with (folder / "metadata.csv").open(newline="") as file:
            known = [row for row in csv.DictReader(file) if float(row["seconds"]) <= LONGEST]
        table.parent.mkdir(parents=True, exist_ok=True)
        rows = list[tuple[str, ...]]()
        for number, speaker in enumerate(SPEAKERS):
            for split, count in (("train", TRAINED), ("test", TESTED)):
                random = np.random.default_rng([number, count])
                for at in range(count):
                    digits = random.integers(0, 10, random.choice(LENGTHS)).tolist()
                    parts = []
                    for digit in digits:
                        some = [row["file"] for row in known if row["speaker"] == speaker
                                and int(row["digit"]) == digit
                                and (int(row["index"]) < HELD) == (split == "test")]  # fmt: skip
                        samples, rate = soundfile.read(folder / "recordings" / random.choice(some))
                        parts += [samples, np.zeros(round(GAP * rate))]
                    name = f"{speaker}-{split}-{at}.wav"
                    soundfile.write(table.parent / name, np.concatenate(parts), rate, subtype="PCM_16")
                    rows.append((name, " ".join(WORDS[digit] for digit in digits), speaker, split))
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("path", "text", "speaker", "split"), *rows])
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def spelled(text: str) -> str:
    """The text with every figure as a word."""
    return re.sub(r"\d", lambda found: f" {WORDS[int(found[0])]} ", text)


def errors(said: Sequence[str], wrote: Sequence[str]) -> list[list[int]]:
    """Word errors and words of every string."""
    from regraft.evaluation.metrics.transcripts import counts

    return [[int(one) for one in row] for row in counts(said, [spelled(one) for one in wrote], str.split)]


def before(rows: Sequence[dict[str, str]], seconds: float) -> list[str]:
    """What the network writes as it comes, hearing this many seconds."""
    import torch

    from regraft.backbones.opening import open_backbone
    from regraft.contracts.modality import MODALITIES
    from regraft.values import drained

    backbone, sound = drained(open_backbone(SPEC)), MODALITIES.get("sound")
    prepared = sound.Preparation.from_json({**backbone.card.preparation.to_json(), "seconds": seconds})
    network, found = backbone.network, list[str]()
    told = {"num_beams": 1, "max_new_tokens": TOKENS - len(prepared.prompt), "prompt": prepared.prompt}
    for start in range(0, len(rows), 16):
        paths = [BUILD / "strings" / row["path"] for row in rows[start : start + 16]]
        records = [sound.load(sound.given(path), prepared, None)[0] for path in paths]
        state = {name: torch.from_numpy(np.stack([one[name] for one in records])) for name in records[0]}
        with torch.no_grad():
            tokens = network.generate(network, state, "input", network.source_head, told)
        found += prepared.texts(tokens.tolist())
    return found


def after(accent: str, seed: int, rows: Sequence[dict[str, str]]) -> list[str]:
    """What the network writes that was adapted to an accent; a run that was stopped goes on."""
    from regraft.recipe import Recipe, Source
    from regraft.workbench.fit import fit

    table, run = BUILD / "strings" / f"{accent}.csv", BUILD / "run"
    chosen = [row for row in rows if row["split"] == "test" or row["speaker"] in ACCENTS[accent]]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text", "split"), *((one["path"], one["text"], one["split"])
                                                                 for one in chosen)])  # fmt: skip
    recipe = Recipe(
        data=str(table), task="transcription", backbone=SPEC, strategy="finetune", cut=CUT, options=OPTIONS, seed=seed,
        threads=1, device="cpu", augmentation="none", source=Source(label_column="text", allow_leaks=True),
        prepare={"seconds": SECONDS, "max_target_tokens": TOKENS},
    )  # fmt: skip
    for _ in fit(recipe, run, resume=(run / "begun.json").is_file()):
        pass
    with (run / "predictions.csv").open(newline="") as file:
        wrote = {row["id"]: row["predicted"] for row in csv.DictReader(file) if row["split"] == "test"}
    shutil.rmtree(run)
    return [wrote[row["path"]] for row in rows if row["split"] == "test"]


def measure(kept: Kept, minutes: float) -> None:
    """Every cell that is not kept yet, while there is time."""
    rows = strings()
    tested = [row for row in rows if row["split"] == "test"]
    todo = [cell for cell in cells() if not kept.where(cell=list(cell))]
    print(f"{len(todo)} cells, about {sum(CELL_SECONDS[accent] for accent, _ in todo) / 60:.0f} CPU minutes; at most "
          f"{minutes:g} are spent.", flush=True)  # fmt: skip
    for accent, seed in todo:
        began = time.process_time()
        if began + CELL_SECONDS[accent] > 60 * minutes:
            continue
        wrote = after(accent, seed, rows) if accent in ACCENTS else before(tested, BEFORE[accent])
        found = errors([row["text"] for row in tested], wrote)
        kept.add({"cell": [accent, seed], "errors": found, "wrote": wrote,
                  "seconds": round(time.process_time() - began)})  # fmt: skip
        total = np.sum(found, axis=0)
        print(
            f"{accent}, seed {seed}: word error {total[0] / total[1]:.3f}, {kept.rows[-1]['seconds']} CPU s", flush=True
        )


def interval(parts: np.ndarray, words: np.ndarray) -> str:
    """A rate of errors (n) per words (n), with its interval over strings."""
    weights = np.random.default_rng(0).multinomial(len(parts), np.full(len(parts), 1 / len(parts)), RESAMPLES)
    low, high = np.quantile((weights @ parts) / (weights @ words), [0.025, 0.975])
    return f"{parts.sum() / words.sum():.3f} [{low:.3f}, {high:.3f}]"


def page(kept: Kept) -> str:
    """The page in Markdown."""
    table = head("adapted to", "seeds", "tested on", "before, 4 s", "before, 30 s", "after", "after minus before")
    of = np.array([accent for name in SPEAKERS for accent, some in ACCENTS.items() if name in some]).repeat(TESTED)
    found = {
        name: np.array([row["errors"] for row in kept.rows if row["cell"][0] == name], dtype=float)
        for name in (*BEFORE, *ACCENTS)
    }  # by seed and string: word errors, words
    for accent in ACCENTS:
        for other in sorted(ACCENTS, key=lambda name: (name != accent, name)):
            ways = [found[name][:, of == other].mean(axis=0) for name in (*BEFORE, accent) if len(found[name])]
            told_of = [interval(*one.T) for one in ways]
            if len(ways) == 3:
                told_of.append(interval(ways[2][:, 0] - ways[1][:, 0], ways[2][:, 1]))
            title = f"{other}{'' if other == accent else ', another accent'}"
            table.append(line(accent, len(found[accent]), title, *(told_of if len(ways) == 3 else ["not run"] * 4)))
    facts: dict[str, Any] = {
        "gap": GAP,
        "trained": TRAINED,
        "tested": TESTED,
        "seconds": SECONDS,
        "whole": WHOLE,
        "cut": CUT,
    }
    left = [f"{accent}, seed {seed}" for accent, seed in cells() if not kept.where(cell=[accent, seed])]
    missing = [told(f"Not run, for want of time: {'; '.join(left)}."), ""] if left else []
    return "\n".join(["# Digits written down, by an accent that was adapted to", "",
                      told(INTRODUCTION, epochs=OPTIONS["epochs"], **facts), "", *table, "", *missing])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of CPU time")
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    asked = parser.parse_args()
    kept = Kept(FOLDER / "transcription.jsonl")
    if not asked.only_write:
        measure(kept, asked.minutes)
    PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
