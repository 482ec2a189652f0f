"""What an installed stranger brings for the toy detector and the toy verification: a backbone, two tasks, metrics.

The backbone has maps of two strides. Letters: n examples, b rows, m and p boxes of an example.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regraft.contracts.backbone import Network
from regraft.contracts.family import Built, Card, Family
from regraft.contracts.metric import Metric
from regraft.contracts.task import Reads, Task
from regraft.evaluation.metrics.classes import ENTRIES as OF_CLASSES
from regraft.modalities.image.prepare import Preparation
from regraft.values import Prediction

SIDE = 32
GRID = SIDE // 4
WIDTH = 16
PIXELS_OF_ONE = np.array([SIDE, SIDE, SIDE, SIDE], dtype=np.float32)


def install(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """What pip leaves of a distribution whose entries are in this file."""
    info = folder / "toyvision-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toyvision\nVersion: 1.0\n")
    groups = {
        "regraft.backbones": ["toy_pyramid"],
        "regraft.tasks": ["toy_detection", "toy_verification"],
        "regraft.evaluation.metrics": ["toy_map", "toy_pair_auroc"],
    }
    text = "".join(f"[{group}]\n" + "".join(f"{n} = {__name__}\n" for n in names) for group, names in groups.items())
    (info / "entry_points.txt").write_text(text)
    patch.syspath_prepend(str(folder))


# ---------------------------------------------------------------- the backbone


def card(variant: str = "toy") -> Card:
    return Card(
        family="toy_pyramid",
        variant=variant,
        weights="random",
        preparation=Preparation(input_px=(SIDE, SIDE)),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        stages=("fine", "coarse", "top"),
        width=WIDTH,
        taps={"fine": (4, 8), "before_pool": (8, WIDTH)},
        partial_cut="fine",
    )


def build(card: Card) -> Built:
    import torch
    from torch import nn

    from regraft.nn.stages import OnHidden, grid_readouts, staged

    class Coarse(nn.Module):
        """A stage that offers a map before its pool, as a tap of another name than its own."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(8, WIDTH, 3, 2, 1), nn.ReLU())

        def forward(self, state):
            before = self.body(state["hidden"])
            return {**state, "tap.before_pool": before, "hidden": torch.max_pool2d(before, 2)}

    fine = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
    top = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.ReLU())
    network = staged(card, [fine, nn.Identity(), top], readouts=grid_readouts)
    stages = {"fine": OnHidden(fine), "coarse": Coarse(), "top": OnHidden(top)}
    network = Network(start=network.start, stages=stages, readouts=grid_readouts)
    return Built(network=network, original=nn.ModuleDict(stages))


BACKBONE = Family(
    name="toy_pyramid",
    title="A toy with maps of two strides",
    prefer="in tests",
    source="these tests",
    revision=1,
    variants=("toy",),
    card=card,
    build=build,
    classifier="",
    smallest_px=SIDE,
)


# ---------------------------------------------------------------- the detector


@dataclass(frozen=True, kw_only=True)
class Detected(Prediction):
    """A prediction of boxes: left, top, right, bottom in pixels of the image."""

    boxes: Sequence[Sequence[float]] = ()
    scores: Sequence[float] = field(default=())


