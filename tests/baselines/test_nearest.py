"""The target of the nearest training text stands beside a model that writes texts."""

from regraft.baselines.nearest import ENTRY
from regraft.contracts.example import SHOWN, Contents, Inline, as_records

PAIRS = {"a dog runs": "ein Hund rennt", "two cats sleep": "zwei Katzen schlafen", "a red house": "ein rotes Haus"}


def contents(source: str, target: str = "") -> Contents:
    return {"en": Inline(source), **({SHOWN: Inline(target)} if target else {})}


def test_it_gives_the_target_of_the_most_similar_training_text_and_never_looks_at_targets() -> None:
    predict = ENTRY.fitted(
        [contents(*pair) for pair in PAIRS.items()], as_records(list(PAIRS.values())), num_classes=0, seed=0
    )
    asked = [contents("the dog runs fast", "zwei Katzen schlafen"), contents("cats"), contents("a red car")]
    assert list(predict(asked)) == list(PAIRS.values())
