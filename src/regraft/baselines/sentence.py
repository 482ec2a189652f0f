"""The sentence of the context that is most like the question: what can be quoted without a pretrained network.

Texts are vectors by TF-IDF of words over the training contexts and questions; the sentence with the highest cosine to
the question is given whole, of equal ones the first. Sentences end with a full stop, question mark or exclamation mark
before a space, or with a line. Source: Salton & Buckley 1988; scikit-learn's `TfidfVectorizer`; the rules are ours.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from regraft.contracts.baseline import Baseline, Predict
from regraft.contracts.example import Contents, Labelling, as_records
from regraft.modalities.text.read import text_of

MOST = 20_000
"""Training examples at most."""
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


class LikeSentence(Baseline):
    """A whole sentence, by the words that it shares with the question."""

    title = "Sentence most like the question"

    def suits(self, task: Labelling, num_examples: int) -> bool:
        return task.quotes and num_examples <= MOST

    def fitted(self, contents: Sequence[Contents], targets: np.ndarray, num_classes: int, seed: int) -> Predict:
        from sklearn.feature_extraction.text import TfidfVectorizer

        counting = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        counting.fit({text_of(content) for one in contents for content in one.values()})

        def predict(asked: Sequence[Contents]) -> np.ndarray:
            found = []
            for one in asked:
                *_, question, context = map(text_of, one.values())
                places = sentences(context)
                rows = counting.transform([question, *(context[start:end] for start, end in places)])
                start, end = places[int((rows[1:] @ rows[0].T).toarray().argmax())]
                # as sure as can be: it never says that there is no answer
                found.append({"text": context[start:end], "start": start, "end": end, "score": np.inf})
            return as_records(found)

        return predict


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text begin and end; one at least."""
    marks = [0, *(at for found in _BREAK.finditer(text) for at in found.span()), len(text)]
    return [(start, end) for start, end in list(pairwise(marks))[::2] if text[start:end].strip()] or [(0, len(text))]


ENTRY = LikeSentence()
