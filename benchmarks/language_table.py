"""Language models adapted from film reviews to text messages: perplexity there, and what is forgotten of the reviews.

    python benchmarks/language_table.py --data ../shared/data --out build/language --minutes 120
    python benchmarks/language_table.py --data ../shared/data --out build/language --table

The old domain are the sentences of movie_reviews, the new one the messages of sms_spam, without their labels.
`causal` is a GPT-2 of 1.1 million parameters with a byte-level BPE of 4,000 tokens learned on the reviews, trained on
them from random weights. `masked` is MiniLM, which comes without an output layer: its vectors of words stand in for
one, and the top third of it is trained on the reviews. Both are then adapted to 500 or 2,000 messages drawn by the
seed. Measured are the test messages (`new`) and the test sentences of the reviews (`old`), by perplexity with
intervals over texts, and of the causal model by bits per byte. Settings were fixed beforehand; the epoch is chosen on
validation messages.

The perplexities of `causal` and `masked` cannot be compared: the latter are of hidden tokens, each given all others.
Cells are made in order of value, until the CPU minutes are spent; those that were made are kept in OUT/cells.jsonl.
Those that were not are shown as not run. The table of docs/results/language.md is that of `--table`; its cells are in
benchmarks/rows/language.jsonl as well.
"""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _cells import asked, figures, finished, lines, spend
from _kept import Rows

from regraft.recipe import Recipe, Source

SIZES, SEEDS = (500, 2000), (0, 1, 2)
TOKENS, VOCABULARY, VALIDATION = 64, 4000, 300
CONFIG = {
    "model_type": "gpt2", "n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": 0,
    "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
PLAIN = {"min_steps": 0, "head_lr_factor": 1.0, "decay": 1.0, "batch": 32}
OLD: dict[str, tuple[str, dict[str, Any]]] = {
    "causal": ("pretrain", {**PLAIN, "lr": 2e-3, "epochs": 12, "patience": 3}),
    "masked": ("partial", {**PLAIN, "lr": 3e-4, "epochs": 2}),
}
"""How each model comes to know the old domain: strategy and options."""
WAYS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "causal": {
        "full": ("full", {**PLAIN, "lr": 1e-3, "epochs": 8, "patience": 3}),
        "partial": ("partial", {**PLAIN, "lr": 1e-3, "epochs": 8, "patience": 3}),
        "scratch": ("scratch", {**PLAIN, "lr": 2e-3, "epochs": 16, "patience": 3}),
    },
    "masked": {
        "full": ("full", {**PLAIN, "lr": 1e-4, "epochs": 3}),
        "partial": ("partial", {**PLAIN, "lr": 3e-4, "epochs": 3}),
    },
}
"""Strategy and options of each way to the new one."""
TEXT_SECONDS = {("causal", "pretrain"): 0.008, ("causal", "full"): 0.008, ("causal", "partial"): 0.006,
                ("causal", "scratch"): 0.008, ("masked", "partial"): 0.05, ("masked", "full"): 0.11}  # fmt: skip
"""CPU seconds of a text in an epoch, about, on one core of the machine that this was written on."""
FIXED_SECONDS = {"causal": 20, "masked": 90}
"""CPU seconds of what a cell needs besides."""
Cell = tuple[str, str, int, int]
NAMES = ("model", "way", "texts", "seed")
METRICS = {"new_perplexity": ".1f", "old_perplexity": ".1f", "new_bits_per_byte": ".3f", "old_bits_per_byte": ".3f"}


def cells() -> Iterator[Cell]:
    """Every cell, those first that say most."""
    yield from ((model, "unadapted", 0, 0) for model in WAYS)
    for seed in SEEDS:
        yield from (("causal", way, size, seed) for size in reversed(SIZES) for way in WAYS["causal"])
        yield from (("masked", way, 2000, seed) for way in reversed(WAYS["masked"]))
    yield from (("masked", way, 500, seed) for seed in SEEDS for way in reversed(WAYS["masked"]))


def seconds_of(cell: Cell) -> float:
    """CPU seconds that it may take."""
    model, way, size, _ = cell
    return FIXED_SECONDS[model] + (
        TEXT_SECONDS[model, way] * size * WAYS[model][way][1]["epochs"] if way in WAYS[model] else 0
    )


