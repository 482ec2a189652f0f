"""Groups in the names of files: found where they are, and not elsewhere."""

import random
import re

from regraft.data.labels import suggest_groups


def pattern_in(text: str) -> re.Pattern[str]:
    found = re.search(r"--group-pattern '(.*)'$", text)
    assert found
    return re.compile(found.group(1))


def test_patients_in_two_ways_of_naming_are_found() -> None:
    ids = [f"ill/person{patient}_virus_{patient * 3 + at}.jpg" for patient in range(40) for at in range(2)]
    ids += [f"well/IM-{patient:04d}-{at:04d}.jpg" for patient in range(30) for at in range(1, 3)]
    (notice,) = suggest_groups(ids)
    pattern = pattern_in(notice.text)
    groups = [match.group(1) for match in map(pattern.search, ids) if match]
    assert len(groups) == len(ids)
    assert len(set(groups)) == 70
    assert "person39" in groups
    assert "IM-0029" in groups


def test_tiles_of_sections_are_found() -> None:
    ids = [f"idc/{8860 + slide}_idx5_x{x}_y{x + 50}_class1.png" for slide in range(20) for x in range(1, 500, 50)]
    (notice,) = suggest_groups(ids)
    assert pattern_in(notice.text).search("idc/8863_idx5_x1_y51_class1.png").group(1) == "8863"


def test_many_words_before_a_number_make_no_long_pattern() -> None:
    rooms = ("attic", "bath", "cellar", "hall", "kitchen", "porch")
    ids = [f"{room}/{room}{house}_{at}.jpg" for room in rooms for house in range(10) for at in range(3)]
    (notice,) = suggest_groups(ids)
    pattern = pattern_in(notice.text)
    assert len(pattern.pattern) < 50
    assert {pattern.search(one).group(1) for one in ids} == {f"{room}{house}" for room in rooms for house in range(10)}


def test_words_are_spelled_out_where_any_word_would_find_what_is_no_group() -> None:
    rooms = ("attic", "bath", "cellar", "hall", "kitchen", "porch")
    ids = [f"a/{room}{house}_{at}.jpg" for room in rooms for house in range(10) for at in range(3)]
    alone = [f"a/img{at}_x.jpg" for at in range(40)]
    (notice,) = suggest_groups(ids + alone)
    pattern = pattern_in(notice.text)
    assert "kitchen" in pattern.pattern
    assert all(map(pattern.search, ids))
    assert not any(map(pattern.search, alone))


def test_running_numbers_cameras_and_random_names_give_nothing() -> None:
    rng = random.Random(0)
    assert suggest_groups([f"a/IMG_{at:04d}.jpg" for at in range(200)]) == []
    assert suggest_groups([f"a/{at}.jpg" for at in range(200)]) == []
    assert suggest_groups([f"a/DSC{at % 3}_{at}.jpg" for at in range(200)]) == []
    assert suggest_groups([f"a/{rng.getrandbits(128):032x}.jpg" for _ in range(200)]) == []
    assert suggest_groups([f"a/{rng.randrange(10**9)}_{rng.getrandbits(40):010x}.jpg" for _ in range(200)]) == []
    assert suggest_groups([f"a/photo of a cat {at}.jpg" for at in range(200)]) == []


def test_few_files_give_nothing() -> None:
    assert suggest_groups([f"a/p{at // 2}_{at}.jpg" for at in range(20)]) == []
