"""The target tasks that transfer is proven on: the shared sets, from near to far, and digits as a far domain."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _sets import SETS, UNPACKED, Set
from PIL import Image

from regraft.identity import derive_seed

DIGITS_TEST = 50
"""Digits of each class that test."""


@dataclass(frozen=True, kw_only=True)
class Digits(Set):
    """scikit-learn's 1,797 handwritten digits (the test part of UCI's optical digits; 8 x 8, 17 greys) as pictures.

    Fifty of each class, drawn by a fixed seed, test; who wrote a digit is not known.
    """

    def open(self) -> Path:
        """The folder of pictures, written where it is not yet."""
        root = UNPACKED / self.name
        if not root.is_dir():
            from sklearn.datasets import load_digits

            found, partial = load_digits(), UNPACKED / f"{self.name}.part"
            order = np.random.default_rng(derive_seed(0, "digits")).permutation(len(found.target))
            for label in range(10):
                for rank, at in enumerate(order[found.target[order] == label]):
                    folder = partial / ("test" if rank < DIGITS_TEST else "train") / str(label)
                    folder.mkdir(parents=True, exist_ok=True)
                    grey = np.round(found.images[at] * (255 / 16)).astype(np.uint8)
                    Image.fromarray(grey).save(folder / f"{at:04d}.png")
            partial.rename(root)
        return root


TARGETS: dict[str, Set] = {
    name: {**SETS, "digits": Digits(name="digits")}[name]
    for name in ("hymenoptera", "plantvillage_tomato", "chest_xray_pneumonia", "breast_histology", "digits")
}
DOMAINS = {
    "hymenoptera": "photographs",
    "plantvillage_tomato": "photographs of leaves",
    "chest_xray_pneumonia": "X-rays",
    "breast_histology": "stained tissue",
    "digits": "handwritten digits",
}
"""What the pictures of each set are; from those nearest to the source corpus to the farthest."""
