"""Groups in the names of files: found where they are, and not elsewhere."""

import random
import re

from regraft.data.filenames import suggest_groups


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
