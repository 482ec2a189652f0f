"""Answers that are parts of a context: targets by token, loss, the best span of all windows, the official figures."""

import itertools

import numpy as np
import pytest
import torch

from regraft.contracts.example import Example, Inline, as_records
from regraft.contracts.metric import metric
from regraft.contracts.modality import MODALITIES
from regraft.contracts.task import TASKS
from regraft.errors import BadData, Undecodable
from regraft.evaluation.report import evaluate
from regraft.modalities.text.tokens import Preparation
from regraft.nn.spans import span_loss
from regraft.tasks.span import BEST, LONGEST, best_span
from texts import tokenizer

TEXT, SPAN = MODALITIES.get("text"), TASKS.get("span")(())


def preparation(max_tokens: int = 12, overlap: int = 3) -> Preparation:
    return Preparation(tokenizer=tokenizer().to_str(), max_tokens=max_tokens, types=True, overlap=overlap)


def asked(question: str, context: str) -> dict[str, Inline]:
    return {"question": Inline(question), "context": Inline(context)}


def pieces(contents: dict[str, Inline], how: Preparation) -> list[tuple[dict, dict]]:
    return [TEXT.load(contents, how, None, piece) for piece in range(TEXT.pieces(contents, how))]


def test_windows_hold_the_question_share_tokens_and_show_all_of_the_context() -> None:
    context = "the old apple lies there on my  table and the saw"
    found = pieces(asked("the pear", context), preparation())
    assert [len(record["ids"]) for record, _ in found] == [12, 12]  # 5 around 7 of the context; then 4 of them again
    words = [[context[start:end] for start, end in placed["offsets"].tolist() if end] for _, placed in found]
    assert words == [context.split()[:7], context.split()[4:11]]
    for record, placed in found:
        assert record["ids"].tolist()[:4] == [2, 4, 15, 3]
        assert record["types"].tolist() == [0] * 4 + [1] * 8
        assert "".join(map(chr, placed["letters"].ravel()[placed["letters"].ravel() > 0])) in context


def test_a_long_question_is_cut_to_a_quarter_and_one_without_a_window_cannot_be_read() -> None:
    how = preparation(max_tokens=16)
    windows, cut = how.windows("the old apple and the pear and the plum", "my table")
    assert cut
    assert windows[0].ids.tolist()[:6] == [2, 4, 13, 14, 12, 3]
    with pytest.raises(Undecodable, match="no tokens"):
        how.windows("the pear", " ")
    with pytest.raises(Undecodable, match="100,000 of its characters are 1 tokens"):
        how.windows("the pear", "x" * 100_000)


def test_a_target_is_the_tokens_that_hold_it_in_the_windows_that_show_all_of_it() -> None:
    context = "the old apple lies there on my table and the saw"
    found = pieces(asked("the pear", context), preparation())
    placed = {name: np.stack([one[name] for _, one in found]) for name in ("offsets", "letters")}
    label = '[{"text": "y tabl", "answer_start": 29}]'
    encoded = SPAN.encoded(SPAN.encode([label] * 2), placed)
    assert [encoded["start"].tolist(), encoded["end"].tolist()] == [[0, 6], [0, 7]]
    assert encoded["outside"][0].tolist() == [False] + [True] * 3 + [False] * 7 + [True]
    none = SPAN.encoded(SPAN.encode(["[]", "[]"]), placed)
    assert none["start"].tolist() == none["end"].tolist() == [0, 0]


def test_answers_of_a_table_are_looked_for_in_the_last_text() -> None:
    label = '[{"text": "apple", "answer_start": 8}]'
    right, turned = asked("the pear", "the old apple"), asked("the old apple", "the pear")
    examples = [Example(id=f"row {at}", contents=one, label=label) for at, one in enumerate([right, turned], start=2)]
    assert SPAN.targets(examples[:1])[0] == [{"text": "apple", "answer_start": 8}]
    with pytest.raises(BadData, match=r"1 question: an answer is not in the context at its answer_start \(row 3\)"):
        SPAN.targets(examples)


def test_the_loss_is_that_of_the_librarys_own_network() -> None:
    pytest.importorskip("transformers")
    from regraft.backbones.transformers import library

    transformers = library()
    random = torch.Generator().manual_seed(0)
    settings = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    net = transformers.BertForQuestionAnswering(settings).eval()
    start, end = torch.tensor([3, 0, 5]), torch.tensor([4, 0, 5])
    given = net(torch.randint(0, 20, (3, 7), generator=random), start_positions=start, end_positions=end)
    encoded = {"start": start, "end": end, "outside": torch.zeros(3, 7, dtype=torch.bool)}
    assert torch.allclose(span_loss({"start": given.start_logits, "end": given.end_logits}, encoded), given.loss)
    encoded["outside"][:, 1:3] = True  # tokens of the question do not compete
    changed = given.start_logits.clone()
    changed[:, 1:3] += 100
    assert torch.allclose(
        span_loss({"start": given.start_logits, "end": given.end_logits}, encoded),
        span_loss({"start": changed, "end": given.end_logits}, encoded),
    )


