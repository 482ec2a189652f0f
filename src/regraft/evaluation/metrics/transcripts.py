"""Word and character error rates of transcripts.

The minimum number of substitutions, insertions and deletions that turn the reference into the prediction, divided by
the number of words (characters) of the reference, pooled over all examples; it may exceed 1. Both are normalised first:
lower case, with all characters other than letters, digits, marks and apostrophes replaced by spaces, and runs of spaces
by one.

Sources: Levenshtein 1966; Morris et al. 2004, "From WER and RIL to MER and WIL". The normalisation is that of Radford
et al. 2022, arXiv:2212.04356, appendix C, for languages other than English, but keeps marks, apostrophes and text
in brackets. Letters: n examples, b resamples, s counts.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.contracts.metric import Figures, Metric
from regraft.evaluation.metrics._common import safe_ratio


def normalised(text: str) -> str:
    """Return the text in lower case, with spaces between its words, without punctuation and symbols."""
    kept = (one if one == "'" or unicodedata.category(one)[0] in "LNM" else " " for one in
            unicodedata.normalize("NFC", text.replace("’", "'")).lower())  # fmt: skip
    return " ".join("".join(kept).split())


def edits(said: Sequence[str], written: Sequence[str]) -> int:
    """Return the minimum number of substitutions, insertions and deletions between two sequences."""
    row = list(range(len(written) + 1))
    for at, one in enumerate(said, start=1):
        before, row[0] = row[0], at
        for place, other in enumerate(written, start=1):
            before, row[place] = row[place], min(before + (one != other), row[place] + 1, row[place - 1] + 1)
    return row[-1]


def counts(targets: Any, outputs: Any, parts: Callable[[str], Sequence[str]]) -> Float[np.ndarray, "n 2"]:
    """Return the number of errors and the reference length of every example, in the units that `parts` splits texts
    into."""
    pairs = [(parts(normalised(one)), parts(normalised(other))) for one, other in zip(targets, outputs, strict=True)]
    return np.array([(edits(said, written), len(said)) for said, written in pairs], dtype=np.float64).reshape(-1, 2)


NOTE = "Errors are counted in lower case and without punctuation; 7 and seven are different words."
KINDS = ("transcription",)
NAMES = ("wer", "cer")
_metric = partial(
    Metric, higher_is_better=False, range=(0.0, np.inf), kinds=frozenset(KINDS),
    value=lambda sums: safe_ratio(sums[:, 0], sums[:, 1]),
)  # fmt: skip
ENTRIES = {
    "wer": _metric(
        name="wer", title="Word error rate", main=frozenset(KINDS), statistics=partial(counts, parts=str.split),
        figures=lambda tested: Figures(notes=(NOTE,)),
    ),
    "cer": _metric(name="cer", title="Character error rate", statistics=partial(counts, parts=list)),
}  # fmt: skip
