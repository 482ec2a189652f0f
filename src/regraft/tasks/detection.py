"""Object detection: bounding boxes with classes.

A single-stage, anchor-free detector. A feature pyramid maps the backbone's taps to maps with the same number of
channels; each cell predicts a score per class, a box, and its centre-ness (how close the cell is to the centre of an
object). The target of a cell is the box of the smallest object with its centre nearby, if the size of the box falls in
the map's range.

A label is JSON: a list of `{"label": NAME, "box": [left, top, right, bottom]}`, in the units of the example's
placements.

Source: Tian et al. 2019, arXiv:1904.01355 (FCOS); Lin et al. 2017, arXiv:1612.03144 (feature pyramid, torchvision's
version); Lin et al. 2017, arXiv:1708.02002 (focal loss); Rezatofighi et al. 2019, arXiv:1902.09630 (GIoU). Our choices:
a smaller head (96 channels, one layer shared by classes and boxes), and object sizes half of FCOS's on each map,
because inputs are smaller than FCOS's 800 on the shorter side. Ren et al. 2015, arXiv:1506.01497 (Faster R-CNN, with
parts of torchvision's); our choices: features of proposals are read from the finest map alone, boxes are moved in the
same way for every class, and 64 proposals are sampled instead of 512.

Letters: n examples, b rows of a batch, k cells of all maps, c classes, m boxes, at most, per example.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from regraft.contracts.example import Marks, as_records
from regraft.contracts.page import Words
from regraft.contracts.task import Reads, Task
from regraft.errors import BadData
from regraft.nn.boxes import areas, in_example, in_view, overlaps, suppressed
from regraft.tasks.losses import softmax
from regraft.values import Json, Prediction
from regraft.words import counted, joined

if TYPE_CHECKING:
    from torch import Tensor, nn

STRIDES = (8, 16, 32)
READS = Reads("pooled", strides=STRIDES, whole=True)
WIDTH = 96
"""Channels of the pyramid."""
LOWEST, MOST, CANDIDATES = 0.05, 100, 500
"""Minimum score of a box, maximum number of boxes per example, and number of highest-scoring candidates considered (as
in COCO's evaluation and torchvision)."""
OVERLAP, OVERLAP_OF_TWO = 0.6, 0.5
"""IoU thresholds of non-maximum suppression, by class, of the two detectors (torchvision's FCOS and Faster R-CNN)."""
STATED = 0.4
"""Minimum score of a prediction; boxes with lower scores count only towards the average precision (our choice)."""
SAME = 0.9
"""IoU above which two boxes are of the same object (our choice)."""
EXPECTED = '[{"label": "cat", "box": [12, 20, 140, 96]}]: left, top, right, bottom'


@dataclass(frozen=True)
class Detection(Task):
    """Object detection with these classes."""

    classes: tuple[str, ...]
    kind: str = "detection"
    reads: Reads = READS
    moves: bool = True
    places: Sequence[str] = ("box",)
    selects: Sequence[str] = ("kept",)
    overlap: float = OVERLAP
    head_epochs: int = 12

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the maximum number of boxes per example and the minimum score of a prediction."""
        return {"most": MOST, "stated": STATED, "detector": "single_stage"}

    def words(self) -> Words:
        """Return the names that reports use: boxes."""
        of = f"with boxes of {counted(len(self.classes), 'class', 'classes')}"
        return Words(
            output="class",
            outputs="classes",
            asked=of,
            labelled=of,
            given=f"a list of boxes, each of one of {counted(len(self.classes), 'class', 'classes')} with a score",
            purpose="Detects objects of the classes above, with their positions, in inputs of the kind the model was "
            "trained on",
            caution="A score ranks boxes; it is not a probability. Objects of other classes may be detected as one "
            "of these, and the absence of a box does not prove the absence of an object.",
            fields="prediction.label, prediction.record",
            probe="head alone",
        )

    def named(self, label: str) -> Sequence[str]:
        """Return the class of every box."""
        return tuple(one["label"] for one in read_label(label))

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Return for each example `boxes` (m 4) and `labels` (m), the class indices."""
        return as_records([self._record(read_label(label)) for label in labels])

    def strata(self, targets: np.ndarray) -> Int[np.ndarray, "n"]:
        """Return the rarest class of each example; 0 for none."""
        count = np.bincount(np.concatenate([one["labels"] for one in targets]), minlength=len(self.classes))
        rarest = (min(one["labels"].tolist(), key=count.__getitem__, default=-1) for one in targets)
        return np.array([label + 1 for label in rarest], dtype=np.int64)

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return `boxes` (b m 4) as fractions of the view's sides, and `labels` (b m), -1 for padding."""
        moved = [
            in_view(one["boxes"], box, flips)
            for one, box, flips in zip(targets, placements["box"], placements["flips"], strict=True)
        ]
        most = max((int(seen.sum()) for _, seen in moved), default=0) or 1
        boxes = np.zeros((len(targets), most, 4), dtype=np.float32)
        labels = np.full((len(targets), most), -1, dtype=np.int64)
        for row, (one, (found, seen)) in enumerate(zip(targets, moved, strict=True)):
            boxes[row, : seen.sum()], labels[row, : seen.sum()] = found[seen], one["labels"][seen]
        return {"boxes": boxes, "labels": labels}

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head: taps -> logits `scores` (b k c) and `centre` (b k 1); `boxes` (b k 4) and `cells` (b k 3), as
        fractions of the canvas's sides. `cells` holds each cell's centre and size."""
        from regraft.nn.pyramid import PyramidHead

        taps = {name: width for name, width in widths.items() if name != self.reads.readout}
        return PyramidHead(taps, STRIDES, WIDTH, len(self.classes), dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the sum of the scores' focal loss, the boxes' GIoU loss and the centre-ness's cross entropy, divided
        by the number of cells with an object."""
        from regraft.nn.pyramid import pyramid_loss

        return pyramid_loss

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return for every cell its box, in the example's units, and the scores of all classes in [0, 1], before
        suppression. A score is the geometric mean of class probability and centre-ness, as in FCOS."""
        found = list[tuple[np.ndarray, np.ndarray]]()
        for batch in batches:
            found += zip(self.certain(batch), batch["boxes"], strict=True)
        return as_records(
            [
                {"boxes": in_example(boxes, placed), "scores": scores}
                for (scores, boxes), placed in zip(found, placements["box"], strict=True)
            ]
        )

    def certain(self, batch: Mapping[str, np.ndarray]) -> Float[np.ndarray, "b k c"]:
        """Return the scores in a batch of the head's outputs."""
        return np.sqrt(_sigmoid(batch["scores"]) * _sigmoid(batch["centre"]))

    def outputs(self, raw: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return for each example `boxes` (m 4), `labels` and `scores` (m) after non-maximum suppression by class, by
        descending score. Sides are rounded to 0.01, scores to 0.00001, so that saved outputs equal those in memory."""
        return as_records([_kept(one["boxes"], one["scores"], self.overlap) for one in raw])

    def graph(self, output: Any, temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        """Return `found` (b k 4), boxes in the example's units; `certain` (b k c), scores in [0, 1]; and `kept` (p 3):
        row, class and cell of the boxes that non-maximum suppression keeps."""
        from regraft.nn.pyramid import suppressed_in_graph

        certain = (output["scores"].sigmoid() * output["centre"].sigmoid()).sqrt()
        return suppressed_in_graph(output["boxes"], certain, placed["box"], LOWEST, CANDIDATES, self.overlap, MOST)

    def standalone(self) -> str:
        """Return a script for the kept boxes, as in `outputs` and `recorded`."""
        from regraft.tasks.said import boxes, script

        return script(boxes)

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return the classes of the predicted boxes, in alphabetical order."""
        return [
            joined(sorted(self.classes[at] for at in one["labels"][one["scores"] >= STATED].tolist()))
            for one in outputs
        ]

    def recorded(self, outputs: np.ndarray) -> list[Json]:
        """Return the list of boxes of each example, in the form of a label, each with its `score`."""
        return [
            [
                {"label": self.classes[label], "score": score, "box": box}
                for label, score, box in zip(
                    *(one[name].tolist() for name in ("labels", "scores", "boxes")), strict=True
                )
            ]
            for one in outputs
        ]

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """Return boxes, labels and scores."""
        return as_records(
            [
                {**self._record(record), "scores": np.array([one["score"] for one in record], dtype=np.float64)}
                for record in records
            ]
        )

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return the classes of the predicted boxes; the record contains all boxes, including those with low scores."""
        return [Prediction(id="", label=label, probabilities={}) for label in self.decode(outputs)]

    def marks(self, record: Any) -> Marks:
        """Return the predicted boxes, each with its class and score."""
        number = {name: at for at, name in enumerate(self.classes)}
        shown = self.boxed(record)
        return Marks(boxes=[(f"{one['label']} {one['score']:.2f}", number[one["label"]], one["box"]) for one in shown])

    def boxed(self, record: Any) -> Sequence[Mapping[str, Any]]:
        """Return the boxes with at least the minimum score of a prediction."""
        return [one for one in record if one["score"] >= STATED]

    def doubtful(self, targets: np.ndarray) -> Iterable[tuple[str, str, str, Sequence[int]]]:
        """Return examples in which two classes have nearly the same box."""
        found = list[int]()
        for at, one in enumerate(targets):
            same = overlaps(one["boxes"], one["boxes"]) > SAME
            if (same & (one["labels"][:, None] != one["labels"])).any():
                found.append(at)
        text = f"have boxes of two classes that overlap by more than {SAME:g}"
        yield "boxes that disagree", text, "keep the right one of the two, unless both are there.", found

    def _record(self, found: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        number = {name: at for at, name in enumerate(self.classes)}
        if odd := [one["label"] for one in found if one["label"] not in number]:
            raise BadData(
                f"The class {odd[0]!r} of a box is unknown to the model (its classes: {', '.join(self.classes)}).",
                fix="correct its spelling, or leave out such boxes.",
            )
        return {
            "boxes": np.array([one["box"] for one in found], dtype=np.float64).reshape(-1, 4),
            "labels": np.array([number[one["label"]] for one in found], dtype=np.int64),
        }


@dataclass(frozen=True)
class TwoStages(Detection):
    """Object detection by Faster R-CNN: anchors on the pyramid's maps propose boxes, and each proposal is classified
    and moved by a head on the features inside it."""

    guided: bool = True
    overlap: float = OVERLAP_OF_TWO
    selects: Sequence[str] = ("kept", "proposals", "classes", "moves", "boxes", "found", "certain")

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the facts of the single-stage detector, and the kind of detector."""
        return {**super().facts, "detector": "faster_rcnn"}

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head: taps -> see `nn.two_stages.TwoStageHead`."""
        from regraft.nn.two_stages import TwoStageHead

        taps = {name: width for name, width in widths.items() if name != self.reads.readout}
        return TwoStageHead(taps, STRIDES, WIDTH, len(self.classes), dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the sum of both stages' losses."""
        from regraft.nn.two_stages import two_stage_loss

        return two_stage_loss

    def certain(self, batch: Mapping[str, np.ndarray]) -> Float[np.ndarray, "b k c"]:
        """Return the probability of each class but the background, by proposal."""
        values = batch["classes"]
        return softmax(values.reshape(-1, values.shape[2])).reshape(values.shape)[..., 1:]

    def graph(self, output: Any, temperature: float, placed: Mapping[str, "Tensor"]) -> "Mapping[str, Tensor]":
        """Return `found`, `certain` and `kept`, by proposal."""
        from regraft.nn.pyramid import suppressed_in_graph

        certain = output["classes"].softmax(2)[..., 1:]
        return suppressed_in_graph(output["boxes"], certain, placed["box"], LOWEST, CANDIDATES, self.overlap, MOST)


def read_label(label: str) -> Sequence[Mapping[str, Any]]:
    """Return the boxes in a label.

    Raises:
        BadData: the label is not JSON of this form.
    """
    try:
        found = json.loads(label)
        if all(isinstance(one["label"], str) and len([float(side) for side in one["box"]]) == 4 for one in found):
            return found
    except (ValueError, TypeError, KeyError):
        pass
    raise BadData(
        f"The label {label[:60]!r} is not a list of boxes.", fix=f"use COCO, VOC or YOLO data, or write {EXPECTED}."
    )


def _kept(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> dict[str, np.ndarray]:
    rows, labels = np.nonzero(scores >= LOWEST)
    best = np.argsort(-scores[rows, labels], kind="stable")[:CANDIDATES]
    best = best[areas(boxes[rows[best]]) > 0]
    rows, labels = rows[best], labels[best]
    found, values = boxes[rows], scores[rows, labels].astype(np.float64)
    # Offset the boxes of each class so that boxes of different classes never overlap (torchvision's batched NMS).
    apart = found + (labels * (found.max(initial=0.0) + 1.0))[:, None]
    kept = suppressed(apart, values, overlap)[:MOST]
    return {"boxes": np.round(found[kept], 2), "labels": labels[kept], "scores": np.round(values[kept], 5)}


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Detection:
    """Return the detection task with these classes; `facts` may name the `detector`."""
    made = TwoStages if (facts or {}).get("detector") == "faster_rcnn" else Detection
    return made(tuple(classes))


ENTRY = task
