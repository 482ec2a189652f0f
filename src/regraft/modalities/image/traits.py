"""Traits of images that do not depend on what they show. Shapes: n images.

Limits are our choice: an image with a mean below 8 or above 247 of 255, or with a standard deviation below 3, shows
next to nothing; one that is enlarged more than twice consists mostly of interpolation.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from regraft.contracts.modality import Trait
from regraft.modalities.image.prepare import Preparation

SIDES = ("left", "upper", "right", "lower")


def traits(prints: Shaped[np.ndarray, " n"], preparation: Preparation) -> Sequence[Trait]:
    """Return the traits of images with these fingerprints; those of unreadable images are missing."""
    known = prints["error"] == b""

    def known_alone(values: np.ndarray) -> Float[np.ndarray, " n"]:
        return np.where(known, np.asarray(values, dtype=np.float64), np.nan)

    width, height = (np.maximum(prints[name].astype(np.float64), 1) for name in ("width", "height"))
    shorter = np.minimum(width, height)
    colour = prints["colour"].astype(np.float64).mean(axis=(1, 2))
    grey = prints["grey"].reshape(len(prints), -1).astype(np.float64)
    bytes_per_pixel = np.where(prints["size"] > 0, prints["size"] / (width * height), np.nan)
    enlarged = "use a smaller input size (`--input-px`), or images of higher resolution."
    look = "check them; remove those that show nothing."
    found = [
        Trait(name="shorter side", values=known_alone(shorter), unit=" pixels", outliers=True, recorded="wholly",
              advice="check that they are of the same kind as the others."),
        Trait(name="aspect ratio", values=known_alone(width / height), outliers=True, recorded="wholly",
              advice="they are centre-cropped; crop them yourself if important parts lie outside."),
        Trait(name="number of channels", values=known_alone(prints["channels"]), outliers=True, recorded="wholly",
              advice="use images with the same number of channels."),
        Trait(name="file format and writer", values=_codes(prints["writer"], known), kinds=True, recorded="wholly"),
        Trait(name="file size per pixel", values=known_alone(bytes_per_pixel), unit=" bytes", recorded="partly"),
        Trait(name="enlargement", values=known_alone(min(preparation.input_px) / shorter), unit=" times",
              range=(0.0, 2.0), advice=enlarged),
        Trait(name="brightness", values=known_alone(colour.mean(axis=1)), unit=" of 255", range=(8.0, 247.0),
              advice=look, seen=True),
        Trait(name="contrast", values=known_alone(grey.std(axis=1)), unit=" of 255", range=(3.0, np.inf), advice=look,
              seen=True),
        Trait(name="redness", values=known_alone(colour[:, 0] - colour[:, 1]), unit=" of 255", seen=True),
        Trait(name="blueness", values=known_alone(colour[:, 2] - colour[:, 1]), unit=" of 255", seen=True),
        Trait(name="sharpness", values=known_alone(prints["sharpness"]), outliers=True,
              advice="check them: they may be blurred or pure noise."),
    ]  # fmt: skip
    for side, name in enumerate(SIDES):
        lines, level = prints["frame"][:, side].astype(np.float64), prints["frame_level"][:, side].astype(np.float64)
        found += [
            Trait(name=f"width of the {name} border", values=known_alone(lines), unit=" pixels", recorded="wholly"),
            Trait(name=f"grey level of the {name} border", values=known_alone(np.where(lines > 1, level, -1.0)),
                  unit=" of 255", recorded="wholly"),
        ]  # fmt: skip
    return found


def _codes(writers: Shaped[np.ndarray, " n"], known: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return a small integer for each writer, most frequent first."""
    names, code, counts = np.unique(writers, return_inverse=True, return_counts=True)
    rank = np.empty(len(names))
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(names))
    return np.where(known, rank[code], np.nan)
