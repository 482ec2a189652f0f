"""Similarity of answers given as texts, as in the official evaluation of SQuAD 2.0.

Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1, and the script `evaluate-v2.0.py` published with the data.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return the text in lower case, without punctuation, articles and extra spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(truth: str, said: str) -> float:
    """Return 1 if both texts are equal after `normalised`, else 0."""
    return float(normalised(truth) == normalised(said))


def overlap(truth: str, said: str) -> float:
    """Return the F1 of the words of an answer; if one has no words, whether both have none."""
    wanted, found = normalised(truth).split(), normalised(said).split()
    if not wanted or not found:
        return float(wanted == found)
    same = sum((Counter(wanted) & Counter(found)).values())
    return 2 * same / (len(wanted) + len(found))


def truths(answers: Sequence[str]) -> Sequence[str]:
    """Return the correct answers to compare with: those with words left after normalisation, else one empty answer."""
    return [one for one in answers if normalised(one)] or [""]
