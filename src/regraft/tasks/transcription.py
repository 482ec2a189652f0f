"""Transcription: the words that are spoken, generated as text by an encoder with a decoder.

The sequence task with word and character error rates as metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.contracts.page import Words
from regraft.contracts.task import Task
from regraft.tasks.sequence import Writing


@dataclass(frozen=True, kw_only=True)
class Transcribing(Writing):
    """Transcription, token by token."""

    kind: str = "transcription"
    named_where: str = "--backbone whisper_tiny_en_transcriber@package"

    def words(self) -> Words:
        """Return the names that reports use: transcripts."""
        return Words(
            output="transcript",
            outputs="transcripts",
            asked="to be transcribed",
            labelled="with a transcript each",
            given="a transcript",
            purpose="To write down what is said, in the spelling of the transcripts it was trained on",
            caution="What it writes may read well and never have been said: it leaves out, adds and mishears words, "
            "most of all where there is silence, noise or a voice unlike those it was trained on. Have what matters "
            "checked by somebody who listens.",
            fields="prediction.label",
            probe="head alone",
        )

    def prepared(self, targets: np.ndarray) -> Task:
        """Return the task unchanged."""
        return self


def task(classes: Sequence[str], facts: Mapping[str, Any] | None = None) -> Transcribing:
    """Return the transcription task."""
    return Transcribing(beams=int((facts or {}).get("beams", 1)))


ENTRY = task
