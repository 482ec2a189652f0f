"""What an export's `predict.py` ends with, from `Model` on; `prepare` and `opened` stand above it there."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

prepare: Callable[..., Any]
opened: Callable[..., Any]


class Model:
    """The model in a folder that `regraft export` wrote."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.folder, self.spec = folder, json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        self.run = opened(folder, threads)

    def prepare(self, path: Path) -> dict[str, np.ndarray]:
        """A file as the network takes it."""
        return prepare(path, self.spec["preparation"])

    def outputs(self, records: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """`logits`, and `outputs`: probabilities or values in the order of the names, a row for each input."""
        return self.run({name: np.stack([record[name] for record in records]) for name in records[0]})

    def predict(self, path: Path) -> dict[str, Any]:
        """What the model says of a file."""
        task = self.spec["task"]
        named = dict(zip(task["classes"], self.outputs([self.prepare(path)])["outputs"][0].tolist(), strict=True))
        if task["gives"] == "values":
            return {"values": named}
        if task["exclusive"]:
            return {"label": max(named, key=lambda name: named[name]), "probabilities": named}
        return {"labels": [name for name, p in named.items() if p >= task["threshold"]], "probabilities": named}

    def check(self) -> float:
        """Largest difference of the golden inputs' logits from those on record, relative to the largest of these."""
        worst = 0.0
        for golden in self.spec["golden"]:
            record = self.prepare(self.folder / golden["file"])
            for name, digest in golden["prepared"].items():
                if hashlib.sha256(record[name].tobytes()).hexdigest() != digest:
                    raise SystemExit(f"{golden['file']} is decoded or resized otherwise here: other pixels in {name}.")
            wanted = np.array(golden["logits"])
            off = np.abs(self.outputs([record])["logits"][0] - wanted).max()
            worst = max(worst, float(off / (np.abs(wanted).max() or 1.0)))
        return worst


def main(words: list[str]) -> int:
    """What the command line asks for."""
    model, failed = Model(Path(__file__).resolve().parent), 0
    if words == ["--check"]:
        off, limit = model.check(), model.spec["tolerance"]
        sys.stdout.write(f"golden inputs: largest difference {off:.1e} (limit {limit})\n")
        return int(not off <= limit)
    for word in words:
        try:
            said = {"input": word, **model.predict(Path(word))}
        except (OSError, ValueError, SyntaxError) as error:
            said, failed = {"input": word, "error": str(error)}, 1
        sys.stdout.write(json.dumps(said) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
