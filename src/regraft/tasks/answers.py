"""Answers as texts: how alike two are, as the official evaluation of SQuAD 2.0 has it.

Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1, and the script `evaluate-v2.0.py` beside the data.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """In lower case, without punctuation, articles and superfluous spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(truth: str, said: str) -> float:
    """1 where both are the same but for what `normalised` takes away, else 0."""
    return float(normalised(truth) == normalised(said))


def overlap(truth: str, said: str) -> float:
    """F1 of the words of an answer; where one has none, whether both have none."""
    wanted, found = normalised(truth).split(), normalised(said).split()
    if not wanted or not found:
        return float(wanted == found)
    same = sum((Counter(wanted) & Counter(found)).values())
    return 2 * same / (len(wanted) + len(found))


def truths(answers: Sequence[str]) -> Sequence[str]:
    """Those of the right answers that count: all with words left, else the one without any."""
    return [one for one in answers if normalised(one)] or [""]
