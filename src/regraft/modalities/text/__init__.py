"""Texts: reading, tokens, fingerprints.

This file implements the modality's interface. The other files are imported on first use, so that runs on other data do
not load them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from regraft.contracts.example import SHOWN, Content, Contents, Example, Inline
from regraft.contracts.family import Card
from regraft.contracts.modality import Modality, Placement, Record, Shapes, View
from regraft.errors import BadRecipe, Undecodable, UnknownName
from regraft.identity import derive_seed, digest_bytes
from regraft.values import Notice, notices
from regraft.words import counted, named

PREVIEW = 160
"""Number of characters of a preview."""
GOLDEN_WORDS = (
    "the", "a", "of", "to", "and", "in", "is", "was", "not", "very", "good", "bad", "film", "message", "free", "call",
    "tomorrow", "please", "strange", "Zürich", "naïve", "42", "3.14", "£100", ":-)", "“so”", "…", "unquestionably",
    "antidisestablishmentarianism", "今日",
)  # fmt: skip
"""Vocabulary of the golden texts."""
GOLDEN_LENGTHS = (3, 12, 40, 150)
"""Number of words of each golden text."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of texts: none, only the plain view exists."""

    @property
    def varies(self) -> bool:
        return False

    def digest_fields(self) -> Mapping[str, Any]:
        return {}