def test_the_best_span_is_that_of_trying_every_pair() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        starts, ends = random.normal(size=(2, 45))
        shown = random.random(45) < 0.8
        tokens = np.flatnonzero(shown)
        first = sorted(tokens, key=lambda at: -starts[at])[:BEST]
        last = sorted(tokens, key=lambda at: -ends[at])[:BEST]
        pairs = [(starts[a] + ends[b], a, b) for a, b in itertools.product(first, last) if a <= b < a + LONGEST]
        assert best_span(starts, ends, shown) == pytest.approx(max(pairs))
    assert best_span(starts, ends, np.zeros(45, dtype=bool))[0] == -np.inf


def gathered(scores: list[list[tuple[float, float]]], context: str, *, unanswerable: bool) -> list[dict]:
    """The outputs for one context, the scores by window and token."""
    found = pieces(asked("pear", context), preparation(max_tokens=8, overlap=1))
    placed = {name: np.stack([one[name] for _, one in found]) for name in ("offsets", "letters")}
    sides = np.array(scores)
    raw = SPAN.gathered([{"start": sides[..., 0], "end": sides[..., 1]}], np.zeros(len(found), np.int64), placed)
    return list(TASKS.get("span")((), {"unanswerable": unanswerable}).outputs(raw))


def test_windows_are_merged_by_the_highest_span_against_the_lowest_score_of_none() -> None:
    context = "the old apple lies there on my"
    low = [(0.0, 0.0)] * 8
    first, second = list(low), list(low)
    first[0], second[0] = (4.0, 4.0), (2.0, 1.5)
    first[4], second[4], second[5] = (2.0, 1.0), (2.5, 0.0), (0.0, 2.0)
    (found,) = gathered([first, second], context, unanswerable=False)
    assert found == {"text": "there on", "start": 19, "end": 27, "score": 1.0}  # 2.5 + 2 - (2 + 1.5)
    assert context[19:27] == "there on"
    second[0] = (2.5, 2.5)
    (found,) = gathered([first, second], context, unanswerable=True)
    assert (found["text"], found["score"]) == ("", -0.5)
    (found,) = gathered([first, second], context, unanswerable=False)
    assert found["text"] == "there on"


def given(*texts: str) -> np.ndarray:
    return SPAN.restored([{"text": one, "start": 0, "end": 0, "score": 0.0} for one in texts])


OFFICIAL = [
    ("Santa Clara, California", "the Santa Clara", 0, 0.8),
    ("The Denver Broncos", "broncos!", 0, 2 / 3),
    ("Levi's Stadium", "Levis stadium", 1, 1.0),
    ("60,000", "60000", 1, 1.0),
    ("New York City", "in New York, New York", 0, 0.5),
    ("", "the", 1, 1.0),
    ("", "Rome", 0, 0.0),
]
"""Right answer, given answer, exact match and F1 of the official evaluation of SQuAD 2.0 (its functions were run)."""


def test_figures_are_those_of_the_official_evaluation() -> None:
    for truth, said, exact, f1 in OFFICIAL:
        targets = as_records([[{"text": truth, "answer_start": 0}] if truth else []])
        assert metric("exact_match").compute(targets, given(said)) == exact
        assert metric("answer_f1").compute(targets, given(said)) == pytest.approx(f1)
    several = as_records([[{"text": one, "answer_start": 0} for one in ("the", "New York", "New York City")]])
    assert metric("answer_f1").compute(several, given("York city")) == pytest.approx(0.8)


def test_questions_without_an_answer_are_told_apart_in_the_figures() -> None:
    targets = SPAN.encode(['[{"text": "saw", "answer_start": 4}]'] * 6 + ["[]"] * 4)
    said = ["saw"] * 5 + [""] + [""] * 3 + ["saw"]
    outputs = given(*said)
    found = evaluate(targets, outputs, (), kind="span", num_resamples=50)
    assert found.metrics["exact_match"].value == 0.8
    there, absent = found.figures.kinds
    assert (there.questions, there.answered, there.answer_f1.value) == (6, 5, pytest.approx(5 / 6))
    assert (absent.questions, absent.answered, absent.exact_match.value) == (4, 1, 0.75)
    assert SPAN.prepared(targets).facts == {"unanswerable": True}
    assert SPAN.encode(SPAN.decode(outputs))[0] == [{"text": "saw", "answer_start": 0}]
    with pytest.raises(BadData, match="not a list of answers"):
        SPAN.encode(["saw"])