def old_seconds(model: str, out: Path, size: int) -> float:
    """CPU seconds that the old domain may take, where it is not learned yet."""
    strategy, options = OLD[model]
    done = (out / f"old-{model}" / "report.json").is_file()
    return 0.0 if done else TEXT_SECONDS[model, strategy] * size * options["epochs"] + FIXED_SECONDS[model]


def texts(data: Path) -> dict[str, dict[str, list[str]]]:
    """By domain and split, the texts."""

    def of(name: str, split: str) -> list[str]:
        with (data / name / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
            return [row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]

    new, splits = of("sms_spam", "train"), ("train", "val", "test")
    apart = np.random.default_rng(0).permutation(len(new)).tolist()
    return {
        "old": {split: of("movie_reviews", split) for split in splits},
        "new": {
            "train": [new[at] for at in apart[VALIDATION:]],
            "val": [new[at] for at in apart[:VALIDATION]],
            "test": of("sms_spam", "test"),
        },
    }


def table(path: Path, splits: dict[str, list[str]]) -> Path:
    """A table of these texts."""
    rows = ({"text": text, "split": split} for split, some in splits.items() for text in some)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def network(folder: Path, learned_on: list[str]) -> Path:
    """A folder with the causal model's configuration and a tokenizer learned from these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    if not (folder / "config.json").is_file():
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<s>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        made.train_from_iterator(learned_on, trainer)
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": made.get_vocab_size()}))
    return folder


def run(data: Path, folder: Path, backbone: str, way: tuple[str, dict[str, Any]], seed: int = 0) -> Path:
    """The folder of a finished run."""
    recipe = Recipe(
        data=str(data), backbone=backbone, task="language", strategy=way[0], options=way[1], seed=seed, threads=1,
        device="cpu", prepare={"max_tokens": TOKENS}, source=Source(allow_leaks=True),
    )  # fmt: skip
    return finished(folder, recipe)


def made(cell: Cell, out: Path, data: dict[str, dict[str, list[str]]], backbones: dict[str, str]) -> dict[str, Any]:
    """The figures of a cell."""
    from regraft.workbench.evaluate import evaluate

    (model, way, size, seed), here = cell, out / "cell"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    old = out / f"old-{model}"
    if way != "scratch":
        run(table(out / "old.jsonl", data["old"]), old, backbones[model], OLD[model])
    train = data["new"]["train"]
    drawn = [train[at] for at in np.random.default_rng([seed, size]).choice(len(train), size, replace=False).tolist()]
    new = table(here / "new.jsonl", {**data["new"], "train": drawn})
    if way == "unadapted":
        adapted = old
    else:
        start = backbones[model] if way == "scratch" else f"bundle:{old}"
        adapted = run(new, here / "run", start, WAYS[model][way], seed)
    metrics, found = ("perplexity", *(["bits_per_byte"] if model == "causal" else [])), {}
    for name, path in (("new", new), ("old", table(here / "old.jsonl", {"test": data["old"]["test"]}))):
        for _ in evaluate(adapted, path, out=here / name, threads=1):
            pass
        found |= {f"{name}_{metric}": one for metric, one in figures(here / name, metrics).items()}
    shutil.rmtree(here)
    return found


def main() -> None:
    """Make cells, or show the table."""
    given = asked(__doc__, minutes=120)
    out, kept = given.out, Rows(given.out / "cells.jsonl")
    if given.table:
        print(lines(kept, cells(), NAMES, METRICS))
        return
    out.mkdir(parents=True, exist_ok=True)
    data = texts(given.data)
    sizes, left = len(data["old"]["train"]), set(cells()) - {tuple(row[name] for name in NAMES) for row in kept.rows}
    before = sum(old_seconds(model, out, sizes) for model in WAYS)
    print(f"{sizes:,} sentences of the old domain, {len(data['new']['train']):,} messages of the new one. Learning the "
          f"old one takes about {before / 60:.0f} CPU minutes, {len(left)} cells about "
          f"{sum(map(seconds_of, left)) / 60:.0f}; at most {given.minutes:g} are spent.", flush=True)  # fmt: skip
    backbones = {
        "causal": f"language:{network(out / 'network', data['old']['train'])}@random",
        "masked": "language:minilm_l6@package",
    }
    spend(
        kept, list(cells()), NAMES, lambda cell: made(cell, out, data, backbones),
        lambda cell: seconds_of(cell) + (0 if cell[1] == "scratch" else old_seconds(cell[0], out, sizes)),
        minutes=given.minutes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
