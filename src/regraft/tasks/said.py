"""Predictions from the outputs of an export's graph: copied verbatim into `predict.py`, so it uses numpy and nothing of
regraft.

Each function takes all outputs by name, the index of an input, and the task's entry in `spec.json`.
"""

from collections.abc import Mapping, Sequence
from inspect import getsource
from typing import Any

import numpy as np


def script(*functions: Any) -> str:
    """Return the source of some of these functions, the last of which is called `said` (`Exported.standalone`)."""
    texts = "\n\n".join(map(getsource, functions))
    return f"{texts}\n\nsaid = {functions[-1].__name__}\n"


def named(found: Mapping[str, np.ndarray], row: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prediction for an input: `label` or `labels` and `probabilities`, or `values`, by name."""
    by_name = dict(zip(task["classes"], found["outputs"][row].tolist(), strict=True))
    if task["gives"] == "values":
        return {"values": by_name}
    if task["exclusive"]:
        return {"label": max(by_name, key=lambda name: by_name[name]), "probabilities": by_name}
    return {"labels": [name for name, p in by_name.items() if p >= task["threshold"]], "probabilities": by_name}


def boxes(found: Mapping[str, np.ndarray], row: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prediction for an input: its boxes as `record`, by descending score, and the classes of those with a
    sufficient score as `label`."""
    kept = found["kept"][found["kept"][:, 0] == row]
    scores = found["certain"][row, kept[:, 2], kept[:, 1]].astype(np.float64).round(5)
    places = found["found"][row, kept[:, 2]].astype(np.float64).round(2)
    order = np.argsort(-scores, kind="stable")[: task["most"]]
    names = [task["classes"][at] for at in kept[order, 1].tolist()]
    parts = zip(names, scores[order].tolist(), places[order].tolist(), strict=True)
    record = [{"label": name, "score": score, "box": box} for name, score, box in parts]
    return {
        "label": ";".join(sorted(one["label"] for one in record if one["score"] >= task["stated"])),
        "record": record,
    }


def embedding(found: Mapping[str, np.ndarray], row: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prediction for an input: the embedding as `record`."""
    return {"label": "", "record": np.round(found["embedding"][row].astype(np.float64), 6).tolist()}


def mask(found: Mapping[str, np.ndarray], row: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prediction for an input: its mask as `record`, and the classes with at least one point as `label`."""
    record = recorded(highest(found["logits"][row], found["placed"][row]), task["classes"])
    return {"label": ";".join(name for name, share in record["shares"].items() if share), "record": record}


def recorded(grid: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return a grid of class indices as JSON: the fraction of points of each class, and the indices row by row,
    compressed by zlib, in base 64."""
    from base64 import b64encode
    from zlib import compress

    counts = np.bincount(grid.ravel(), minlength=len(classes))[: len(classes)]
    shares = {name: round(count / grid.size, 6) for name, count in zip(classes, counts.tolist(), strict=True)}
    text = b64encode(compress(np.ascontiguousarray(grid).tobytes(), 6)).decode()
    return {"shares": shares, "size": list(grid.shape), "classes": list(classes), "mask": text}


def highest(maps: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Return the class with the highest value (c p q) at every point of an example, from a plain view of the whole
    example; values are interpolated linearly between the points of the maps. `placed`: left, upper, right, lower edge
    of the view, in the units of the example; its borders have equal width on both sides."""
    left, top, right, bottom = placed.astype(np.float64).tolist()
    width, height = max(1, round(left + right)), max(1, round(top + bottom))
    upper, lower, down = between(height, top, bottom, maps.shape[1])
    first, second, across = between(width, left, right, maps.shape[2])
    best, found = np.full((height, width), -np.inf, dtype=np.float32), np.zeros((height, width), dtype=np.uint8)
    for number, values in enumerate(maps.astype(np.float32)):  # class by class, to save memory
        rows = values[upper] * (1 - down)[:, None] + values[lower] * down[:, None]
        here = rows[:, first] * (1 - across) + rows[:, second] * across
        better = here > best
        best[better], found[better] = here[better], number
    return found


def between(size: int, start: float, end: float, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, along one side, for every point of the example: the two cells of a map it lies between, and the weight of
    the second."""
    at = np.clip((np.arange(size) + 0.5 - start) / (end - start) * cells - 0.5, 0, cells - 1)
    low = np.minimum(np.floor(at).astype(np.int64), max(0, cells - 2))
    return low, np.minimum(low + 1, cells - 1), (at - low).astype(np.float32)