def in_view(boxes: np.ndarray, placed: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Boxes in pixels of an image (m 4) -> in shares of a view's sides, cut to it."""
    left, top, right, bottom = placed
    found = (boxes - [left, top, left, top]) / [right - left, bottom - top, right - left, bottom - top]
    found = np.clip(found, 0, 1)
    if flips[0]:
        found[:, [0, 2]] = 1 - found[:, [2, 0]]
    if flips[1]:
        found[:, [1, 3]] = 1 - found[:, [3, 1]]
    return found


def in_image(boxes: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """The way back, of a view that was not flipped: all that is predicted on."""
    left, top, right, bottom = placed
    return boxes * [right - left, bottom - top, right - left, bottom - top] + [left, top, left, top]


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes (m 4), (p 4) -> (m p)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


class Detection(Task):
    """Boxes of a few classes: one scale, every cell of the fine map foretells one box."""

    kind = "toy_detection"
    reads = Reads("pooled", strides=(4, 8))
    moves = True

    def __init__(self, classes: Sequence[str], facts: Any = None) -> None:
        self.classes = tuple(classes)

    def named(self, label):
        return tuple(one["label"] for one in json.loads(label))

    def encode(self, labels):
        targets = np.empty(len(labels), dtype=object)
        for at, label in enumerate(labels):
            found = json.loads(label)
            targets[at] = {
                "boxes": np.array([one["box"] for one in found], dtype=np.float32).reshape(-1, 4),
                "labels": np.array([self.classes.index(one["label"]) for one in found], dtype=np.int64),
            }
        return targets

    def encoded(self, targets, placements):
        """Boxes in shares of the view, padded to as many as the fullest row has; label -1 where there is none."""
        most = max((len(one["labels"]) for one in targets), default=0) or 1
        boxes = np.zeros((len(targets), most, 4), dtype=np.float32)
        labels = np.full((len(targets), most), -1, dtype=np.int64)
        for row, one in enumerate(targets):
            moved = in_view(one["boxes"], placements["box"][row], placements["flips"][row])
            seen = np.prod(moved[:, 2:] - moved[:, :2], axis=1) > 1e-3
            boxes[row, : seen.sum()], labels[row, : seen.sum()] = moved[seen], one["labels"][seen]
        return {"boxes": boxes, "labels": labels}

    def head(self, widths, dropout, source_head=None):
        import torch
        from torch import nn
        from torch.nn import functional

        num_classes = len(self.classes)

        class Head(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                inside = widths["fine"] + widths["before_pool"]
                self.mix = nn.Sequential(
                    nn.Conv2d(inside, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU()
                )
                self.scores, self.sides = nn.Conv2d(32, num_classes, 1), nn.Conv2d(32, 4, 1)
                nn.init.constant_(self.scores.bias, -2.0)
                cells = (torch.arange(GRID) + 0.5) / GRID
                self.register_buffer("cells", torch.stack(torch.meshgrid(cells, cells, indexing="xy")))

            def forward(self, read):
                coarse = functional.interpolate(read["before_pool"], scale_factor=2.0)
                mixed = self.mix(torch.cat([read["fine"], coarse], 1))
                reach = functional.softplus(self.sides(mixed)) * 0.2
                boxes = torch.cat([self.cells - reach[:, :2], self.cells + reach[:, 2:]], 1)
                return {"scores": self.scores(mixed).flatten(2).mT, "boxes": boxes.flatten(2).mT}

        return Head()

    def objective(self, targets, *, balanced, smoothing):
        from torch.nn import functional

        def loss(output, encoded):
            import torch

            boxes, labels = encoded["boxes"], encoded["labels"]
            centres = ((torch.arange(GRID) + 0.5) / GRID).to(boxes.device)
            x, y = centres.repeat(GRID)[None, :, None], centres.repeat_interleave(GRID)[None, :, None]
            left, top, right, bottom = boxes[:, None].unbind(-1)
            inside = (x > left) & (x < right) & (y > top) & (y < bottom) & (labels >= 0)[:, None]
            owner = inside.float().argmax(2)  # the first of the boxes that hold the cell's centre
            wanted = torch.zeros_like(output["scores"])
            rows, cells = torch.nonzero(inside.any(2), as_tuple=True)
            owners = owner[rows, cells]
            wanted[rows, cells, labels[rows, owners]] = 1.0
            scores = functional.binary_cross_entropy_with_logits(output["scores"], wanted, reduction="sum")
            sides = functional.l1_loss(output["boxes"][rows, cells], boxes[rows, owners], reduction="sum")
            return (scores + 10 * sides) / max(1, len(rows))

        return loss

    def gathered(self, batches, example_of_row, placements):
        """Every cell's box in pixels of the image, and the probability of every class: before any is left out."""
        rows = [row for batch in batches for row in zip(batch["scores"], batch["boxes"], strict=True)]
        raw = np.empty(len(rows), dtype=object)
        for at, (scores, boxes) in enumerate(rows):
            raw[at] = {"boxes": in_image(boxes, placements["box"][at]), "scores": 1 / (1 + np.exp(-scores))}
        return raw

    def outputs(self, raw, temperature=1.0):
        """Non-maximum suppression by class: of boxes that overlap by half the most probable one is left."""
        made = np.empty(len(raw), dtype=object)
        for at, one in enumerate(raw):
            kept = [(score, label, one["boxes"][cell]) for label, column in enumerate(one["scores"].T)
                    for cell, score in suppressed(one["boxes"], column)]  # fmt: skip
            kept.sort(key=lambda found: -found[0])
            made[at] = {
                "boxes": np.array([box for *_, box in kept], dtype=np.float64).reshape(-1, 4),
                "labels": np.array([label for _, label, _ in kept], dtype=np.int64),
                "scores": np.array([score for score, *_ in kept], dtype=np.float64),
            }
        return made

    def decode(self, outputs):
        return [
            json.dumps([
                {"label": self.classes[label], "box": [round(float(side), 1) for side in box]}
                for label, box, score in zip(one["labels"], one["boxes"], one["scores"], strict=True) if score >= 0.5
            ])
            for one in outputs
        ]  # fmt: skip

    def predictions(self, outputs):
        return [
            Detected(id="", label=label, probabilities={}, boxes=one["boxes"].tolist(), scores=one["scores"].tolist())
            for label, one in zip(self.decode(outputs), outputs, strict=True)
        ]


def suppressed(boxes: np.ndarray, scores: np.ndarray, limit: float = 0.05) -> list[tuple[int, float]]:
    """Cells and scores of the boxes that are left."""
    kept: list[int] = []
    for cell in np.argsort(-scores, kind="stable").tolist():
        if scores[cell] < limit:
            break
        if not kept or overlaps(boxes[[cell]], boxes[kept]).max() < 0.5:
            kept.append(cell)
    return [(cell, float(scores[cell])) for cell in kept]


def average_precision(targets: Any, outputs: Any, weights: np.ndarray) -> np.ndarray:
    """Area under precision over recall at an overlap of one half, the mean over classes that occur; (b n) -> (b)."""
    rows: list[tuple[int, int, float, bool]] = []  # class, example, score, right
    truth = np.zeros((max((int(one["labels"].max(initial=-1)) for one in targets), default=-1) + 1, len(targets)))
    for at, (target, output) in enumerate(zip(targets, outputs, strict=True)):
        np.add.at(truth[:, at], target["labels"], 1)
        free = np.ones(len(target["labels"]), dtype=bool)
        for box, label, score in zip(output["boxes"], output["labels"], output["scores"], strict=True):
            fits = overlaps(box[None], target["boxes"])[0] * (free & (target["labels"] == label))
            right = bool(len(fits)) and fits.max() >= 0.5
            if right:
                free[fits.argmax()] = False
            rows.append((int(label), at, float(score), right))
    found = np.zeros((len(weights), len(truth)))
    for label, counts in enumerate(truth):
        mine = sorted((row for row in rows if row[0] == label), key=lambda row: -row[2])
        weight = weights[:, [row[1] for row in mine]] if mine else np.zeros((len(weights), 0))
        right = np.array([row[3] for row in mine], dtype=float)
        hits, seen, total = np.cumsum(weight * right, 1), np.cumsum(weight, 1), weights @ counts
        gained = weight * right * hits / np.where(seen > 0, seen, 1)
        found[:, label] = np.where(total > 0, gained.sum(1) / np.where(total > 0, total, 1), np.nan)
    return np.nanmean(found, axis=1)


MAP = Metric(
    name="toy_map",
    title="Average precision at an overlap of one half",
    higher_is_better=True,
    range=(0.0, 1.0),
    kinds=frozenset({"toy_detection"}),
    main=frozenset({"toy_detection"}),
    of_sample=average_precision,
)


# ---------------------------------------------------------------- verification


@dataclass(frozen=True, kw_only=True)
class Embedded(Prediction):
    """A prediction of where an input lies: inputs of one identity lie close together."""

    embedding: Sequence[float] = ()


class Verification(Task):
    """Is it the same one? An embedding, trained as a classification of the training identities."""

    kind = "toy_verification"
    split_rule = "disjoint classes"

    def __init__(self, classes: Sequence[str], facts: Any = None) -> None:
        self.classes = tuple(classes)

    def encode(self, labels):
        number = {name: at for at, name in enumerate(self.classes)}
        return np.array([number[label] for label in labels], dtype=np.int64)

    def encoded(self, targets, placements):
        return targets

    def head(self, widths, dropout, source_head=None):
        import torch
        from torch import nn
        from torch.nn import functional

        num_classes = len(self.classes)

        class Head(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embed = nn.Linear(widths["pooled"], 8)
                self.proxies = nn.Parameter(torch.randn(num_classes, 8))

            def forward(self, pooled):
                place = functional.normalize(self.embed(pooled))
                return {"embedding": place, "logits": 10 * place @ functional.normalize(self.proxies).T}

        return Head()

    def objective(self, targets, *, balanced, smoothing):
        """Only identities that are trained on compete: the others' proxies are never moved, and never asked."""
        trained = np.unique(targets)

        def loss(output, encoded):
            import torch
            from torch.nn import functional

            among = torch.full((len(self.classes),), -torch.inf, device=encoded.device)
            among[torch.from_numpy(trained)] = 0.0
            known = among[encoded] == 0
            if not known.any():
                return output["logits"].sum() * 0
            return functional.cross_entropy(output["logits"][known] + among, encoded[known])

        return loss

    def judged(self, raw, targets, mean_loss, loss):
        """Identities that validate are not trained on, so what counts is how well pairs of them are told apart."""
        apart = 1 - float(pair_auroc(targets, raw, np.ones((1, len(targets))))[0])
        return apart, apart

    def gathered(self, batches, example_of_row, placements):
        return np.concatenate([batch["embedding"] for batch in batches])

    def decode(self, outputs):
        return [json.dumps([round(float(one), 4) for one in row]) for row in outputs]

    def predictions(self, outputs):
        return [Embedded(id="", label=None, probabilities={}, embedding=row.tolist()) for row in outputs]


def pair_auroc(targets: Any, outputs: Any, weights: np.ndarray) -> np.ndarray:
    """The chance that a pair of one identity is more alike than a pair of two; (b n) -> (b)."""
    left, right = np.triu_indices(len(targets), 1)
    same, alike = targets[left] == targets[right], (outputs[left] * outputs[right]).sum(1)
    of_pairs = np.where(same, weights[:, left], weights[:, left] * weights[:, right])
    # two classes of pairs: the one-vs-rest AUROC of the shelf, on pairs instead of examples
    stated = np.stack([1 - alike, alike], 1)
    of_sample = OF_CLASSES["auroc"].of_sample
    assert of_sample is not None
    return of_sample(same.astype(np.int64), stated, of_pairs)


PAIRS = Metric(
    name="toy_pair_auroc",
    title="AUROC of pairs",
    higher_is_better=True,
    range=(0.0, 1.0),
    kinds=frozenset({"toy_verification"}),
    main=frozenset({"toy_verification"}),
    of_sample=pair_auroc,
    identities=lambda targets: targets,
    undefined="no two examples are of one identity",
)

ENTRIES: Mapping[str, Any] = {
    "toy_pyramid": BACKBONE,
    "toy_detection": Detection,
    "toy_verification": Verification,
    "toy_map": MAP,
    "toy_pair_auroc": PAIRS,
}
