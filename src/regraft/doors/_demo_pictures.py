"""Pictures for the demonstration, from what dependencies carry: letters to learn from, digits to transfer to.

Letters are rendered with the fonts that matplotlib brings, turned, sheared, stretched, coarsened, with noise; no digit
is among them. The digits are scikit-learn's handwritten ones (UCI, 8x8 grey levels), written as PNG files.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghknqrty"
"""Letters that neither are one another's twins nor look like a digit."""
FONTS = tuple(
    f"{family}{style}.ttf"
    for family, styles in {
        "DejaVuSans": ("", "-Bold", "-Oblique"),
        "DejaVuSansMono": ("", "-Bold"),
        "DejaVuSerif": ("", "-Bold", "-Italic"),
        "STIXGeneral": ("", "Bol", "Italic"),
    }.items()
    for style in styles
)
SIDE_PX = 40
"""Side of every picture."""
CANVAS_PX = 128
"""Side of the canvas that a letter is drawn on before it is made small."""


def write_letters(root: Path, *, per_class: int, seed: int) -> None:
    """`root/letter_X/N.png`: `per_class` pictures of each letter."""
    random = np.random.default_rng(seed)
    for letter in LETTERS:
        folder = root / f"letter_{'upper' if letter.isupper() else 'lower'}_{letter}"
        _write(folder, [_letter(letter, random) for _ in range(per_class)])


def write_digits(root: Path, *, train_per_class: int, test_per_class: int, seed: int) -> None:
    """`root/{train,test}/N/…png`, drawn from scikit-learn's digits by `seed`; no digit is in both."""
    from sklearn.datasets import load_digits

    random, digits = np.random.default_rng(seed), load_digits()
    for number in range(10):
        rows = random.permutation(np.flatnonzero(digits.target == number))[: train_per_class + test_per_class]
        pictures = [_digit(digits.images[row]) for row in rows]
        _write(root / "train" / str(number), pictures[:train_per_class])
        _write(root / "test" / str(number), pictures[train_per_class:])


def _write(folder: Path, pictures: Sequence[UInt8[np.ndarray, "_ _"]]) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:04d}.png")


def _letter(letter: str, random: np.random.Generator) -> UInt8[np.ndarray, "40 40"]:
    import matplotlib as mpl
    from PIL import Image, ImageDraw, ImageFont

    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(str(fonts / FONTS[random.integers(len(FONTS))]), 70)
    canvas = Image.new("L", (CANVAS_PX, CANVAS_PX), 0)
    middle = CANVAS_PX / 2
    ImageDraw.Draw(canvas).text(
        (middle, middle), letter, fill=255, font=font, anchor="mm", stroke_width=int(random.integers(0, 4))
    )
    left, upper, right, lower = canvas.getbbox() or (0, 0, CANVAS_PX, CANVAS_PX)
    angle, shear = np.deg2rad(random.uniform(-12, 12)), random.uniform(-0.2, 0.2)
    scale = max(right - left, lower - upper) / (random.uniform(0.75, 0.98) * 0.8 * CANVAS_PX)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    warp = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(scale * random.uniform(0.9, 1.1, 2))
    centre = np.array([left + right, upper + lower]) / 2
    shift = centre - warp @ (np.full(2, middle) + random.uniform(-0.04, 0.04, 2) * CANVAS_PX)
    matrix = (*warp[0], shift[0], *warp[1], shift[1])
    turned = canvas.transform(canvas.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    coarse = int(random.choice([8, 10, 12, 16]))
    small = turned.resize((coarse, coarse), Image.Resampling.BOX).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    low, high = random.uniform(0, 0.2), random.uniform(0.7, 1.0)
    values = low + (high - low) * np.asarray(small, dtype=float) / 255
    values += random.normal(0, random.uniform(0, 0.04), values.shape)
    grey: np.ndarray = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    return grey


def _digit(image: np.ndarray) -> UInt8[np.ndarray, "40 40"]:
    from PIL import Image

    small = Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8)).resize((32, 32), Image.Resampling.BILINEAR)
    picture = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    picture.paste(small, ((SIDE_PX - 32) // 2,) * 2)
    return np.asarray(picture)
