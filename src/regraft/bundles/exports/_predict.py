"""The last part of an export's `predict.py`; `inputs`, `prepare`, `said` and `opened` are inserted above."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

inputs: Callable[..., Any]
prepare: Callable[..., Any]
said: Callable[..., Any]
opened: Callable[..., Any]


class Model:
    """The model in a folder written by `regraft export`."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.folder, self.spec = folder, json.loads((folder / "spec.json").read_text(encoding="utf-8"))
        self.run = opened(folder, threads)

    def inputs(self, path: Path) -> list[Any]:
        """Return the inputs in a file, one or several."""
        found: list[Any] = inputs(path)
        return found

    def prepare(self, given: Any) -> dict[str, np.ndarray]:
        """Prepare one input for the network."""
        return {name: one for name, one in prepare(given, self.spec["preparation"], self.folder).items()
                if name in self.spec["inputs"]}  # fmt: skip

    def outputs(self, records: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Run the network; return all outputs by name, a row per input. Shorter inputs are zero-padded."""
        feeds = {}
        for name in records[0]:
            arrays = [record[name] for record in records]
            sizes = np.max([array.shape for array in arrays], axis=0)
            pads = [[(0, most - size) for most, size in zip(sizes, array.shape, strict=True)] for array in arrays]
            feeds[name] = np.stack([np.pad(array, pad) for array, pad in zip(arrays, pads, strict=True)])
        return self.run(feeds)

    def said(self, found: dict[str, np.ndarray], row: int) -> dict[str, Any]:
        """Return the prediction in a row of the outputs."""
        told: dict[str, Any] = said(found, row, self.spec["task"])
        return told

    def predict(self, given: Any) -> dict[str, Any]:
        """Predict one input."""
        return self.said(self.outputs([self.prepare(given)]), 0)

    @staticmethod
    def thinned(array: np.ndarray) -> np.ndarray:
        """Return all values, or an evenly spaced subset of at most 2,000."""
        return array.ravel()[:: 1 + array.size // 2000]

    def check(self) -> float:
        """Return the maximum difference of the head's outputs for the golden inputs from the recorded ones, relative to
        the largest value."""
        worst = 0.0
        for golden in self.spec["golden"]:
            (given,) = self.inputs(self.folder / golden["file"])
            record = self.prepare(given)
            for name, digest in golden["prepared"].items():
                if hashlib.sha256(record[name].tobytes()).hexdigest() != digest:
                    raise SystemExit(f"{golden['file']} is read or prepared differently here: {name} differs.")
            found = self.outputs([record])
            for name in self.spec["compares"]:
                wanted = np.array(golden[name])
                off = np.abs(self.thinned(found[name][0]) - wanted).max()
                worst = max(worst, float(off / (np.abs(wanted).max() or 1.0)))
        return worst


def main(words: list[str]) -> int:
    """Run the command line."""
    model, failed = Model(Path(__file__).resolve().parent), 0
    if words == ["--check"]:
        off, limit = model.check(), model.spec["tolerance"]
        sys.stdout.write(f"golden inputs: largest difference {off:.1e} (limit {limit})\n")
        return int(not off <= limit)
    for word in words:
        try:
            for at, given in enumerate(held := model.inputs(Path(word))):
                number = {"number": at} if len(held) > 1 else {}
                sys.stdout.write(json.dumps({"input": word, **number, **model.predict(given)}) + "\n")
        except (OSError, ValueError, SyntaxError, RuntimeError) as error:
            sys.stdout.write(json.dumps({"input": word, "error": str(error)}) + "\n")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
