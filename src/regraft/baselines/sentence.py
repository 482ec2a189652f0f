"""Most similar sentence, a baseline for questions: quote the sentence of the context closest to the question.

Texts are TF-IDF vectors of words, fitted on the training contexts and questions. The sentence with the highest cosine
similarity to the question is returned whole; among equal ones, the first. Sentences end with a full stop, question mark
or exclamation mark before a space, or at the end of a line. Source: Salton & Buckley 1988; scikit-learn's
`TfidfVectorizer`; the rules are ours.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from regraft.contracts.baseline import Baseline, Predict
from regraft.contracts.example import Contents, Labelling, as_records
from regraft.modalities.text.read import text_of

MOST = 20_000
"""Maximum number of training examples."""
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


class LikeSentence(Baseline):
    """Quote the whole sentence that is most similar to the question."""

    title = "Sentence most similar to the question"

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
                # maximum confidence: it never predicts that a question has none
                found.append({"text": context[start:end], "start": start, "end": end, "score": np.inf})
            return as_records(found)

        return predict


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the start and end of every sentence of a text; at least one."""
    marks = [0, *(at for found in _BREAK.finditer(text) for at in found.span()), len(text)]
    return [(start, end) for start, end in list(pairwise(marks))[::2] if text[start:end].strip()] or [(0, len(text))]


ENTRY = LikeSentence()
