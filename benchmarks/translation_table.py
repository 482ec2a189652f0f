"""English to German from few pairs: an encoder with a decoder, pretrained on one topic, adapted to another.

    python benchmarks/translation_table.py --data ../shared/data --out build/translation --minutes 90
    python benchmarks/translation_table.py --data ../shared/data --out build/translation --table

The English training sentences of multi30k are parted by topic: two clusters of their TF-IDF, by k-means on 50 singular
vectors. On the pairs of the larger one a BPE of 4,000 tokens is learned and a T5 of 4.6 million parameters trained from
random weights; 500, 2,000 or 5,000 pairs of the smaller one, drawn by the seed, adapt it, or train the same network
from scratch. Measured are the test sentences of the smaller topic, by what is generated greedily: BLEU and chrF with
intervals over sentences. Settings were fixed beforehand; the epoch is chosen on validation sentences of that topic.
Beside them stands the German of the nearest of the same training sentences (TF-IDF).

Cells are made in order of value, until the CPU minutes are spent; pretraining, where a cell needs it, goes on where it
was stopped, and cells that were made are kept in OUT/cells.jsonl. Those that were not are shown as not run.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _cells import asked, figures, finished, lines, spend
from _kept import Rows

from regraft.recipe import Recipe, Source

SIZES, SEEDS = (500, 2000, 5000), (0, 1, 2)
TOKENS, VOCABULARY = 48, 4000
CONFIG = {
    "model_type": "t5", "d_model": 192, "d_kv": 48, "num_heads": 4, "d_ff": 768, "num_layers": 3,
    "num_decoder_layers": 3, "dropout_rate": 0.1, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
PRETRAINING = {"epochs": 12, "patience": 4, "lr": 1e-3, "batch": 64, "smoothing": 0.1}
ADAPTING = {"batch": 32, "smoothing": 0.1, "patience": 3, "min_steps": 0}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {**ADAPTING, "lr": 5e-4, "epochs": 8}),
    "partial": ("partial", {**ADAPTING, "lr": 5e-4, "epochs": 8, "init": "zero", "head_lr_factor": 1.0}),
    "scratch": ("scratch", {**ADAPTING, "lr": 1e-3, "epochs": 16}),
}
"""Strategy and options."""
EXAMPLE_SECONDS = {"full": 0.016, "partial": 0.008, "scratch": 0.016, "pretrain": 0.014}
"""CPU seconds of a pair in an epoch, about, on one core of the machine that this was written on."""
FIXED_SECONDS = 60
"""CPU seconds of what a run needs besides: the probe beside it, and texts to generate."""
Cell = tuple[str, int, int]
NAMES, METRICS = ("way", "size", "seed"), {"bleu": ".1f", "chrf": ".1f"}


def cells() -> Iterator[Cell]:
    """Every cell, those first that say most."""
    yield from (("nearest", size, seed) for size in SIZES for seed in SEEDS)
    yield from (("unadapted", 0, 0), ("full", 2000, 0), ("scratch", 2000, 0), ("full", 500, 0), ("scratch", 500, 0))
    yield from (("full", 5000, 0), ("scratch", 5000, 0), *(("partial", size, 0) for size in SIZES))
    yield from ((way, size, seed) for seed in SEEDS for size in SIZES for way in WAYS)


def seconds_of(cell: Cell) -> float:
    """CPU seconds that it may take."""
    way, size, _ = cell
    if way == "nearest":
        return 5
    return FIXED_SECONDS + (EXAMPLE_SECONDS[way] * size * WAYS[way][1]["epochs"] if way in WAYS else 0)


def topics(data: Path) -> dict[str, list[tuple[str, str, bool]]]:
    """By split: English, German, and whether the pair is of the smaller topic."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    def lines(name: str) -> list[str]:
        return (data / "multi30k_en_de" / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")

    parts = {"train": "train", "val": "val", "test": "test_2016_flickr"}
    english, german = ({split: lines(f"{name}.{one}") for split, name in parts.items()} for one in ("en", "de"))
    model = make_pipeline(
        TfidfVectorizer(stop_words="english", min_df=5, sublinear_tf=True), TruncatedSVD(50, random_state=0),
        Normalizer(), KMeans(2, n_init=10, random_state=0),
    )  # fmt: skip
    smaller = np.argmin(np.bincount(model.fit_predict(english["train"])))
    return {
        split: list(
            zip(english[split], german[split], (model.predict(english[split]) == smaller).tolist(), strict=True)
        )
        for split in parts
    }


def written(folder: Path, pairs: dict[str, list[tuple[str, str]]]) -> Path:
    """A folder with parallel files."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, some in pairs.items():
        for at, language in enumerate(("en", "de")):
            (folder / f"{split}.{language}").write_text("".join(f"{one[at]}\n" for one in some), encoding="utf-8")
    return folder


def network(folder: Path, texts: Iterator[str]) -> Path:
    """A folder with the configuration and a tokenizer learned from these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    if not (folder / "config.json").is_file():
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=VOCABULARY,
                special_tokens=["<pad>", "</s>"],
                initial_alphabet=alphabet,
                show_progress=False,
            ),
        )
        made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": made.get_vocab_size()}))
    return folder


