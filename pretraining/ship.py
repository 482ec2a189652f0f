"""Put the network of a finished run into the package: weights, card, figures.

    .venv/bin/python pretraining/ship.py runs/googlenet [--input-px 96] [--corpus ../shared/data/source-images]
    .venv/bin/python pretraining/ship.py --features googlenet        # of shipped weights, only what is told next

The run is one of `regraft fit`, or the folder of one of `pretraining/distill.py`, whose last export is taken.

Writes src/regraft/weights/FAMILY.safetensors and FAMILY.json. The head of the run becomes the source classifier.
Weights are rounded to float16, batch norm's statistics stay float32; what is written is then opened as a user opens it
and judged on the corpus's validation part, whose figures go into the card. `--input-px` is the card's input size, which
`benchmarks/probe_table.py --inside` chooses. Figures of other measurements are kept from the card before, if the
weights are the same.

src/regraft/weights/corpus/FAMILY.safetensors gets the network's features of 1,024 training images, drawn by a fixed
seed, on their 64 leading principal components: `regraft advise` tells by them how far a task is from the pretraining.
"""

import argparse
import hashlib
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regraft.backbones.backbone import family_of
from regraft.backbones.opening import open_backbone
from regraft.backbones.shipped import Figure, corpus_file, saved_backbone, shipped_weights, weights_folder
from regraft.bundle_format import TENSORS, bundle_folder, read_facts, read_json, read_tensors, write_tensors
from regraft.bundles._model import Model, prefixes_of
from regraft.bundles.bundle import Bundle
from regraft.contracts.family import Card, built
from regraft.contracts.metric import metric
from regraft.contracts.task import TASKS
from regraft.data.open import open_dataset
from regraft.evaluation.intervals import measure
from regraft.files import write_json
from regraft.identity import sha256_of
from regraft.workbench.features import Extracted, features

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT.parent / "shared" / "data" / "source-images"
MOST_MB = {"googlenet": 14.0, "mobilenet_v3_small": 6.0}
"""Megabytes that the package can carry of each."""
TERMS = (
    "weights: research use only. About four fifths of the images they were trained on are from ImageNet, whose terms "
    "allow non-commercial research and education, and some other sources state no licence. The code's licence does not "
    "cover them."
)
LIMITS = (
    "They were trained on small images, 64 to 72 pixels on the shorter side: fine detail of larger ones is new.",
    "They saw 68 thousand images, a twentieth of ImageNet's: where a hub is in reach, published weights are better.",
    "Series from one shop or one photographer lie in training and validation alike: figures on the corpus flatter.",
)
TAUGHT = " What they learned they were taught by {name}, {trained_on}; licence of that: {licence}."
EXPORT = "export"
"""Folder in a run of `distill.py` that holds its average."""
NUM_FEATURES, NUM_AXES = 1024, 64
"""Images of the corpus whose features are kept, and principal components that they are kept on."""
CURVE_POINTS = 40
"""Epochs of the curve that a card keeps, at most."""
CURVE_FIELDS = ("epoch", "loss", "val_loss", "val_accuracy")


