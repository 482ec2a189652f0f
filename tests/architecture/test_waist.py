"""Below the waist the code knows only tensors: no modality's word stands there, not even in a comment."""

import re
from pathlib import Path

import pytest

BELOW = ("activations", "evaluation", "strategies", "tasks")
WAIST = (
    "contracts",
    "workbench/session.py",
    *(f"backbones/{name}.py" for name in ("backbone", "convert", "fetch", "opening", "shipped")),
)
"""What serves every modality alike, though it stands above the waist or carries what does."""
KNOWN = {
    # Prose that shows what an abstract word means by the one example that everybody knows; and what a preview is.
    "contracts/example.py": 2,
    "contracts/modality.py": 5,
    # The default modality of cards, and sizes in pixels, which belong into the preparation.
    "contracts/family.py": 32,
    "backbones/convert.py": 3,
    "backbones/opening.py": 10,
    "backbones/shipped.py": 1,
}
"""How often a modality's word still stands in each. These numbers may only fall."""
SINGULAR = [
    *(
        "bitmap",
        "gray",
        "grey",
        "image",
        "jpeg",
        "photo",
        "photograph",
        "picture",
        "pixel",
        "png",
        "px",
        "rgb",
        "video",
    ),
    *("audio", "recording", "speech", "spectrogram", "utterance", "waveform"),
    *("gene", "paragraph", "radiograph"),
]
"""Not here, for their innocent uses: text (of a message), token and sentence (prose), sound (an argument)."""
WORDS = {word + plural for word in SINGULAR for plural in ("", "s")}


def modality_words(source: str) -> list[tuple[int, str]]:
    """Line number and word, for each modality's word in names, strings, docstrings and comments alike."""
    # num_images, ImageStore and PIL.Image fall apart into their words; ImageNet does too.
    return [
        (number, word)
        for number, line in enumerate(source.splitlines(), start=1)
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", line)
        if word.lower() in WORDS
    ]


@pytest.mark.parametrize("room", BELOW)
def test_no_modality_is_named_below_the_waist(room: str, package: Path, sources: dict[Path, str]) -> None:
    inside = {path: text for path, text in sources.items() if package / room in path.parents}
    assert inside, f"the room {room} is empty"
    found = [
        f"{path.relative_to(package)}:{line}: {word}"
        for path, text in inside.items()
        for line, word in modality_words(text)
    ]
    assert not found, "say example or input:\n" + "\n".join(found)


def test_what_serves_every_modality_names_none_but_where_it_is_known(package: Path, sources: dict[Path, str]) -> None:
    inside = {path: text for path, text in sources.items() if path.relative_to(package).as_posix().startswith(WAIST)}
    assert len(inside) > len(WAIST)
    found = {
        path.relative_to(package).as_posix(): words for path, text in inside.items() if (words := modality_words(text))
    }
    more = {name: words for name, words in found.items() if len(words) > KNOWN.get(name, 0)}
    assert not more, f"say example or input: {more}"
    fewer = {name: len(found.get(name, ())) for name, count in KNOWN.items() if len(found.get(name, ())) < count}
    assert not fewer, f"fewer than known; lower these numbers: {fewer}"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def f(images): ...", "images"),
        ("num_pixels = 1", "pixels"),
        ("class ImageStore: ...", "Image"),
        ("size_px: int", "px"),
        ("from PIL import Image", "Image"),
        ("x = 1  # one photo", "photo"),
        ('"""Takes a picture."""', "picture"),
        ("x = 'RGB'", "RGB"),
        ("loadAudio()", "Audio"),
    ],
)
def test_the_checker_finds_a_word_wherever_it_stands(source: str, word: str) -> None:
    assert modality_words(f"\n{source}") == [(2, word)]


@pytest.mark.parametrize("source", ["imagine(1)", "notice.text", "photon = graphics", "example = inputs", "supixel"])
def test_the_checker_lets_other_words_pass(source: str) -> None:
    assert modality_words(source) == []
