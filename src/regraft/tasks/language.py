"""Language modelling: a causal or a masked model is adapted to texts without labels.

Texts are read in windows. A causal model predicts the next token at every position of a window, except in the context
shared with the previous window; a masked model predicts the masked tokens (`modalities/text/language.py`). The loss is
their cross entropy; the outputs of each text are its sum, the number of tokens and their bytes. The head is the
network's own output layer, so the network is a complete model before any training.

Sources: Bengio et al. 2003 (neural language models); Devlin et al. 2019, arXiv:1810.04805 (masked); Gururangan et al.
2020, arXiv:2004.10964 (adaptation to a domain). Letters: n examples, b rows of a batch, t tokens, d features.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from regraft.contracts.example import as_records, check_weighable
from regraft.contracts.page import Words
from regraft.contracts.task import Reads, Task
from regraft.errors import BadRequest
from regraft.values import Json, Prediction

if TYPE_CHECKING:
    from torch import Tensor, nn

READS = Reads("tokens", strides=(1,), itself="tokens")
NEW_TOKENS = 40
"""Maximum number of tokens generated from a prompt. Our choice."""
_SUMS = ("nll", "tokens", "bytes")


@dataclass(frozen=True)
class Language(Task):
    """Prediction of the tokens of a text."""

    preparation: Any = None
    """The preparation with the vocabulary; None until known."""
    kind: str = "language"
    classes: tuple[str, ...] = ()
    reads: Reads = READS
    needs_labels: bool = False
    moves: bool = True
    ready: bool = True

    @property
    def generation(self) -> Mapping[str, Any]:
        """Return how a prompt is continued, or which tokens are filled in."""
        if self.preparation.predicts == "next":
            return {"max_new_tokens": NEW_TOKENS, "do_sample": False}
        from regraft.modalities.text.language import MASKS

        return {"mask": self.preparation.number_of(*MASKS)}

    def words(self) -> Words:
        """Return the names that reports use: texts."""
        return Words(
            output="text",
            outputs="texts",
            asked="of running text",
            labelled="of running text",
            given="the sum of the losses of its tokens in nats, and the text as continued or filled in by the model",
            purpose="Predicts tokens of texts like the training texts, and serves as the backbone for other transfers",
            caution="Generated text may be fluent but wrong, and may reproduce training texts verbatim.",
            fields="prediction.label, prediction.record",
            probe="unadapted model",
        )

    def for_preparation(self, preparation: Any) -> Task:
        """Return the task with the preparation's vocabulary."""
        return replace(self, preparation=preparation)

    def named(self, label: str) -> Sequence[str]:
        """Return nothing: there are no classes."""
        return ()

    def encode(self, labels: Sequence[str]) -> Int[np.ndarray, " n"]:
        """Return zeros: the tokens to be predicted are part of the text itself."""
        return np.zeros(len(labels), dtype=np.int64)

    def encoded(self, targets: np.ndarray, placements: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the same zeros: the head receives the tokens to be predicted among its inputs."""
        return targets

    def head(self, widths: Mapping[str, int], dropout: float, source_head: "nn.Module | None" = None) -> "nn.Module":
        """Return a head with a copy of the network's output layer.

        Raises:
            BadRequest: the network has none.
        """
        from regraft.nn.language import LanguageHead

        if source_head is None:
            raise BadRequest(
                "This network no longer has an output layer over its vocabulary.",
                fix="use the original language model, or a model of a language task.",
            )
        return LanguageHead(copy.deepcopy(source_head).requires_grad_(True), dropout)

    def objective(self, targets: np.ndarray, *, balanced: bool, smoothing: float) -> "Callable[[Any, Any], Tensor]":
        """Return the mean cross entropy over the predicted tokens of a batch."""
        check_weighable(self, balanced=balanced, smoothing=smoothing)
        return lambda output, encoded: output["nll"].sum() / output["tokens"].sum().clamp(min=1)

    def gathered(self, batches: Sequence[Any], example_of_row: Int[np.ndarray, " b"], placements: Any) -> np.ndarray:
        """Return for each text the sum of the losses of its predicted tokens `nll` in nats, their number `tokens` and
        their UTF-8 `bytes`, with the spaces before them."""
        rows = [np.concatenate([batch[name] for batch in batches]) for name in _SUMS[:2]]
        count = int(example_of_row.max(initial=-1)) + 1
        sums = [np.bincount(example_of_row, one, count) for one in (*rows, placements["bytes"])]
        return as_records([dict(zip(_SUMS, one, strict=True)) for one in np.transpose(sums).tolist()])

    def judged(
        self, raw: np.ndarray, targets: np.ndarray, mean_loss: float, loss: "Callable[[Any, Any], Tensor]"
    ) -> tuple[float, float]:
        """Return the mean loss over tokens, not over rows, which have different numbers of them."""
        mean = sum(one["nll"] for one in raw) / max(1.0, sum(one["tokens"] for one in raw))
        return mean, mean

    def scores(self, raw: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Return the perplexity."""
        return {"perplexity": math.exp(self.judged(raw, targets, 0.0, max)[0])}

    def decode(self, outputs: np.ndarray) -> list[str]:
        """Return empty labels: texts have none."""
        return [""] * len(outputs)

    def recorded(self, outputs: np.ndarray) -> list[Json]:
        """Return the sums, and the perplexity; None if no token was predicted."""
        return [
            {**one, "perplexity": math.exp(min(one["nll"] / one["tokens"], 700)) if one["tokens"] else None}
            for one in outputs
        ]

    def restored(self, records: Sequence[Any]) -> np.ndarray:
        """Return the sums."""
        return as_records([{name: one[name] for name in _SUMS} for one in records])

    def predictions(self, outputs: np.ndarray) -> list[Prediction]:
        """Return predictions without a text, which is generated for users only."""
        return [Prediction(id="", label="", probabilities={}) for _ in outputs]

    def completed(
        self, prediction: Prediction, pieces: Sequence[Mapping[str, np.ndarray]], generate: Any
    ) -> Prediction:
        """Return the prediction with the continuation by a causal model, or with the text whose mask tokens a masked
        model has filled in, if there are any."""
        if self.preparation.predicts == "next":
            return replace(prediction, label=self.preparation.texts([generate(pieces[-1]).tolist()])[0])
        open_ = [one for one in pieces if (one["ids"] == self.generation["mask"]).any() and not one["truth"].any()]
        return replace(prediction, label=" ".join(self.preparation.texts([generate(one).tolist() for one in open_])))


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Language:
    """Return the language modelling task."""
    return Language()


ENTRY = task
