"""Questions in SQuAD's JSON, versions 1.1 and 2.0: a file, or a folder with one for each split (`train-v2.0.json`,
`dev-v2.0.json`).

An example is a question with its paragraph; its group is the article. A label is the list of answers in the file, empty
if the paragraph contains none (`is_impossible`).

Source: Rajpurkar et al. 2016, arXiv:1606.05250; Rajpurkar et al. 2018, arXiv:1806.03822.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regraft.contracts.example import Columns, DataSource, Example, Found, Inline
from regraft.errors import BadData
from regraft.files import head, json_tree
from regraft.values import notices
from regraft.words import counted, named, splits_in

HOLDS = ("*.json",)
FORM = (
    '{"data": [{"title": …, "paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": [{"text": …, '
    '"answer_start": …}]}]}]}]}'
)


def accepts(path: Path) -> bool:
    """Return whether `path` is a JSON file that begins like SQuAD's, or a folder with such files."""
    return bool(_files(path))


def open_source(path: Path, columns: Columns) -> Found:
    """Return the questions. Answers may be missing if no labels are required.

    Raises:
        BadData: a file does not have this form; a context or question is empty, an id is repeated, or an answer is not
            at its stated position. Nothing is left out.
    """
    files = _files(path)
    splits = splits_in([file.stem for file in files])
    if len(files) > 1 and len(splits) < len(files):
        odd = [file.name for file in files if file.stem not in splits]
        raise BadData(
            f"{path} contains {len(files)} question files; the names of {named(odd)} do not indicate a split.",
            fix="pass a single file, or use names such as train.json and dev.json.",
        )
    read = _Read(labelled=not columns.unlabelled)
    for file in files:
        read.file(file, splits.get(file.stem) if len(files) > 1 else None)
    return read.found(path)


def _files(path: Path) -> list[Path]:
    """Return the file, or those in the folder. A file is checked less strictly, so that errors can name what is
    missing."""
    wanted = (b'"data"',) if path.is_file() else (b'"data"', b'"paragraphs"')
    found = sorted(path.glob("*.json")) if path.is_dir() else [path] if path.suffix.lower() == ".json" else []
    return [file for file in found if file.is_file() and all(word in _head(file) for word in wanted)]


def _head(file: Path) -> bytes:
    found = head(file)
    return found if found.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") else b""


@dataclass
class _Read:
    """Questions read so far."""

    labelled: bool
    examples: list[Example] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """Ids by problem."""

    def file(self, file: Path, split: str | None) -> None:
        """Add the questions of one file."""
        tree = json_tree(file)
        for at, article in _each(tree, "data", file.name):
            group = str(article.get("title") or f"{file.stem} article {at}")
            for number, paragraph in _each(article, "paragraphs", f"{file.name}: article {at}"):
                where = f"{file.name}: article {at}, paragraph {number}"
                context = _of(paragraph, "context", str, where)
                for place, asked in _each(paragraph, "qas", where):
                    self.question(asked, context, f"{where}, question {place}", group, split)

    def question(self, asked: Mapping[str, Any], context: str, where: str, group: str, split: str | None) -> None:
        """Add one question."""
        name, question = str(_of(asked, "id", str | int, where)), _of(asked, "question", str, where)
        answers = list[dict[str, Any]]()
        if self.labelled or "answers" in asked:
            for at, one in _each(asked, "answers", where):
                text = _of(one, "text", str, f"{where}, answer {at}")
                start = _of(one, "answer_start", int, f"{where}, answer {at}")
                answers.append({"text": text, "answer_start": start})
        impossible = bool(asked.get("is_impossible", False))
        if impossible:
            answers = []  # version 2 has none; `plausible_answers` are wrong
        for what, is_so in (
            ("has an id that occurred before", name in self.seen),
            ("has an empty context", not context.strip()),
            ("has an empty question", not question.strip()),
            ("has no answer and is not marked is_impossible", self.labelled and not (answers or impossible)),
            ("has an answer that is not in the context at its answer_start", any(_away(context, a) for a in answers)),
        ):
            if is_so:
                self.wrong.setdefault(what, []).append(name)
        self.seen.add(name)
        contents = {"question": Inline(question), "context": Inline(context)}
        label = json.dumps(answers, ensure_ascii=False)
        self.examples.append(Example(id=name, contents=contents, label=label, group=group, split=split))

    def found(self, path: Path) -> Found:
        """Return everything, if there are no problems."""
        if self.wrong:
            several = [f"{counted(len(ids), 'question')} {what} ({named(ids)})" for what, ids in self.wrong.items()]
            raise BadData(
                f"{path}: {'; '.join(several)}.",
                fix="correct the file, or remove these questions; answer_start counts characters from 0, not bytes.",
            )
        if not self.examples:
            raise BadData(f"{path} holds no questions.", fix=f"expected is {FORM}.")
        none = sum(one.label == "[]" for one in self.examples) if self.labelled else 0
        notes = [f"{counted(none, 'question has', 'questions have')} no answer in the context."] if none else []
        return Found(examples=tuple(self.examples), modality="text", notes=notices(notes), task="span")


def _away(context: str, answer: Mapping[str, Any]) -> bool:
    """Return whether an answer is empty or does not begin at its stated position."""
    start, text = answer["answer_start"], answer["text"]
    return start < 0 or not text.strip() or not context.startswith(text, start)


def _each(record: Any, name: str, where: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the records in a list of a record, numbered from 0."""
    for at, one in enumerate(_of(record, name, list, where)):
        if not isinstance(one, Mapping):
            raise BadData(f"{where}: {name} {at} is {one!r:.60}; expected an object.", fix=f"expected is {FORM}.")
        yield at, one


def _of(record: Any, name: str, kind: Any, where: str) -> Any:
    """Return the value under a name in a record."""
    value = record.get(name) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadData(f"{where}: {name} is {value!r:.60}.", fix=f"expected is {FORM}.")
    return value


ENTRY = DataSource(accepts=accepts, open=open_source)
"""SQuAD JSON."""
