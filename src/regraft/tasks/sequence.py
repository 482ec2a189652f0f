"""Sequence to sequence: text from text, such as translation, by an encoder with a decoder.

A label is the target text. In training the decoder reads it shifted by one token (teacher forcing), and the loss is the
cross entropy of the next token; for metrics and predictions, texts are generated greedily or by beam search.

Source: Sutskever et al. 2014, arXiv:1409.3215; Williams & Zipser 1989 (teacher forcing); Szegedy et al. 2016,
arXiv:1512.00567 (label smoothing). Letters: n examples, b rows of a batch, t tokens, v vocabulary size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from regraft.contracts.example import as_records, check_weighable
from regraft.contracts.page import Words
from regraft.contracts.task import Reads, Task
from regraft.errors import BadRequest, MissingExtra
from regraft.values import Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn

READS = Reads("tokens")
IGNORED = -100
"""Padding in encoded targets, ignored by the loss."""


@dataclass(frozen=True)
class Writing(Task):
    """Text generation, token by token."""

    beams: int = 1
    """Number of beams; 1 for greedy decoding."""
    preparation: Any = None
    """The preparation with the vocabulary; None until known."""
    kind: str = "sequence"
    classes: tuple[str, ...] = ()
    reads: Reads = READS
    generates: bool = True
    forced: bool = True
    head_epochs: int = 3
    named_where: str = "--backbone seq2seq:FOLDER@pretrained"
    """How to specify a network with a decoder, for error messages."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the number of beams."""
        return {"beams": self.beams}

    @property
    def generation(self) -> Mapping[str, Any]:
        """Return the number of beams and the maximum number of tokens, under the names of transformers' `generate`; and
        the `prompt` that every text begins with, if there is one."""
        prompt = self.preparation.prompt
        return {
            "num_beams": self.beams,
            "max_new_tokens": self.preparation.max_target_tokens - len(prompt),
            **({"prompt": prompt} if prompt else {}),
        }

    def words(self) -> Words:
        """Return the names that reports use: texts."""
        return Words(
            output="text",
            outputs="texts",
            asked="of target texts",
            labelled="with a target text each",
            given="a text",
            purpose="Generates texts from texts, as in the pairs the model was trained on",
            caution="Generated text may be fluent but wrong: content, names and numbers can be omitted, added or "
            "changed. Have important texts checked by someone who knows both languages.",
            fields="prediction.label",
            probe="head alone",
        )

    def for_preparation(self, preparation: Any) -> Task:
        """Return the task with the preparation's vocabulary.

        Raises:
            BadRequest: the network has no decoder.
        """
        if not getattr(preparation, "max_target_tokens", 0):
            raise BadRequest(
                f"A {self.kind} task generates texts, but this network has no decoder.",
                fix=f"use an encoder-decoder: {self.named_where}.",
            )
        return replace(self, preparation=preparation)

    def prepared(self, targets: np.ndarray) -> Task:
        """Return the task unchanged, after checking that its metrics can be computed, so as to fail before training.

        Raises:
            MissingExtra: sacrebleu is not installed.
        """
        if find_spec("sacrebleu") is None:
            raise MissingExtra("sacrebleu", "text", "Measuring texts")
        return self

    def named(self, label: str) -> Sequence[str]:
        """Return nothing: there are no classes."""
        return ()

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """Return the texts with normalised spaces."""
        return as_records([" ".join(label.split()) for label in labels])

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> Int[np.ndarray, "b t"]:
        """Return the tokens, padded with `IGNORED` to the longest text."""
        numbers = [self.preparation.target(text) for text in targets]
        made = np.full((len(targets), max(map(len, numbers), default=1)), IGNORED, dtype=np.int64)
        for row, one in zip(made, numbers, strict=True):
            row[: len(one)] = one
        return made

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head: tokens (b t d) -> logits (b t v). It is a copy of the network's own output layer if there is
        one, untied from its embeddings."""
        import torch
        from torch import nn

        linear = nn.Linear(widths["tokens"], self.preparation.vocabulary)
        if source_head is not None:
            with torch.no_grad():
                linear.weight.copy_(source_head.weight)  # type: ignore[arg-type]
                linear.bias.zero_() if source_head.bias is None else linear.bias.copy_(source_head.bias)  # type: ignore[arg-type]
        return nn.Sequential(nn.Dropout(dropout), linear)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the mean loss over the tokens except padding."""
        from torch.nn.functional import cross_entropy

        check_weighable(self, balanced=balanced)

        def loss(output: "Tensor", encoded: "Tensor") -> "Tensor":
            # The source may be longer than every text of the batch.
            logits = output[:, : encoded.shape[1]].flatten(0, 1)
            return cross_entropy(logits, encoded.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)

        return loss

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return the texts; those of an example's pieces are joined by spaces."""
        texts = [text for batch in batches for text in self.preparation.texts(batch.tolist())]
        made = [list[str]() for _ in range(int(example_of_row.max(initial=-1)) + 1)]
        for example, text in zip(example_of_row.tolist(), texts, strict=True):
            made[example] += [text] if text else []
        return as_records([" ".join(one) for one in made])

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return the texts."""
        return list(outputs)

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return the texts."""
        return [Prediction(id="", label=text, probabilities={}) for text in outputs]


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Writing:
    """Return the text generation task."""
    return Writing(beams=int((facts or {}).get("beams", 1)))


ENTRY = task