def run(data: Path, folder: Path, strategy: str, backbone: str, options: dict[str, Any], seed: int = 0) -> Path:
    """The folder of a finished run."""
    recipe = Recipe(
        data=str(data), backbone=backbone, strategy=strategy, options=options, seed=seed, threads=1, device="cpu",
        prepare={"max_tokens": TOKENS, "max_target_tokens": TOKENS},
        source=Source(text_columns=("en",), label_column="de", allow_leaks=True),
    )  # fmt: skip
    return finished(folder, recipe)


def nearest(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> dict[str, Any]:
    """BLEU and chrF of the German of the most similar training sentence."""
    from regraft.contracts.baseline import BASELINES
    from regraft.contracts.example import Inline, as_records
    from regraft.evaluation.report import evaluate

    predict = BASELINES.get("nearest").fitted(
        [{"en": Inline(one)} for one, _ in train], as_records([one for _, one in train]), 0, 0
    )
    said = predict([{"en": Inline(one)} for one, _ in test])
    found = evaluate(as_records([one for _, one in test]), said, (), kind="sequence").metrics
    return {name: [found[name].value, found[name].low, found[name].high] for name in ("bleu", "chrf")}


def made(cell: Cell, out: Path, parts: dict[str, list[tuple[str, str, bool]]]) -> dict[str, Any]:
    """The figures of a cell."""
    from regraft.workbench.evaluate import evaluate

    way, size, seed = cell
    ours = {split: [one[:2] for one in some if one[2]] for split, some in parts.items()}
    pretrained, folder = out / "pretrained", out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    drawn = np.random.default_rng([seed, size]).choice(len(ours["train"]), size, replace=False)
    train = [ours["train"][at] for at in drawn.tolist()]
    if way == "nearest":
        return nearest(train, ours["test"])
    if way == "unadapted":
        data = written(out / "topic", {"train": ours["train"][:10], "test": ours["test"]})
        for _ in evaluate(pretrained, data, out=folder, source=Source(text_columns=("en",), label_column="de")):
            pass
    else:
        data = written(out / "topic", {**ours, "train": train})
        strategy, options = WAYS[way]
        backbone = f"seq2seq:{out / 'network'}@random" if way == "scratch" else f"bundle:{pretrained}"
        run(data, folder, strategy, backbone, options, seed)
    found = figures(folder, METRICS)
    shutil.rmtree(out / "topic")
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Make cells, or show the table."""
    given = asked(__doc__, minutes=90)
    out, kept = given.out, Rows(given.out / "cells.jsonl")
    if given.table:
        print(lines(kept, cells(), NAMES, METRICS, size="pairs", bleu="BLEU", chrf="chrF"))
        return
    parts = topics(given.data)
    others = {split: [one[:2] for one in some if not one[2]] for split, some in parts.items() if split != "test"}
    pretraining = EXAMPLE_SECONDS["pretrain"] * len(others["train"]) * PRETRAINING["epochs"]
    left = set(cells()) - {(row["way"], row["size"], row["seed"]) for row in kept.rows}
    print(f"{len(others['train']):,} pairs of the larger topic, {sum(x[2] for x in parts['train']):,} of the smaller. "
          f"Pretraining takes about {pretraining / 60:.0f} CPU minutes, {len(left)} cells about "
          f"{sum(map(seconds_of, left)) / 60:.0f}; at most {given.minutes:g} are spent.", flush=True)  # fmt: skip
    folder = network(out / "network", iter([text for pair in others["train"] for text in pair]))

    def starts(cell: Cell) -> bool:
        """Whether the cell has to wait for pretraining."""
        return cell[0] in ("unadapted", "full", "partial") and not (out / "pretrained" / "report.json").is_file()

    def make(cell: Cell) -> dict[str, Any]:
        if starts(cell):
            data = written(out / "larger", others)
            run(data, out / "pretrained", "pretrain", f"seq2seq:{folder}@random", PRETRAINING)
        return made(cell, out, parts)

    spend(kept, list(cells()), NAMES, make, lambda cell: seconds_of(cell) + starts(cell) * pretraining,
          minutes=given.minutes)  # fmt: skip


if __name__ == "__main__":
    main()
