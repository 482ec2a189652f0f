"""Preparation of sound files in exports, with soundfile, numpy and, for image networks, Pillow.

The functions below and the last sections of the files they come from are copied into the `predict.py` of an export; so
they must not use any other part of regraft. Features are computed here and not inside the graph, where sums in another
order would round some bytes of a spectrogram differently.
"""

from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np

from regraft.modalities.sound import mel, reading, resample
from regraft.modalities.sound import prepare as preparing


def inputs(path: Path) -> list[Path]:
    """Return the recordings in a file: one."""
    return [path]


def prepare(path: Path, preparation: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Return the middle of a recording as the network's input."""
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        samples = heard(file, None, preparation["seconds"], preparation["rate_hz"])
    return record_of(features(samples, preparation), preparation)


heard, features, record_of = reading.heard, preparing.features, preparing.record_of
_ENDS = ((resample, "CROSSINGS ="), (mel, "WINDOW_S,"), (preparing, "RANGE ="), (reading, "MARGIN_S ="))
SCRIPT = "\n\n".join(
    (
        getsource(inputs),
        getsource(prepare),
        *(text[text.index(begin) :].strip() + "\n" for text, begin in ((getsource(one), at) for one, at in _ENDS)),
    )
)
"""The source code."""