class TextModality(Modality):
    """Messages, sentences, reviews or documents, or pairs of texts."""

    name = "text"
    one, many = "text", "texts"
    layout = 1
    measured = (
        ("characters", "<i4"),  # of all contents together
        ("encoding", "S16"),  # if it is not UTF-8
        ("bits", "u1", 32),  # for finding near-duplicates
    )
    Augmentation = Augmentation
    standalone_packages = ("tokenizers",)
    inline = True
    columns = ("text", "sentence", "message", "review", "document", "tweet", "comment")
    baselines = ("tfidf", "sentence", "nearest")
    gives_way = True
    near_copy_rule = "5 256 20"  # characters, bits, maximum number of differing bits

    def __getattr__(self, name: str) -> Any:
        if name == "Preparation":
            from regraft.modalities.text.tokens import Preparation

            return Preparation
        raise AttributeError(name)

    def claims(self, name: str, head: Callable[[], bytes]) -> bool:
        return name.lower().endswith(".txt")

    def fingerprint(self, contents: Contents, limit: int = 0) -> Shaped[np.ndarray, ""]:
        from regraft.modalities.text.fingerprint import measure

        return measure(contents, self.row)

    def identity(self, contents: Contents) -> tuple[str, bool]:
        from regraft.modalities.text.fingerprint import digest
        from regraft.modalities.text.read import text_of

        return digest(contents, tuple(map(text_of, contents.values()))), False

    def near_copies(self, prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
        from regraft.modalities.text.fingerprint import near_pairs

        return near_pairs(prints)

    def reader(self, *, optional: bool = False) -> str:
        return "text-1"

    def grouped(
        self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"]
    ) -> tuple[Sequence[Example], Sequence[Notice]]:
        encodings = prints["encoding"]
        notes = []
        for encoding in sorted(set(encodings.tolist()) - {b""}):
            ids = [examples[at].id for at in np.flatnonzero(encodings == encoding).tolist()]
            text = f"{counted(len(ids), 'text is', 'texts are')} not UTF-8 and read as {encoding.decode()}: "
            notes.append(Notice(text=f"{text}{named(ids)}.", topic="data"))
        return examples, notes

    def augmentation(self, name: str, changes: Mapping[str, Any]) -> Any:
        if name not in ("default", "none"):
            raise UnknownName("augmentation of texts", name, ["default", "none"])
        if changes:
            raise BadRecipe(f"augment.{next(iter(changes))} is set, but texts have no augmentation.",
                            fix="leave out [augment].")  # fmt: skip
        return Augmentation()

    def load(self, contents: Contents, preparation: Any, view: View | None, piece: int = 0) -> tuple[Record, Placement]:
        texts = _given(contents, preparation)
        placement = dict[str, np.ndarray]()
        if preparation.windowed:
            window = preparation.windows(*texts)[0][piece]
            ids, types, placement = window.ids, window.types, {"offsets": window.offsets, "letters": window.letters}
        else:
            found = preparation.encoded(*texts)
            ids, types = np.array(found.ids, dtype=np.int32), np.array(found.type_ids, dtype=np.int32)
        if not len(ids):
            raise Undecodable("it has no tokens", str(next(iter(contents.values()))))
        record = {"ids": ids, "mask": np.ones(len(ids), dtype=bool), **({"types": types} if preparation.types else {})}
        if preparation.language:
            from regraft.modalities.text.language import posed

            record["ids"], record["truth"], size = posed(window, preparation, view)
            placement = {"bytes": np.array(size, dtype=np.int32)}
        if preparation.max_target_tokens:
            # Both texts are padded to the longer one, since a row has one length; the mask is the source's.
            record["decoder"] = preparation.shown(contents)
            length = max(map(len, record.values()))
            record = {name: np.pad(array, (0, length - len(array))) for name, array in record.items()}
        return record, placement

    def whole(self, preparation: Any) -> Any:
        from regraft.modalities.text.tokens import OVERLAP

        return replace(preparation, overlap=OVERLAP)

    def itself(self, preparation: Any, parts: str) -> Any:
        if parts != "tokens":
            return super().itself(preparation, parts)
        from regraft.modalities.text.language import as_language

        return as_language(preparation)

    def varies(self, augmentation: Any, preparation: Any) -> bool:
        return bool(preparation.language and preparation.predicts == "masked")  # in every view others are hidden

    def pieces(self, contents: Contents, preparation: Any) -> int:
        from regraft.modalities.text.read import text_of

        return len(preparation.windows(*map(text_of, contents.values()))[0]) if preparation.windowed else 1

    def placements(self, preparation: Any, augmentation: Any = None) -> Shapes:
        from regraft.modalities.text.tokens import WIDE

        if preparation.language:
            return {"bytes": ((), "int32")}
        return {"offsets": ((None, 2), "int32"), "letters": ((None, WIDE), "int32")} if preparation.windowed else {}

    def shapes(self, preparation: Any) -> Shapes:
        numbers: tuple[tuple[int | None, ...], str] = ((None,), "int32")
        more = {
            "types": preparation.types, "decoder": preparation.max_target_tokens, "truth": preparation.language
        }  # fmt: skip
        return {"ids": numbers, "mask": ((None,), "bool"), **{name: numbers for name in more if more[name]}}

    def golden(self, seed: int, preparation: Any) -> list[Contents]:
        texts = [Inline(text) for text in _golden(seed)]
        if preparation.windowed and not preparation.language:  # the last ones have several windows
            return [{"question": texts[0], "context": Inline(" ".join([one.value] * 4))} for one in texts]
        return [{"text": text} for text in texts]

    def golden_digests(self, seed: int, preparation: Any) -> list[str]:
        return [digest_bytes(text.encode()) for text in _golden(seed)]

    def given(self, value: Any) -> Contents:
        from regraft.modalities.text.read import contents_of

        return contents_of(value)

    def is_one(self, value: Any) -> bool:
        return not isinstance(value, list) and not hasattr(value, "__next__")

    def check(self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"], card: Card) -> Sequence[Notice]:
        """Report texts that are too long for the network. A text has at most a few more tokens than characters."""
        from regraft.modalities.text.read import text_of

        most, prepared = card.preparation.max_tokens, card.preparation
        if prepared.language:
            return ()
        if prepared.overlap:
            cut = [one.id for one in examples if prepared.windows(*map(text_of, one.contents.values()))[1]]
            many = counted(len(cut), "question has", "questions have")
            text = f"{many} more than {most // 4} tokens; the rest is ignored: {named(cut)}."
            return notices([text] if cut else [])
        limit = min(most, prepared.max_target_tokens or most)
        long = [examples[at] for at in np.flatnonzero(prints["characters"] > limit - 8).tolist()]
        cut = [one.id for one in long if prepared.encoded(*_given(one.contents, prepared)).overflowing]
        many = counted(len(cut), "text has", "texts have")
        text = f"{many} more than the {most} tokens that {card.name} reads; the rest is ignored: {named(cut)}."
        return notices([*([text] if cut else []), *prepared.cut_off(long)])

    def standalone(self) -> str:
        from regraft.modalities.text.standalone import SCRIPT

        return SCRIPT

    def handed(self, preparation: Any) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        file = "tokenizer.json"
        return {**preparation.to_json(), "tokenizer": file}, {file: preparation.tokenizer.encode()}

    def filed(self, contents: Contents, preparation: Any) -> tuple[str, bytes]:
        from regraft.modalities.text.read import text_of

        texts = [text_of(one) for one in contents.values()]
        return ".json", json.dumps([texts if len(texts) > 1 else texts[0]]).encode()

    def preview(self, content: Content) -> bytes | str:
        from regraft.modalities.text.read import text_of

        text = " ".join(text_of(content).split())
        return text if len(text) <= PREVIEW else f"{text[: PREVIEW - 1]}…"


def _given(contents: Contents, preparation: Any) -> tuple[str, ...]:
    """Return the texts given to the network, without the decoder's target."""
    from regraft.modalities.text.read import text_of

    first, *more = (text_of(one) for name, one in contents.items() if name != SHOWN)
    return (preparation.prefix + first, *more)


def _golden(seed: int) -> list[str]:
    """Return the golden texts, generated from raw PCG64 output only."""
    source = np.random.PCG64(derive_seed(seed, "golden", "text"))
    words = [source.random_raw(length) % np.uint64(len(GOLDEN_WORDS)) for length in GOLDEN_LENGTHS]
    return [" ".join(GOLDEN_WORDS[int(at)] for at in chosen) for chosen in words]


ENTRY = TextModality()
