"""Preparation of text files in exports, with the package `tokenizers` and numpy.

The functions are copied into the `predict.py` of an export; so they must not use regraft.
"""

import json
from functools import lru_cache
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np


def inputs(path: Path) -> list[Any]:
    """Return the texts in a file: one in UTF-8; or, for `.json` files, a list of texts, with pairs as lists of two."""
    text = Path(path).read_bytes().decode("utf-8-sig")
    found: list[Any] = json.loads(text) if Path(path).suffix == ".json" else [text]
    return found


@lru_cache(maxsize=2)
def tokenizer(path: Path, most: int) -> Any:
    """Load the tokenizer in a file; it truncates texts after `most` tokens."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(path))
    made.no_padding()
    made.enable_truncation(most)
    return made


def prepare(given: Any, preparation: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Return a text, or a pair of texts, as `ids`, `mask` and, if the network uses them, `types`."""
    texts = [given] if isinstance(given, str) else list(given)
    found = tokenizer(folder / preparation["tokenizer"], preparation["max_tokens"]).encode(*texts)
    if not found.ids:
        raise ValueError("it has no tokens")
    record = {"ids": np.array(found.ids, dtype=np.int32), "mask": np.ones(len(found.ids), dtype=bool)}
    if preparation["types"]:
        record["types"] = np.array(found.type_ids, dtype=np.int32)
    return record


SCRIPT = "\n\n".join(getsource(one) for one in (inputs, tokenizer, prepare))
"""The source code."""
