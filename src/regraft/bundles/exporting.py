"""The folder that an export is: the network's file, `spec.json`, the golden inputs, and a `predict.py` that needs them
and nothing of regraft.
"""

import hashlib
import runpy
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regraft.bundles.bundle import Bundle
from regraft.bundles.graph import graph_of
from regraft.contracts.example import Inline
from regraft.contracts.export import Examples, ExportFormat
from regraft.files import write_json, write_text
from regraft.version import VERSION

FORMAT = 1
"""Format of `spec.json`."""
THRESHOLD = 0.5
"""Probability from which on a label holds, where any number of labels may."""
_HEAD = '''"""What the model beside this file predicts; needs {packages} and nothing of regraft.

    python predict.py FILE...    a line of JSON for every file
    python predict.py --check    whether the golden inputs give here what is on record

Written by regraft {version}. How inputs are read and resized stands below; spec.json has the numbers.
"""

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
'''


def write_export(bundle: Bundle, made: ExportFormat, folder: Path, examples: Examples, threads: int) -> Any:
    """Write the model to the empty `folder` in a format; returns the `Model` of its `predict.py`, ready to predict.

    `examples` are prepared inputs to calibrate with.

    Raises:
        BadRequest: the model cannot be exported.
        MissingExtra: what writes the format is not installed.
    """
    script, spec = _script(bundle, made), _spec(bundle, made)
    made.write(_described(graph_of(bundle, threads), spec), folder / made.file, examples)
    golden = bundle.modality.golden(0, bundle.card.preparation)
    (folder / "golden").mkdir()
    for at, contents in enumerate(golden):
        (content,) = contents.values()
        data = content.value if isinstance(content, Inline) else content.path.read_bytes()
        (folder / "golden" / str(at)).write_bytes(data if isinstance(data, bytes) else str(data).encode())
    write_json(folder / "spec.json", spec)
    write_text(folder / "predict.py", script)
    model = open_export(folder, threads)
    records = [bundle.prepare(contents) for contents in golden]
    for at, record in enumerate(records):
        found = model.outputs([record])
        digests = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in record.items()}
        spec["golden"].append(
            {"file": f"golden/{at}", "prepared": digests, **{name: array[0].tolist() for name, array in found.items()}}
        )
    model.spec = spec
    write_json(folder / "spec.json", spec)
    return model


def open_export(folder: Path, threads: int) -> Any:
    """The `Model` that the `predict.py` in an export's folder defines, from that very file."""
    return runpy.run_path(str(folder / "predict.py"))["Model"](folder, threads)


def size_of(folder: Path, file: str) -> int:
    """Bytes of the network's file in a folder and of what belongs to it, which is called alike."""
    return sum(one.stat().st_size for one in folder.iterdir() if one.stem == Path(file).stem and one.is_file())


def _spec(bundle: Bundle, made: ExportFormat) -> dict[str, Any]:
    task, shapes = bundle.model.task, bundle.modality.shapes(bundle.card.preparation)
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
        "preparation": {**bundle.card.preparation.digest_fields()},
        "inputs": {name: {"shape": ["rows", *shape], "dtype": dtype} for name, (shape, dtype) in shapes.items()},
        "scaling": {"inside": True, "mean": list(bundle.card.mean), "std": list(bundle.card.std)},
        "outputs": {
            "logits": "before calibration",
            "outputs": "in the order of task.classes: probabilities, or values in the unit of the training labels",
        },
        "tolerance": made.tolerance,
        "golden": [],
    }  # fmt: skip


def _described(graph: bytes, spec: Mapping[str, Any]) -> bytes:
    """The graph with the specification in its metadata."""
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
        engine[engine.index("def opened") :],
        end[end.index("class Model") :],
    )
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


def _text(module: str) -> str:
    """The source of a module, which is not imported."""
    found = find_spec(module)
    assert found is not None, "it is part of an entry"
    return Path(str(found.origin)).read_text(encoding="utf-8")
