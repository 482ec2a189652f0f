"""An answer in words, generated one after another: a task of records that takes its vocabulary from the preparation."""

import copy
from dataclasses import dataclass

import numpy as np
from torch import nn

from regraft.contracts.example import as_records
from regraft.contracts.task import Reads, Task
from regraft.values import Prediction
from toy_texts.words import END, PAD, Preparation, words


def loss_of(output, encoded):
    return nn.functional.cross_entropy(output.flatten(0, 1), encoded.flatten(), ignore_index=PAD)


@dataclass(frozen=True)
class Sequence(Task):
    preparation: Preparation | None = None
    kind = "toy_sequence"
    classes = ()
    reads = Reads("tokens")
    generates = True

    def for_preparation(self, preparation):
        return Sequence(preparation)

    def named(self, label):
        return ()  # records: there are no classes

    def encode(self, labels):
        return as_records([" ".join(words(label)) for label in labels])

    def encoded(self, targets, placements):
        made = np.full((len(targets), self.preparation.answer), PAD)
        for row, target in zip(made, targets, strict=True):
            numbers = [*self.preparation.numbers(target.split()), END][: len(row)]
            row[: len(numbers)] = numbers
        return made

    def head(self, widths, dropout, source_head=None):
        if source_head is not None:
            return copy.deepcopy(source_head).requires_grad_(True)
        return nn.Linear(widths["tokens"], self.preparation.size, bias=False)

    def objective(self, targets, *, balanced, smoothing):
        return loss_of

    def gathered(self, batches, example_of_row, placements):
        rows = [row.tolist() for batch in batches for row in batch]
        return as_records([row[: row.index(END)] if END in row else row for row in rows])

    def outputs(self, raw, temperature=1.0):
        return as_records([self.preparation.text(numbers) for numbers in raw])

    def decode(self, outputs):
        return list(outputs)

    def predictions(self, outputs):
        return [Prediction(id="", label=text, probabilities={}) for text in outputs]


def task(classes, facts=None):
    return Sequence()


ENTRY = task
