"""Speakers verified on spoken digits: Resemblyzer beside Whisper's encoder, GoogLeNet and log-mel features.

    .venv/bin/python benchmarks/speakers_table.py [--only-write]

Needs the shared data, the extra `whisper`, and Resemblyzer (`pip install --no-deps resemblyzer==0.1.4`). Networks stay
frozen and nothing is drawn, so there are no seeds. The rows are kept in benchmarks/rows. Writes
docs/results/speakers.md.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from _kept import FOLDER, Kept
from _markdown import head, line, told
from _sets import ROOT
from accent import POOL, by_bands, by_network, recordings
from scipy.stats import t

from regraft.tasks.pairs import auroc_of, equal_error, roc
from regraft.tasks.verification import Verification

PAGE = ROOT / "docs" / "results" / "speakers.md"
NETWORKS: dict[str, Callable[[], Callable[[Sequence[str]], np.ndarray]]] = {
    "Resemblyzer": lambda: by_network("resemblyzer@package"),
    "Whisper's encoder": lambda: by_network("whisper_tiny_en@package"),
    "GoogLeNet on spectrograms": lambda: by_network("googlenet"),
    "log-mel alone": lambda: by_bands,
}
WAYS = {"cosine": "cosine of the features", "learned": "metric learned on three others"}
FIGURES = {"auroc": "AUROC of pairs", "eer": "equal error rate"}
INTRODUCTION = """spoken_digits: recordings 0 to 9 of every digit and speaker (500). For every speaker, and every
other one as impostor, all pairs of two recordings of the speaker, and of one of either, are told
apart by the cosine of two embeddings. These are the frozen network's features, or those in the
metric that a verification probe solves in closed form on the recordings of the other three
speakers. A speaker's figure is the mean over the four impostors; the tables give the mean over the
five speakers, in brackets its 95 % interval over speakers (Student's t, four degrees of freedom).
Nothing is drawn, so there are no seeds.

Five speakers can show large differences only, and none between accents or voices: all are men, and
every pair of speakers is used twice, so the five figures are not independent. Nothing says that
speakers shared a microphone, so a network may know the microphone rather than the voice; that
log-mel features in a learned metric come as far as Resemblyzer fits that. The recordings last about
0.4 seconds, a quarter of what Resemblyzer hears; the rest is silence. A metric learned on three
speakers shows how little those teach, not what many would: with one of them held out there are no
pairs of two, so its shrinkage is the smallest, not a chosen one. Made by `python
benchmarks/speakers_table.py`."""


def told_apart(embedded: np.ndarray, own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """AUROC and equal error rate of the pairs of one speaker, against those of this one with another."""
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    of_own = (unit[own] @ unit[own].T)[np.triu_indices(int(own.sum()), 1)]
    across = (unit[own] @ unit[other].T).ravel()
    alike, same = np.concatenate([of_own, across]), np.arange(len(of_own) + len(across)) < len(of_own)
    curve = roc(alike, same, np.ones((1, len(alike))))
    return float(auroc_of(curve)[0]), float(equal_error(curve)[0])


def measure(kept: Kept) -> None:
    """Every network that is not kept yet."""
    rows = [row for row in recordings() if int(row["index"]) < POOL]
    of = np.array([row["speaker"] for row in rows])
    names = sorted(set(of))
    for network in [one for one in NETWORKS if not kept.where(network=one)]:
        features = NETWORKS[network]()([row["path"] for row in rows]).astype(np.float32)
        found = list[dict[str, object]]()
        for two in combinations(names, 2):
            others = [name for name in names if name not in two]
            train, task = ~np.isin(of, two), Verification(tuple(others))
            head_, _ = task.solved(features[train], task.encode(of[train].tolist()), 0)
            ways = {"cosine": features, "learned": features @ head_["embed.weight"].T + head_["embed.bias"]}
            for (speaker, other), (way, embedded) in ((a, b) for a in (two, two[::-1]) for b in ways.items()):
                auroc, eer = told_apart(embedded, of == speaker, of == other)
                found.append({"network": network, "way": way, "speaker": speaker, "other": other, "auroc": auroc,
                              "eer": eer})  # fmt: skip
        kept.add(*found)
        print(network, flush=True)


def by_speaker(kept: Kept, network: str, way: str, figure: str) -> np.ndarray:
    """The figure of each speaker, the mean over impostors."""
    rows = kept.where(network=network, way=way)
    return np.array(
        [
            np.mean([row[figure] for row in rows if row["speaker"] == name])
            for name in sorted({r["speaker"] for r in rows})
        ]
    )


def mean_told(values: np.ndarray, lowest: float = 0.0) -> str:
    """Mean and interval over speakers, between `lowest` and 1."""
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    low, high = max(lowest, values.mean() - half), min(1.0, values.mean() + half)
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def page(kept: Kept) -> str:
    """The page in Markdown."""
    text = ["# Speakers verified", "", told(INTRODUCTION), ""]
    first, *others = NETWORKS
    for figure, title in FIGURES.items():
        text += [f"## {title[0].upper()}{title[1:]}", "", *head("features", *WAYS.values(), "speakers, cosine")]
        for network in NETWORKS:
            if not kept.where(network=network):
                text.append(line(network, *["not run"] * 3))
                continue
            own = by_speaker(kept, network, "cosine", figure)
            cells = (mean_told(by_speaker(kept, network, way, figure)) for way in WAYS)
            text.append(line(network, *cells, f"{own.min():.3f} to {own.max():.3f}"))
        text += ["", f"{first} minus the others, speaker by speaker:", ""]
        for network in others:
            if kept.where(network=network) and kept.where(network=first):
                gains = (by_speaker(kept, first, way, figure) - by_speaker(kept, network, way, figure) for way in WAYS)
                told_ = "; ".join(
                    f"{title} {mean_told(gain, -1.0)}" for title, gain in zip(WAYS.values(), gains, strict=True)
                )
                text.append(f"* {network}: {told_}")
        text.append("")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only-write", action="store_true", help="make the page from the rows that are kept")
    asked = parser.parse_args()
    kept = Kept(FOLDER / "speakers.jsonl")
    if not asked.only_write:
        measure(kept)
    PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
