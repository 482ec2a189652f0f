"""Extractive question answering: the span of a context that answers a question, or none.

A context is split into windows, each read after the question. Every token gets a score for being the start of the
answer, and one for being its end; the first token of a row stands for no answer in its window. The answer is the span
with the highest sum over all windows; if some training question has no answer, there is none unless that sum exceeds
the lowest score that a window gives to its first token.

A label is JSON as in SQuAD: a list of `{"text": "Rome", "answer_start": 12}`, empty if there is no answer; training
uses the first one.

Source: Devlin et al. 2019, arXiv:1810.04805, sections 4.2 and 4.3 (the threshold is 0, the default of their script);
transformers' `compute_predictions_logits`.

Letters: n examples, b rows of a batch, t tokens.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from regraft.contracts.example import Example, Inline, as_records
from regraft.contracts.page import Words
from regraft.contracts.task import Reads, Task
from regraft.errors import BadData
from regraft.tasks.answers import overlap, truths
from regraft.values import Json, Prediction
from regraft.words import counted, named

if TYPE_CHECKING:
    from torch import Tensor, nn

BEST, LONGEST = 20, 30
"""Number of candidates for the first and the last token, and maximum length of an answer, as in Devlin et al."""
READS = Reads("tokens", whole=True)
EXPECTED = '[{"text": "Rome", "answer_start": 12}]'


@dataclass(frozen=True)
class Span(Task):
    """Extractive question answering."""

    unanswerable: bool = False
    """Whether questions may have no answer."""
    classes: tuple[str, ...] = ()
    kind: str = "span"
    reads: Reads = READS
    moves: bool = True
    quotes: bool = True
    head_epochs: int = 10

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return whether questions may have no answer."""
        return {"unanswerable": self.unanswerable}

    def words(self) -> Words:
        """Return the names that reports use: answers."""
        none = ", or detects that none does" if self.unanswerable else ""
        return Words(
            output="answer",
            outputs="answers",
            asked="",
            labelled="of a question with its context",
            given=f"the part of the context that answers the question{none}, where it lies and a score",
            purpose=f"Finds the part of a text that answers a question{none}",
            caution="The score ranks answers; it is not a probability. "
            + (
                ""
                if self.unanswerable
                else "Some part of the context is always returned, even if none answers the question. "
            )
            + "Answers are quoted from the context without verification: they are only as reliable as the context.",
            fields="prediction.label, prediction.record",
            probe="head alone",
        )

    def named(self, label: str) -> Sequence[str]:
        """Return nothing: there are no classes."""
        return ()

    def targets(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the targets, as `encode`.

        Raises:
            BadData: an answer is not at the stated position of the context, if the context is available.
        """
        targets, away = self.encode([one.label for one in examples]), list[str]()
        for one, answers in zip(examples, targets, strict=True):
            *_, context = one.contents.values()
            if isinstance(context, Inline) and any(
                not str(context.value).startswith(answer["text"], answer["answer_start"]) for answer in answers
            ):
                away.append(one.id)
        if away:
            raise BadData(
                f"{counted(len(away), 'question')}: an answer is not in the context at its answer_start "
                f"({named(away)}).",
                fix="correct the labels; answer_start counts characters from 0. The context is the last --text-column.",
            )
        return targets

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Return for each example a list of answers with `text` and `answer_start`."""
        return as_records([read_label(label) for label in labels])

    def prepared(self, targets: np.ndarray) -> "Span":
        """Return the task, with `unanswerable` set if some question has no answer."""
        return replace(self, unanswerable=not all(targets))

    def strata(self, targets: np.ndarray) -> Int[np.ndarray, "n"]:
        """Return 1 for questions with an answer."""
        return np.array([bool(one) for one in targets], dtype=np.int64)

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return `start` and `end` (b), the tokens with the answer's first and last character, 0 if the window does not
        contain all of it; and `outside` (b t), the tokens that are neither part of the context nor the first."""
        offsets = placements["offsets"]
        made = np.zeros((len(targets), 2), dtype=np.int64)
        for row, answers in enumerate(targets):
            if not answers:
                continue
            start, end = answers[0]["answer_start"], answers[0]["answer_start"] + len(answers[0]["text"])
            shown = np.flatnonzero(offsets[row, :, 1] > 0)
            begins, ends = offsets[row, shown].T
            if len(shown) and begins[0] <= start and end <= ends[-1]:
                made[row] = shown[[int((begins <= start).sum()) - 1, int((ends < end).sum())]]
        return {"start": made[:, 0], "end": made[:, 1], "outside": _outside(offsets)}

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head: tokens -> `start` and `end` (b t)."""
        from regraft.nn.spans import SpanHead

        return SpanHead(widths[self.reads.readout], dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the cross entropy of the first and the last token."""
        from regraft.nn.spans import span_loss

        return span_loss

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return for each example `text`, `start` and `end` (character positions in the context) of the best span, and
        its `score`: the sum of both sides' scores, minus that of no answer."""
        count = int(example_of_row.max(initial=-1)) + 1
        best, none = [(-np.inf, "", 0, 0)] * count, np.full(count, np.inf)
        rows = [sides for one in batches for sides in zip(one["start"], one["end"], strict=True)]
        every = zip(rows, example_of_row.tolist(), placements["offsets"], placements["letters"], strict=True)
        for (starts, ends), example, offsets, letters in every:
            none[example] = min(none[example], float(starts[0] + ends[0]))
            score, first, last = best_span(starts, ends, offsets[:, 1] > 0)
            if score > best[example][0]:
                start, end, seen = int(offsets[first, 0]), int(offsets[last, 1]), int(_first(offsets))
                text = letters.ravel()[start - seen : end - seen]
                best[example] = (score, text.astype("<i4").tobytes().decode("utf-32-le", "surrogatepass"), start, end)
        return as_records(
            [
                {"text": text, "start": start, "end": end, "score": score - less}
                for (score, text, start, end), less in zip(best, none.tolist(), strict=True)
            ]
        )

    def scores(self, raw: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return the mean F1."""
        said = self.outputs(raw)
        found = [
            max(overlap(truth, one["text"]) for truth in truths([answer["text"] for answer in answers]))
            for one, answers in zip(said, targets, strict=True)
        ]
        return {"f1": float(np.mean(found))}

    def outputs(self, raw: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return the same outputs, with an empty text if the question may have no answer and the score is below 0.
        Scores are rounded to 0.0001, so that saved outputs are equal to those in memory."""
        rounded = [{**one, "score": round(one["score"], 4)} for one in raw]
        return as_records([_NONE | {"score": one["score"]} if self._lacks(one) else one for one in rounded])

    def _lacks(self, one: Mapping[str, Any]) -> bool:
        return self.unanswerable and one["score"] < 0

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return the answer in the form of a label."""
        said = ([{"text": one["text"], "answer_start": one["start"]}] if one["text"] else [] for one in outputs)
        return [json.dumps(one, ensure_ascii=False) for one in said]

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """Return texts, positions and scores."""
        return as_records([{name: one[name] for name in (*_NONE, "score")} for one in records])

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return the text of the answer; empty for no answer."""
        return [Prediction(id="", label=one["text"], probabilities={}) for one in outputs]


_NONE: dict[str, Json] = {"text": "", "start": 0, "end": 0}


def read_label(label: str) -> list[dict[str, Any]]:
    """Return the answers in a label.

    Raises:
        BadData: the label is not JSON of this form.
    """
    try:
        found = json.loads(label)
        if isinstance(found, list) and all(
            isinstance(one["text"], str) and one["text"] and int(one["answer_start"]) >= 0 for one in found
        ):
            return [{"text": one["text"], "answer_start": int(one["answer_start"])} for one in found]
    except (ValueError, TypeError, KeyError):
        pass
    raise BadData(f"The label {label[:60]!r} is not a list of answers.", fix=f"use SQuAD JSON, or write {EXPECTED}.")


def best_span(
    starts: Float[np.ndarray, " t"], ends: Float[np.ndarray, " t"], shown: Bool[np.ndarray, " t"]
) -> tuple[float, int, int]:
    """Return the highest sum of start and end scores over the spans of shown tokens, and the indices of its first and
    last token; minus infinity if no token is shown."""
    tokens = np.flatnonzero(shown)
    first, last = (tokens[np.argsort(-side[tokens], kind="stable")[:BEST]] for side in (starts, ends))
    length = last[None, :] - first[:, None]
    sums = np.where((length >= 0) & (length < LONGEST), starts[first][:, None] + ends[last][None, :], -np.inf)
    if not sums.size:
        return -np.inf, 0, 0
    at = np.unravel_index(int(sums.argmax()), sums.shape)
    return float(sums[at]), int(first[at[0]]), int(last[at[1]])


def _first(offsets: Int[np.ndarray, "t 2"]) -> int:
    """Return the first character position in a window."""
    return int(offsets[offsets[:, 1] > 0, 0][0])


def _outside(offsets: Int[np.ndarray, "b t 2"]) -> Bool[np.ndarray, "b t"]:
    found: np.ndarray = offsets[:, :, 1] == 0
    found[:, 0] = False
    return found


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Span:
    """Return the question answering task."""
    return Span(bool((facts or {}).get("unanswerable")))


ENTRY = task