def main() -> None:
    """Write, open, judge, write the card."""
    asked = _asked()
    if asked.features:
        path = weights_folder() / f"{asked.features}.json"
        write_json(path, {**read_json(path), "corpus_sha256": _corpus_features(asked.features, asked.corpus)})
        return
    if (asked.run / EXPORT).is_dir():
        found, classes, trained_px, state, recipe = _distilled(asked.run / EXPORT)
    else:
        folder = bundle_folder(asked.run)
        facts = read_facts(folder)
        found, classes = saved_backbone(facts, folder).card, tuple(facts["task"]["classes"])
        trained_px, recipe = found.preparation.input_px[0], _recipe(asked.run)
        state = rounded(found, read_tensors(folder / TENSORS), len(classes))
    path, taught = weights_folder() / f"{found.family}.safetensors", recipe.get("teacher")
    before = shipped_weights(found.family)
    write_tensors(path, state)
    size, most = path.stat().st_size / 1e6, MOST_MB.get(found.family)
    if most and size > most:
        raise SystemExit(f"{path} has {size:.1f} MB; the package carries {most:g} MB of it at most.")
    card = replace(
        family_of(found.family, found.variant)[0].card(found.variant),
        weights="shipped",
        source="trained by the makers of Regraft (pretraining/README.md)",
        licence=TERMS + (TAUGHT.format(**taught) if taught else ""),
        trained_on=f"{recipe['examples']:,} small images of {len(classes)} classes"
        + (f", taught by {taught['name']}" if taught else ""),
        source_classes=classes,
        num_source_classes=len(classes),
        notes=("The shipped weights are for research use only: most of their images are under ImageNet's terms.",),
    ).with_input(asked.input_px or trained_px)
    written: dict[str, Any] = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "card": card.to_json(),
        "recipe": recipe,
        "figures": [],
        "limits": list(LIMITS),
    }
    write_json(path.with_suffix(".json"), written)
    own = _judged(card.family, trained_px, asked.corpus) if asked.corpus.is_dir() else []
    same = before is not None and before.sha256 == written["sha256"]
    kept = [one for one in before.figures if one.what not in {mine.what for mine in own}] if before and same else []
    written["figures"] = [asdict(figure) for figure in (*own, *kept)]
    if asked.corpus.is_dir():
        written["corpus_sha256"] = _corpus_features(card.family, asked.corpus)
    write_json(path.with_suffix(".json"), written)
    print(f"{path.relative_to(ROOT)}: {size:.1f} MB", *own, sep="\n")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="folder of the finished run")
    parser.add_argument("--features", default="", help="name of shipped weights: only their features of the corpus")
    parser.add_argument("--input-px", type=int, help="side of the card's input; default: that of the training")
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    asked = parser.parse_args()
    if (asked.run is None) == (not asked.features):
        parser.error("name either the folder of a run or --features")
    return asked


