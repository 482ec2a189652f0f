"""TF-IDF with logistic regression against scikit-learn's own, and the sentence most like a question."""

import numpy as np
import pytest

from regraft.baselines.sentence import sentences
from regraft.contracts.baseline import BASELINES
from regraft.contracts.example import Inline
from regraft.contracts.task import TASKS

TEXTS = ["good film", "a good story", "very good", "bad film", "a bad story", "very bad"]


def contents(texts: list[str]) -> list[dict[str, Inline]]:
    return [{"text": Inline(text)} for text in texts]


def test_it_is_what_scikit_learn_makes_of_the_same_texts() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    targets = np.array([1, 1, 1, 0, 0, 0])
    predict = BASELINES.get("tfidf").fitted(contents(TEXTS), targets, 2, seed=0)
    found = predict(contents(["good good", "a bad film", "unheard"]))
    counting = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    rows = counting.fit_transform(TEXTS)
    grid = {"C": (0.1, 1.0, 10.0, 100.0)}
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    model = GridSearchCV(LogisticRegression(C=10.0, max_iter=1000), grid, cv=folds, scoring="neg_log_loss")
    expected = model.fit(rows, targets).predict_log_proba(counting.transform(["good good", "a bad film", "unheard"]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.argmax(axis=1).tolist()[:2] == [1, 0]


def test_a_class_without_training_examples_is_never_predicted() -> None:
    predict = BASELINES.get("tfidf").fitted(contents(TEXTS), np.array([2, 2, 2, 0, 0, 0]), 3, seed=0)
    assert predict(contents(["good", "bad"])).argmax(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize("name", BASELINES.names())
def test_every_baseline_says_for_which_tasks_it_is(name: str) -> None:
    entry, kind = BASELINES.get(name), {"tfidf": "classification", "sentence": "span", "nearest": "sequence"}[name]
    for task in ("classification", "regression", "span", "sequence"):
        assert entry.suits(TASKS.get(task)(("a", "b")), 100) == (task == kind)
    assert not entry.suits(TASKS.get(kind)(("a", "b")), 10_000_000)


def test_the_sentence_is_the_one_with_the_question_s_rarer_words() -> None:
    context = "Rome is old. The Limmat leaves the lake in Zürich!  Is it deep?\nNobody knows"
    texts = {"question": Inline("What leaves the lake?"), "context": Inline(context)}
    predict = BASELINES.get("sentence").fitted([texts], np.array([None]), 0, seed=0)
    (found,) = TASKS.get("span")((), {"unanswerable": True}).outputs(predict([texts]))
    assert found["text"] == "The Limmat leaves the lake in Zürich!" == context[found["start"] : found["end"]]
    assert [context[start:end] for start, end in sentences(context)] == [
        "Rome is old.", found["text"], "Is it deep?", "Nobody knows"
    ]  # fmt: skip
