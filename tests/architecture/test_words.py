"""The words of the project: what users and developers read says it as the field does.

Docstrings and string literals of the package, the README and the documentation (without the results, which are records
of what was measured) are searched for phrases that have a better one.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

PHRASES = {
    "picture": r"\bpictures?\b",
    "part, for a split": r"\b(?:train|training|val|validation|test)[ -]parts?\b|\bparts? (?:train|val|test)\b",
    "answer, for a prediction": r"\banswer(?:s|ed|ing)?\b",
    "rate, alone": r"(?<!learning )(?<!sampling )(?<!positive )(?<!negative )(?<!accept )(?<!error )\brates?\b",
    "tag, for a label": r"\btags?\b",
    "goals, for encoded targets": r"\bgoals?\b",
    "unlike, for the OOD score": r"\bunlike\b(?= (?:inputs?|the training|the data)|[`:.])",
    "what is taken for what": r"\bwhat is taken for what\b|\blearned by heart\b|\bwhere to draw the line\b",
    "half, for a number format": r"\bhalf (?:precision|floats?)\b|\bin half\b(?! (?:the|decades))",
    "resample, growth, average of weights": r"\bresample the classes\b|\bgrowth of inputs\b|\baverage of the weights\b",
    "sleep, wake": r"\b(?:sleep|sleeps|asleep|wake|wakes|woken)\b(?!\()",
    "spread, for standard deviation": r"\bspreads?\b(?! evenly)",
    "least, most": r"\bat (?:the )?least\b(?=$)|\bthe least and the (?:most|greatest)\b|\bthe least, the\b",
    "is no, fits not, anew": r"\bis no (?:duration|number|regular|date|column|probability)\b|\bfits? not\b|\banew\b",
    "masculine pronoun": r"\bhe\b(?! et al)|\b(?:him|himself)\b|\bhis own\b",
}
"""What is searched for, without regard to case. Contexts that are allowed are part of the pattern: a learning rate, a
false positive rate."""
INNOCENT = {
    "tag, for a label": r"tag[ :]|git|html|<|docker|release|average precision|batch size",
    "answer, for a prediction": r"question",
}
"""A line of the documentation with one of these may have the phrase: a tag of a release, of HTML; an answer to a
question."""

OWN = {
    "tag, for a label": ("backbones/fetch.py", "backbones/timm.py", "modalities/image/_pillow.py", "nn/receptive.py"),
    "answer, for a prediction": (
        "data/sources/squad.py", "evaluation/metrics/answers.py", "nn/spans.py", "tasks/answers.py", "tasks/span.py",
        "docs/how-to/questions.md",
    ),
}  # fmt: skip
"""Files in which a word is what the field calls so: a tag of weights in timm, a revision on the hub, in a TIFF, of an
operator; an answer to a question."""


def texts(source: str) -> list[str]:
    """Docstrings and string literals."""
    return [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def phrases(text: str) -> list[str]:
    """The names of the phrases in a text, each as often as it stands there."""
    return [name for name, pattern in PHRASES.items() for _ in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE)]


def pages(root: Path) -> list[Path]:
    return [
        root / "README.md",
        *(path for path in sorted((root / "docs").rglob("*.md")) if "results" not in path.parts),
    ]


def test_the_field_has_one_word_for_each_thing(root: Path, package: Path, sources: dict[Path, str]) -> None:
    found: Counter[str] = Counter()
    for path, source in sources.items():
        place = path.relative_to(package).as_posix()
        names = (name for text in texts(source) for name in phrases(text))
        found.update(f"{place}: {name}" for name in names if place not in OWN.get(name, ()))
    for path in pages(root):
        place = path.relative_to(root).as_posix()
        for line in path.read_text(encoding="utf-8").splitlines():
            names = (name for name in phrases(line) if place not in OWN.get(name, ()))
            found.update(f"{place}: {name}" for name in names if not re.search(INNOCENT.get(name, "$^"), line, re.I))
    assert not found, f"write the field's word (docs/contributing, words): {dict(found)}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Pictures are read.", "picture"),
        ("The test part is empty.", "part, for a split"),
        ("the rate falls", "rate, alone"),
        ("The user divides the data himself.", "masculine pronoun"),
        ("is no duration", "is no, fits not, anew"),
        ("kept in half precision", "half, for a number format"),
    ],
)
def test_the_checker_finds_an_old_word(text: str, name: str) -> None:
    assert phrases(text) == [name]


@pytest.mark.parametrize(
    "text",
    ["the learning rate", "a false positive rate", "average precision", "batch size", "spread evenly", "part of it"],
)
def test_the_checker_lets_the_fields_own_words_pass(text: str) -> None:
    assert phrases(text) == []