def rounded(card: Card, tensors: Mapping[str, np.ndarray], num_classes: int) -> dict[str, np.ndarray]:
    """The original's state dict in float16, statistics in float32."""
    made = built(family_of(card.family, card.variant)[0], replace(card, num_source_classes=num_classes))
    given = {name.replace("head/", "source/", 1): array for name, array in tensors.items()}
    with torch.no_grad():
        for name, tensor in made.network.tensors().items():
            tensor.copy_(torch.from_numpy(given[name]))
    state = {
        name: tensor.numpy()
        for name, tensor in made.original.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    return {
        name: array if name.endswith(("running_mean", "running_var")) else array.astype(np.float16)
        for name, array in state.items()
    }


def _distilled(folder: Path) -> tuple[Card, tuple[str, ...], int, dict[str, np.ndarray], dict[str, Any]]:
    """Card, classes, side of the inputs, tensors and recipe of a run of `distill.py`."""
    (weights,) = folder.glob("*.safetensors")
    recipe = read_json(weights.with_suffix(".json"))
    card = Card.from_json(recipe.pop("card"))
    return card, tuple(card.source_classes), card.preparation.input_px[0], read_tensors(weights), recipe


def _recipe(run: Path) -> dict[str, Any]:
    """How the run was made, from its report."""
    report = read_json(run / "report.json")
    facts, splits = report["strategy"]["facts"], report["data"]["splits"]
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    changed = {f"options.{name}": value for name, value in report["strategy"]["options"].items()}
    training = sum(epoch["seconds"] for epoch in report["strategy"]["curve"])
    return {
        "command": f"regraft fit source-images --backbone {report['backbone']['name'].replace('@random', '')} "
        f"--strategy {recipe['strategy']} --input-px {recipe['input_px']}",
        "settings": {**changed, **{f"augment.{name}": value for name, value in recipe.get("augment", {}).items()}},
        "examples": sum(split["examples"] for name, split in splits.items() if name != "test"),
        "epochs": facts["epochs"],
        "best_epoch": facts["best_epoch"],
        "seen": facts["epochs"] * splits["train"]["examples"] * (2 if changed.get("options.contrast") else 1),
        "seconds": round(training),
        "curve": thinned(report["strategy"]["curve"]),
        "environment": {**report["environment"], "machine": facts["machine"]},
        "regraft": report["regraft"],
    }


def thinned(curve: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The curve at so many epochs as a card keeps, the first and the last among them."""
    places = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), CURVE_POINTS)).round().astype(int))
    return [{name: round(curve[at][name], 4) for name in CURVE_FIELDS if name in curve[at]} for at in places]


def _judged(family: str, px: int, corpus: Path) -> list[Figure]:
    """Top-1 and top-5 accuracy of the shipped network with its own classifier, on the corpus's validation part."""
    opening = open_backbone(family, input_px=px)
    while True:
        try:
            next(opening)
        except StopIteration as stop:
            backbone = stop.value
            break
    classes, tensors = backbone.card.source_classes, backbone.tensors()
    task = TASKS.get("classification")(classes, {})
    model = Model(
        backbone=backbone,
        task=task,
        head={name: tensors[f"source/{name}"] for name in ("weight", "bias")},
        temperature=1.0,
        ood=None,
    )
    bundle = Bundle(model, {}, prefixes_of(backbone, task.reads, device="cpu", backend="auto", threads=None), 2)
    examples = [one for one in open_dataset(corpus).examples if one.split == "val"]
    place = {name: at for at, name in enumerate(classes)}
    targets = np.array([place[one.label] for one in examples])
    logits = [
        bundle.logits([bundle.prepare(one.contents) for one in examples[at : at + 256]])
        for at in range(0, len(examples), 256)
    ]
    probabilities = torch.softmax(torch.from_numpy(np.concatenate(logits)).double(), dim=1).numpy()
    command = shlex.join(["python", "pretraining/ship.py", "RUN"])
    figures = []
    for name in ("accuracy", "top5_accuracy"):
        measured = measure(metric(name), targets, probabilities)
        assert measured.low is not None
        assert measured.high is not None
        title = {"accuracy": "top-1", "top5_accuracy": "top-5"}[name]
        what = f"{title} accuracy on the corpus's validation split ({len(examples):,} images, {px} px)"
        figures.append(Figure(what=what, value=measured.value, low=measured.low, high=measured.high, source=command))
    return figures


def _corpus_features(family: str, corpus: Path) -> str:
    """Write the features of a sample of the corpus (`Shipped.source_features`); returns the file's digest."""
    training = [str(one.content) for one in open_dataset(corpus).examples if one.split == "train"]
    drawn = np.random.default_rng(0).permutation(len(training))[:NUM_FEATURES]
    *_, found = features([training[at] for at in drawn.tolist()], family, stored=False)
    assert isinstance(found, Extracted)
    rows = found.array.astype(np.float64)
    mean, unit = rows.mean(axis=0), np.sqrt(rows.var(axis=0).sum())
    _, lengths, axes = np.linalg.svd((rows - mean) / unit, full_matrices=False)
    axes = (axes[:NUM_AXES] / unit).astype(np.float16)
    held = (lengths[:NUM_AXES] ** 2).sum() / (lengths**2).sum()
    print(f"{family}: {len(rows):,} images, {len(axes)} components with {held:.1%} of the variance")
    path = corpus_file(family)
    path.parent.mkdir(exist_ok=True)
    tensors = {"mean": mean.astype(np.float32), "axes": axes, "rows": ((rows - mean) @ axes.T).astype(np.float16)}
    write_tensors(path, tensors)
    return sha256_of(path)


if __name__ == "__main__":
    main()
