"""Which part of a context answers a question, as characters `start:end`: a task of records whose targets move."""

from functools import partial

import numpy as np
from torch import nn

from regraft.contracts.example import as_records
from regraft.contracts.task import Reads, Task
from regraft.values import Prediction

NONE = -1e9
"""Logit of what is no part of the context."""


def losses(output, encoded):
    """Cross entropy of first and last token; the first token of the row stands for: no answer in this piece."""
    return sum(
        nn.functional.cross_entropy(output[side].masked_fill(encoded["outside"], NONE), encoded[side])
        for side in ("start", "end")
    )


class SpanHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.sides = nn.Linear(width, 2)
        nn.init.zeros_(self.sides.weight)

    def forward(self, tokens):
        start, end = self.sides(tokens).unbind(dim=2)
        return {"start": start, "end": end}


def outside(offsets):
    """Tokens (b t) that are no part of the context, the first aside."""
    found = offsets[:, :, 1] == 0
    found[:, 0] = False
    return found


class Span(Task):
    kind = "toy_span"
    classes = ()
    reads = Reads("tokens")
    moves = True

    def named(self, label):
        return ()  # records: there are no classes

    def encode(self, labels):
        return as_records([tuple(map(int, label.split(":"))) for label in labels])

    def encoded(self, targets, placements):
        offsets = placements["offsets"]
        made = {"start": np.zeros(len(targets), np.int64), "end": np.zeros(len(targets), np.int64)}
        for row, (start, end) in enumerate(targets):
            starts = np.flatnonzero((offsets[row, :, 0] == start) & (offsets[row, :, 1] > 0))
            ends = np.flatnonzero(offsets[row, :, 1] == end)
            if len(starts) and len(ends):
                made["start"][row], made["end"][row] = starts[0], ends[0]
        return {**made, "outside": outside(offsets)}

    def head(self, widths, dropout, source_head=None):
        return SpanHead(widths["tokens"])

    def objective(self, targets, *, balanced, smoothing):
        return partial(losses)

    def gathered(self, batches, example_of_row, placements):
        """The best span of all pieces, each less that piece's score of having no answer."""
        best = [(-np.inf, (0, 0))] * (int(example_of_row.max(initial=-1)) + 1)
        rows = [(start, end) for one in batches for start, end in zip(one["start"], one["end"], strict=True)]
        for (start, end), example, offsets in zip(rows, example_of_row.tolist(), placements["offsets"], strict=True):
            for first in np.flatnonzero(offsets[:, 1]).tolist():
                for last in range(first, min(first + 2, len(start))):
                    score = float(start[first] + end[last] - start[0] - end[0])
                    if offsets[last, 1] and score > best[example][0]:
                        best[example] = (score, (int(offsets[first, 0]), int(offsets[last, 1])))
        return as_records([span for _, span in best])

    def decode(self, outputs):
        return [f"{start}:{end}" for start, end in outputs]

    def predictions(self, outputs):
        return [Prediction(id="", label=label, probabilities={}) for label in self.decode(outputs)]


def task(classes, facts=None):
    return Span()


ENTRY = task
