"""Exports: a folder with the network's file, `spec.json`, golden inputs, and a `predict.py` that does not need
regraft."""

import hashlib
import runpy
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from regraft.bundles.bundle import Bundle
from regraft.bundles.graph import graph_of, inputs_of
from regraft.contracts.example import Contents
from regraft.contracts.export import Examples, ExportFormat
from regraft.contracts.modality import Placement, Record, Shapes
from regraft.errors import BadRequest
from regraft.files import write_json, write_text
from regraft.version import VERSION

FORMAT = 1
"""Format version of `spec.json`."""
THRESHOLD = 0.5
"""Probability threshold for multi-label predictions."""
_HEAD = '''"""Predict with the model beside this file; needs {packages}, but not regraft.

    python predict.py FILE...    print a line of JSON per file
    python predict.py --check    compare the outputs for the golden inputs with the recorded ones

Written by regraft {version}. The code below reads and prepares inputs; spec.json has the numbers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
'''


def write_export(bundle: Bundle, made: ExportFormat, folder: Path, examples: Examples, threads: int) -> Any:
    """Export the model to the empty `folder`; return the `Model` of its `predict.py`.

    `examples` are prepared inputs for calibration.

    Raises:
        BadRequest: the model cannot be exported.
        MissingExtra: the format needs a package that is not installed.
    """
    modality, preparation = bundle.modality, bundle.card.preparation
    outside, files = modality.handed(modality.outside(preparation))
    script, spec = _script(bundle, made), _spec(bundle, made, outside, inputs_of(bundle))
    made.write(_described(graph_of(bundle, threads), spec), folder / made.file, examples)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    write_json(folder / "spec.json", spec)
    write_text(folder / "predict.py", script)
    model = open_export(folder, threads)
    (folder / "golden").mkdir()
    golden = modality.golden(0, preparation)
    spec["compares"] = list(continuous(bundle, head_outputs(bundle, [bundle.prepare(golden[0])])))
    for at, contents in enumerate(golden):
        ending, data = modality.filed(contents, preparation)
        (folder / "golden" / f"{at}{ending}").write_bytes(data)
        record = fed(bundle, contents, bundle.prepare_pieces(contents))
        found = model.outputs([record])
        digests = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in record.items()}
        numbers = {name: model.thinned(array[0]).tolist() for name, array in found.items()
                   if name not in bundle.model.task.selects}  # fmt: skip
        spec["golden"].append({"file": f"golden/{at}{ending}", "prepared": digests, **numbers})
    model.spec = spec
    write_json(folder / "spec.json", spec)
    return model


def fed(bundle: Bundle, contents: Contents, pieces: Sequence[tuple[Record, Placement]]) -> Record:
    """Return the inputs of an export's graph from the model's own prepared rows.

    Raises:
        BadRequest: the input has more than one row.
    """
    if len(pieces) != 1:
        raise BadRequest(
            f"An input has {len(pieces)} rows; exported models accept one.", fix="predict with Regraft itself."
        )
    (record, placement), preparation = pieces[0], bundle.card.preparation
    outside = bundle.modality.outside(preparation)
    if outside is not preparation:
        record, placement = bundle.modality.load(contents, outside, None)
    return {**record, **{name: placement[name] for name in bundle.model.task.places}}


def head_outputs(bundle: Bundle, prepared: Sequence[Record]) -> dict[str, np.ndarray]:
    """Return the head's outputs for prepared rows, by their names in an export."""
    output = bundle.model.output(bundle.read(prepared))
    return dict(output) if isinstance(output, Mapping) else {"logits": output}


def continuous(bundle: Bundle, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the outputs that rounding changes little: those that do not select (`Exported.selects`)."""
    return {name: one for name, one in outputs.items() if name not in bundle.model.task.selects}


def open_export(folder: Path, threads: int) -> Any:
    """Load the `Model` defined by the `predict.py` of an export."""
    return runpy.run_path(str(folder / "predict.py"))["Model"](folder, threads)


def size_of(folder: Path, file: str) -> int:
    """Return the size in bytes of the network's file and the files that belong to it, which share its stem."""
    return sum(one.stat().st_size for one in folder.iterdir() if one.stem == Path(file).stem and one.is_file())


def _spec(bundle: Bundle, made: ExportFormat, outside: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    task = bundle.model.task
    return {
        "format": FORMAT,
        "made_with": {"regraft": VERSION},
        "model": {"digest": bundle.facts["digest"], "backbone": bundle.card.name},
        "export": made.title,
        "task": {
            "kind": task.kind, "classes": list(task.classes), "gives": task.answers, "exclusive": task.exclusive,
            "threshold": THRESHOLD, "temperature": float(bundle.model.temperature), **task.facts,
        },
        "modality": bundle.card.modality,
        "preparation": dict(outside),
        "inputs": {
            name: {"shape": ["rows", *(size or "length" for size in shape)], "dtype": dtype}
            for name, (shape, dtype) in shapes.items()
        },
        "scaling": {"inside": True, "mean": list(bundle.card.mean), "std": list(bundle.card.std)},
        "outputs": "logits: before calibration; outputs: in the order of task.classes, probabilities, or values in the "
        "unit of the training labels; others as read by `said` in predict.py",
        "tolerance": made.tolerance,
        "golden": [],
    }  # fmt: skip


def _described(graph: bytes, spec: Mapping[str, Any]) -> bytes:
    """Return the graph with the specification in its metadata."""
    import json

    import onnx

    model = onnx.load_from_string(graph)
    model.producer_name, model.producer_version = "regraft", VERSION
    told = {"regraft": spec, "classes": spec["task"]["classes"], "temperature": spec["task"]["temperature"]}
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in told.items()})
    written: bytes = model.SerializeToString()
    return written


def _script(bundle: Bundle, made: ExportFormat) -> str:
    packages = ", ".join((*made.engine_packages, "numpy", *bundle.modality.standalone_packages))
    engine, end = _text(made.engine), _text("regraft.bundles.exports._predict")
    parts = (
        _HEAD.format(packages=packages, version=VERSION),
        bundle.modality.standalone(),
        bundle.model.task.standalone(),
        engine[engine.index("def opened") :],
        end[end.index("class Model") :],
    )
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


def _text(module: str) -> str:
    """Return the source of a module without importing it."""
    found = find_spec(module)
    assert found is not None, "it is part of an entry"
    return Path(str(found.origin)).read_text(encoding="utf-8")
