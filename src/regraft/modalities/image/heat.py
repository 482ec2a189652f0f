"""Heat maps over images: red for evidence for a prediction, blue for evidence against it.

Letters: h and w height and width in pixels, c channels.
"""

import io
from math import isqrt

import numpy as np
from jaxtyping import UInt8

SIDE = 240
"""Minimum length of the shorter side of the drawing, in pixels."""
RED, BLUE = (214, 40, 40), (38, 84, 200)
CLIPPED = 0.99
"""Quantile of the absolute weights that is drawn in full colour, so that single pixels do not fade all others."""


def heat_map(pixels: UInt8[np.ndarray, "h w c"], weights: np.ndarray) -> bytes:
    """Return a PNG of the prepared image in grey, overlaid with the weights.

    Weights have rows and columns, or one value per token: then the last tokens that form a square are the image's
    patches.
    """
    from PIL import Image

    if weights.ndim == 1:
        side = isqrt(len(weights))
        weights = weights[len(weights) - side * side :].reshape(side, side)
    height, width = (max(1, -(-SIDE // min(pixels.shape[:2]))) * size for size in pixels.shape[:2])
    full = float(np.quantile(np.abs(weights), CLIPPED)) or float(np.abs(weights).max()) or 1.0
    scaled = Image.fromarray(np.clip(weights / full, -1, 1).astype(np.float32))
    strength = np.asarray(scaled.resize((width, height), Image.Resampling.BILINEAR))[..., None]
    grey = Image.fromarray(np.rint(pixels.mean(axis=2)).astype(np.uint8)).resize((width, height))
    ground = np.repeat(np.asarray(grey, dtype=np.float32)[..., None], 3, axis=2)
    colour = np.where(strength > 0, np.array(RED, dtype=np.float32), np.array(BLUE, dtype=np.float32))
    opacity = 0.75 * np.abs(strength)
    drawn = Image.fromarray(np.rint(ground * (1 - opacity) + colour * opacity).astype(np.uint8))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return buffer.getvalue()
