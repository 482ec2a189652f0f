"""From a sound file to what a network takes, by soundfile, numpy and, for networks of images, Pillow.

What goes into the `predict.py` of an export: the functions below and the ends of the files that they come from, as they
stand there; so none of it uses anything else of regraft. Features are made here and not inside the graph, where sums in
another order would round a byte of a spectrogram to its neighbour.
"""

from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np

from regraft.modalities.sound import mel, reading, resample
from regraft.modalities.sound import prepare as preparing


def inputs(path: Path) -> list[Path]:
    """A file is one recording."""
    return [path]


def prepare(path: Path, preparation: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The middle of a recording as `mel` (bands, frames) or `pixels` (height, width, channels)."""
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        samples = heard(file, None, preparation["seconds"], preparation["rate_hz"])
    found = features(samples, preparation["seconds"], preparation["rate_hz"], preparation["num_bands"])
    return record_of(found, preparation["input_px"], preparation["channels"])


heard, features, record_of = reading.heard, preparing.features, preparing.record_of
_ENDS = ((resample, "CROSSINGS ="), (mel, "WINDOW_S,"), (preparing, "RANGE ="), (reading, "MARGIN_S ="))
SCRIPT = "\n\n".join(
    (
        getsource(inputs),
        getsource(prepare),
        *(text[text.index(begin) :].strip() + "\n" for text, begin in ((getsource(one), at) for one, at in _ENDS)),
    )
)
"""The text."""
