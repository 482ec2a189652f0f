"""Questions in SQuAD's JSON whose words the small tokenizer of `texts` knows."""

import json
from pathlib import Path

import numpy as np

FRUIT, TOOLS = ("apple", "pear", "plum"), ("hammer", "saw", "nail")
OTHER = ("the", "a", "of", "on", "my", "table", "lies", "there", "and", "old")
ASKED = ("old apple there", "the saw there")


def squad(path: Path, count: int, *, seed: int = 0, longest: int = 20, without: int = 0) -> Path:
    """One article for every four questions. An even number asks for the one fruit of its context, an odd one for the
    tool; with `without` every so many contexts lack it."""
    random, articles = np.random.default_rng(seed), list[dict[str, list[object]]]()
    for at in range(count):
        there, lacks = [random.choice(FRUIT), random.choice(TOOLS)], bool(without) and at % without == 0
        wanted = str(there[at % 2])
        words = [
            *random.choice(OTHER, random.integers(4, longest)),
            *(one for one in there if one != wanted or not lacks),
        ]
        context = " ".join(random.permutation(words))
        start = f" {context} ".find(f" {wanted} ")
        asked = {
            "id": f"{path.stem} {at}", "question": ASKED[at % 2], "is_impossible": lacks,
            "answers": [] if lacks else [{"text": wanted, "answer_start": start}],
        }  # fmt: skip
        if at % 4 == 0:
            articles.append({"paragraphs": []})
        articles[-1]["paragraphs"].append({"context": context, "qas": [asked]})
    named = [{"title": f"{path.stem} {at}", **one} for at, one in enumerate(articles)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "v2.0", "data": named}))
    return path
