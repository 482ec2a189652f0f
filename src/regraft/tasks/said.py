"""What a model says of an input, from the outputs of an export's graph: goes into `predict.py` as it stands, so it uses
numpy and nothing of regraft.

Each function takes all outputs by name, the number of an input among them, and what `spec.json` says of the task.
"""

from collections.abc import Mapping
from inspect import getsource
from typing import Any

import numpy as np


def script(function: Any) -> str:
    """The text of one of these functions, called `said` (`Exported.standalone`)."""
    return f"{getsource(function)}\n\nsaid = {function.__name__}\n"


def named(found: Mapping[str, np.ndarray], row: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says of an input: `label` or `labels` and `probabilities`, or `values`, by name."""
    by_name = dict(zip(task["classes"], found["outputs"][row].tolist(), strict=True))
    if task["gives"] == "values":
        return {"values": by_name}
    if task["exclusive"]:
        return {"label": max(by_name, key=lambda name: by_name[name]), "probabilities": by_name}
    return {"labels": [name for name, p in by_name.items() if p >= task["threshold"]], "probabilities": by_name}


def boxes(found: Mapping[str, np.ndarray], row: int, task: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says of an input: its boxes as `record`, the highest score first, and the classes of those with a
    score that counts as `label`."""
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
    """What the model says of an input: the embedding as `record`."""
    return {"label": "", "record": np.round(found["embedding"][row].astype(np.float64), 6).tolist()}
