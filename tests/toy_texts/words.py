"""Texts as the numbers of their words, over a vocabulary that is learned from the training examples.

What a record holds follows from the preparation: the words of one text; or a source text beside the answer that a
decoder is shown.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass, replace

import numpy as np

from regraft.contracts.example import File, Inline
from regraft.contracts.modality import Modality
from regraft.errors import Undecodable
from regraft.identity import digest_contents

PAD, UNKNOWN, START, END = range(4)
RESERVED = 4


@dataclass(frozen=True, kw_only=True)
class Preparation:
    size: int = 64
    """Rows of the network's table of word vectors."""
    vocabulary: tuple[str, ...] = ()
    answer: int = 0
    """Words of the answer that a decoder is shown, its end included; 0: there is no decoder."""

    def digest_fields(self):
        return {"rule": "words-1", **self.to_json()}

    def to_json(self):
        return asdict(self)

    @staticmethod
    def from_json(value):
        return Preparation(**{**value, "vocabulary": tuple(value["vocabulary"])})

    def numbers(self, words):
        known = {word: RESERVED + at for at, word in enumerate(self.vocabulary)}
        return [known.get(word, UNKNOWN) for word in words]

    def text(self, numbers):
        return " ".join(self.vocabulary[number - RESERVED] for number in numbers if number >= RESERVED)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    varies = False

    def digest_fields(self):
        return {}


def text_of(content):
    if isinstance(content, File):
        return content.path.read_text()
    if not isinstance(content.value, str):
        raise Undecodable("it is no text", fix="give a text.")
    return content.value


def words(text):
    return re.findall(r"\w+|[^\w\s]", text.lower())


class Words(Modality):
    name = "words"
    one, many = "text", "texts"
    layout = 1
    measured = ()
    Preparation = Preparation
    Augmentation = Augmentation
    inline = True
    near_copy_rule = "none"

    def claims(self, name, head):
        return name.endswith(".txt")

    def fingerprint(self, contents, limit=0):
        row = np.zeros((), dtype=self.row)
        row["content"] = row["decoded"] = np.frombuffer(bytes.fromhex(self.identity(contents)[0]), dtype="u1")
        return row

    def identity(self, contents):
        joined = "\0".join(f"{name}\0{text_of(content)}" for name, content in contents.items())
        return digest_contents(joined.encode()), False

    def near_copies(self, prints):
        return np.zeros((0, 2), dtype=np.int64)

    def reader(self, *, optional=False):
        return "words-1"

    def augmentation(self, name, changes):
        return Augmentation()

    def fitted(self, preparation, contents):
        if preparation.vocabulary:
            return preparation
        seen = Counter(word for one in contents for content in one.values() for word in words(text_of(content)))
        most = sorted(seen, key=lambda word: (-seen[word], word))[: preparation.size - RESERVED]
        return replace(preparation, vocabulary=tuple(most))

    def load(self, contents, preparation, view, piece=0):
        texts = [words(text_of(content)) for content in contents.values()]
        first, more = texts[0], {}
        if preparation.answer:
            shown = preparation.numbers(texts[1]) if len(texts) > 1 else []
            decoder = [START, *shown][: preparation.answer]
            more = {"decoder": np.pad(np.array(decoder, dtype=np.int64), (0, preparation.answer - len(decoder)))}
        ids = np.array(preparation.numbers(first) or [UNKNOWN], dtype=np.int64)
        return {"ids": ids, "mask": np.ones(len(ids), dtype=bool), **more}, {}

    def shapes(self, preparation):
        decoder = {"decoder": ((preparation.answer,), "int64")} if preparation.answer else {}
        return {"ids": ((None,), "int64"), "mask": ((None,), "bool"), **decoder}

    def golden(self, seed, preparation):
        texts = [f"word{seed} . , word", "a text of golden words"]
        return [{"text": Inline(text)} for text in texts]

    def golden_digests(self, seed, preparation):
        return [self.identity(contents)[0] for contents in self.golden(seed, preparation)]

    def given(self, value):
        if not isinstance(value, str):
            raise Undecodable("it is no text", fix="give a text.")
        return {"text": Inline(value)}

    def is_one(self, value):
        return isinstance(value, str)

    def preview(self, content):
        return text_of(content)[:40]


ENTRY = Words()
