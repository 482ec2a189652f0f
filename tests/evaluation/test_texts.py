"""BLEU and chrF of corpora and of resamples equal sacrebleu's own."""

import numpy as np
import pytest

from regraft.contracts import metric as metrics
from regraft.contracts.metric import metric
from regraft.evaluation.differences import compare
from regraft.evaluation.metrics.texts import figures

sacrebleu = pytest.importorskip("sacrebleu.metrics")
WANTED = ["The dog sleeps on the old table.", "A red house, and a tree!", "Nobody is there.", "42 people run home."]
WRITTEN = ["The dog lies on the old table.", "A red tree, and a house!", "nobody here", "42 people run home."]
OTHERS = [["", "", "", ""], ["The", "x", "is", "42"], WANTED, ["the the the the the", "a b c d", "", "people run"]]


@pytest.mark.parametrize("name", ["bleu", "chrf"])
@pytest.mark.parametrize("written", [WRITTEN, *OTHERS])
def test_a_corpus_scores_what_sacrebleu_says(name: str, written: list[str]) -> None:
    reference = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF}[name]().corpus_score(written, [WANTED]).score
    assert metric(name).compute(WANTED, written) == pytest.approx(reference, abs=1e-9)


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_resample_scores_what_sacrebleu_says_of_its_texts(name: str) -> None:
    weights = np.random.default_rng(0).multinomial(4, [0.25] * 4, size=20)
    found = metric(name).of_weights(WANTED, WRITTEN)(weights.astype(np.float64))
    reference = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF}[name]()
    for row, score in zip(weights, found, strict=True):
        some = np.repeat(np.arange(4), row)
        expected = reference.corpus_score([WRITTEN[at] for at in some], [[WANTED[at] for at in some]]).score
        assert score == pytest.approx(expected, abs=1e-9)


def test_two_systems_are_compared_on_the_same_resamples() -> None:
    targets = WANTED * 30
    found = compare(targets, WANTED * 30, WRITTEN * 30, metric="bleu", names=("a", "b"))
    assert found.outcome == "real"
    assert found.difference.low is not None
    assert found.difference.low > 0


def test_the_report_has_the_signature() -> None:
    (note,) = figures(metrics.Tested(targets=WANTED, outputs=WRITTEN, names=())).notes
    assert f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{__import__('sacrebleu').__version__}" in note
