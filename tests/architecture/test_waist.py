"""Below the waist the code knows only tensors: no modality's word stands there, not even in a comment."""

import ast
import re
from pathlib import Path

import pytest

from regraft.contracts.task import TASKS

BELOW = ("activations", "evaluation", "strategies", "tasks")
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


KNOWN = ("data/dataset.py", "data/labels.py", "data/learnable.py")
"""Where examples get their labels, before there is a task: these still ask which kind it will be."""
KINDS = set(TASKS.names())


def named_kinds(source: str) -> list[int]:
    """The lines that compare something with the name of a task."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        for leaf in ast.walk(side)
        if isinstance(leaf, ast.Constant) and leaf.value in KINDS
    ]


def test_nothing_outside_tasks_and_metrics_asks_for_the_name_of_a_task(package: Path, sources: dict[Path, str]) -> None:
    allowed = {package / "tasks", package / "evaluation" / "metrics", *(package / known for known in KNOWN)}
    found = [
        f"{path.relative_to(package)}:{line}"
        for path, text in sources.items()
        if not allowed & {path, *path.parents}
        for line in named_kinds(text)
    ]
    assert not found, "let the task say it, with a method, an attribute or its words:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('if task.kind == "ordinal": ...', [1]),
        ('\nx = kind in ("regression", "multilabel")', [2, 2]),
        ('kind = "ordinal"', []),
        ('if name == "probe": ...', []),
    ],
)
def test_the_checker_finds_comparisons_with_the_name_of_a_task(source: str, lines: list[int]) -> None:
    assert named_kinds(source) == lines
