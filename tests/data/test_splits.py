"""Dividing the data: nothing leaks, a user's division is kept, and every oddity is told."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.contracts.example import Example, in_file
from regraft.contracts.modality import MODALITIES
from regraft.data.dataset import Dataset
from regraft.data.scan import Quarantined, ScanMemory, Scanned, row_of, scan
from regraft.data.splits import Splits, draw
from regraft.errors import BadData, LeakedSplit
from regraft.words import labelled


def scanned_of(
    labels: list[str], *, groups: list[str | None] | None = None, splits: list[str | None] | None = None
) -> Scanned:
    """A scan of pictures that nobody decoded: all pixels different, none alike."""
    rng = np.random.default_rng(0)
    rows = np.zeros(len(labels), dtype=row_of(MODALITIES.get("image")))
    for name in ("content", "decoded", "grey", "colour"):
        rows[name] = rng.integers(0, 256, rows[name].shape)
    examples = tuple(
        Example(
            id=f"{at}.png",
            contents=in_file(Path(f"/nowhere/{at}.png")),
            label=label,
            group=groups[at] if groups else None,
            split=splits[at] if splits else None,
        )
        for at, label in enumerate(labels)
    )
    dataset = Dataset(root=Path("/nowhere"), examples=examples, classes=tuple(sorted(set(labels))))
    return Scanned(dataset=dataset, rows=rows, quarantined=())


def same_pixels(scanned: Scanned, *places: int) -> Scanned:
    for name in ("decoded", "grey", "colour"):
        scanned.rows[name][list(places)] = scanned.rows[name][places[0]]
    return scanned


def near_copy(scanned: Scanned, of: int, at: int) -> Scanned:
    scanned.rows["grey"][at] = scanned.rows["grey"][of]
    scanned.rows["colour"][at] = scanned.rows["colour"][of]
    return scanned


def damaged(scanned: Scanned, *places: int) -> Scanned:
    for at in places:
        scanned.rows["error"][at] = b"it is empty"
    out = tuple(Quarantined(index=at, id=f"{at}.png", row=None, reason="it is empty") for at in places)
    return replace(scanned, quarantined=out)


def drawn(scanned: Scanned, **options: object) -> Splits:
    return draw(scanned.dataset, scanned, **{"seed": 0, **options})


def told(parts: Splits) -> str:
    return "\n".join(note.text for note in parts.notes)


def labels_in(scanned: Scanned, part: np.ndarray) -> dict[str, int]:
    counts: dict[str, int] = {}
    for at in part:
        label = scanned.dataset.examples[at].label
        counts[label] = counts.get(label, 0) + 1
    return counts


def thousand() -> list[str]:
    return ["ants"] * 700 + ["bees"] * 300


def given(train: int, val: int = 0, test: int = 0) -> tuple[list[str], list[str | None]]:
    splits: list[str | None] = ["train"] * train + ["val"] * val + ["test"] * test
    return ["ants" if at % 2 else "bees" for at in range(len(splits))], splits


def test_undivided_data_get_a_stratified_test_part() -> None:
    scanned = scanned_of(thousand())
    parts = drawn(scanned)
    assert parts.drawn_by_us
    assert labels_in(scanned, parts.test) == {"ants": 140, "bees": 60}
    assert labels_in(scanned, parts.val) == {"ants": 84, "bees": 36}
    every = np.concatenate([parts.train, parts.val, parts.test])
    assert sorted(every.tolist()) == list(range(1000))
    assert parts.describe() == "train 680, val 120, test 200 (drawn)"


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    scanned = scanned_of(thousand())
    first, again, other = drawn(scanned), drawn(scanned), drawn(scanned, seed=1)
    assert first.test.tolist() == again.test.tolist()
    assert first.val.tolist() == again.val.tolist()
    assert first.test.tolist() != other.test.tolist()


def test_the_shares_are_settable_and_do_not_move_each_other() -> None:
    scanned = scanned_of(thousand())
    parts = drawn(scanned, test_share=0.4, val_share=0.5)
    assert (len(parts.test), len(parts.val)) == (400, 300)
    assert drawn(scanned, val_share=0.3).test.tolist() == drawn(scanned).test.tolist()


def test_under_five_hundred_examples_no_test_part_is_drawn() -> None:
    parts = drawn(scanned_of(thousand()[:499]))
    assert len(parts.test) == 0
    assert parts.drawn_by_us
    assert "cross-validation is the main figure" in told(parts)


def test_groups_stay_on_one_side() -> None:
    groups: list[str | None] = [f"patient {at // 7}" for at in range(1000)]
    scanned = scanned_of(["ants" if at % 2 else "bees" for at in range(1000)], groups=groups)
    parts = drawn(scanned)
    sides = [{groups[at] for at in part} for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, sides)) == len(set(groups)) == len(np.unique(parts.groups))
    assert 150 < len(parts.test) < 250


def test_copies_and_near_copies_stay_with_their_original() -> None:
    scanned = scanned_of(thousand())
    for at in range(0, 400, 2):
        (same_pixels if at % 4 else near_copy)(scanned, at, at + 1)
    parts = drawn(scanned)
    side = np.zeros(1000, dtype=int)
    side[parts.val], side[parts.test] = 1, 2
    assert all(side[at] == side[at + 1] for at in range(0, 400, 2))
    assert "200 images are copies or near copies of another one" in told(parts)


def test_near_copies_join_the_groups_of_a_user() -> None:
    scanned = near_copy(scanned_of(thousand(), groups=[f"p{at // 2}" for at in range(1000)]), 0, 999)
    groups = drawn(scanned).groups
    assert len({int(groups[at]) for at in (0, 1, 998, 999)}) == 1
    assert len(np.unique(groups)) == 499


def test_a_users_own_division_is_kept() -> None:
    labels, splits = given(60, 20, 20)
    parts = drawn(scanned_of(labels, splits=splits))
    assert not parts.drawn_by_us
    assert parts.train.tolist() == list(range(60))
    assert parts.val.tolist() == list(range(60, 80))
    assert parts.test.tolist() == list(range(80, 100))
    assert parts.notes == ()


def test_with_train_and_val_only_val_is_the_test_part() -> None:
    labels, splits = given(100, 30)
    parts = drawn(scanned_of(labels, splits=splits))
    assert parts.test.tolist() == list(range(100, 130))
    assert len(parts.val) == 15
    assert set(parts.val.tolist()) < set(range(100))
    assert "The val split is the test split; validation is drawn from train." in told(parts)


def test_with_train_and_test_validation_is_carved_by_group() -> None:
    labels, splits = given(100, 0, 30)
    groups = [f"p{at // 2}" for at in range(130)]
    parts = drawn(scanned_of(labels, splits=splits, groups=groups))
    assert parts.test.tolist() == list(range(100, 130))
    assert not {groups[at] for at in parts.train} & {groups[at] for at in parts.val}
    assert len(parts.val) >= 10


def test_train_alone_is_undivided_data() -> None:
    labels, splits = given(600)
    assert len(drawn(scanned_of(labels, splits=splits)).test) == 120


@pytest.mark.parametrize("places", [(0, 119), (0, 90), (90, 119)])
def test_equal_pixels_on_two_sides_stop_the_run(places: tuple[int, int]) -> None:
    labels, splits = given(80, 20, 20)
    scanned = same_pixels(scanned_of(labels, splits=splits), *places)
    with pytest.raises(LeakedSplit, match="1 pair are the same image") as caught:
        drawn(scanned)
    assert f"{places[0]}.png and {places[1]}.png" in caught.value.message
    assert "--allow-leaks" in caught.value.fix


def test_a_group_on_two_sides_stops_the_run() -> None:
    labels, splits = given(100, 0, 20)
    groups: list[str | None] = [None] * 120
    groups[3] = groups[110] = "patient 7"
    with pytest.raises(LeakedSplit, match=r"1 pair are of one group \(3.png and 110.png\)"):
        drawn(scanned_of(labels, splits=splits, groups=groups))


def test_leaks_may_be_allowed_and_are_told() -> None:
    labels, splits = given(100, 0, 20)
    parts = drawn(same_pixels(scanned_of(labels, splits=splits), 0, 110), allow_leaks=True)
    assert parts.test.tolist() == list(range(100, 120))
    assert "Leaks between the splits were allowed, so the figures flatter: 1 pair are the same image" in told(parts)


def test_near_copies_across_a_users_division_are_told() -> None:
    labels, splits = given(100, 0, 20)
    parts = drawn(near_copy(scanned_of(labels, splits=splits), 4, 111))
    assert "Near copies across the splits: 1 pair are nearly the same (4.png and 111.png)." in told(parts)


def test_one_picture_with_two_labels_is_told() -> None:
    scanned = same_pixels(scanned_of(thousand()), 0, 999)
    assert "The same image with two labels, 1 time: 0.png (ants) and 999.png (bees)." in told(drawn(scanned))


def test_long_labels_are_not_repeated() -> None:
    assert labelled("0.png", "ants") == "0.png (ants)"
    assert labelled("0.png", '[{"label": "ant", "xmin": 1, "ymin": 1, "xmax": 9, "ymax": 9}]') == "0.png"


def test_damaged_files_are_in_no_part() -> None:
    parts = drawn(damaged(scanned_of(thousand()), 5, 995))
    everything = np.concatenate([parts.train, parts.val, parts.test])
    assert len(everything) == 998
    assert not {5, 995} & set(everything.tolist())


def test_a_damaged_copy_leaks_nothing() -> None:
    labels, splits = given(100, 0, 20)
    scanned = damaged(same_pixels(scanned_of(labels, splits=splits), 0, 110), 0)
    assert len(drawn(scanned).test) == 20


def test_a_class_whose_files_are_all_damaged_is_refused() -> None:
    scanned = damaged(scanned_of(["ants"] * 50 + ["bees"] * 2), 50, 51)
    with pytest.raises(BadData, match="No usable example of bees is left in the data"):
        drawn(scanned)


def test_a_class_that_train_alone_lost_is_refused() -> None:
    labels, splits = ["ants", "bees", "ants", "bees"], ["train", "train", "test", "test"]
    with pytest.raises(BadData, match="No usable example of bees is left in train"):
        drawn(damaged(scanned_of(labels, splits=splits), 1))


def test_too_few_examples_get_no_validation_part() -> None:
    parts = drawn(scanned_of(thousand()[650:710]))
    assert len(parts.val) == 0
    assert len(parts.train) == 60
    assert "No validation split" in told(parts)


def test_a_class_of_one_group_stays_in_train() -> None:
    labels = ["ants"] * 200 + ["wasps"] * 200 + ["bees"] * 200
    groups: list[str | None] = [None] * 400 + ["one hive"] * 200
    scanned = scanned_of(labels, groups=groups)
    for seed in range(5):
        parts = drawn(scanned, seed=seed)
        assert labels_in(scanned, parts.train)["bees"] == 200
        assert set(labels_in(scanned, parts.test)) == {"ants", "wasps"}
        assert "The test split lacks bees" in told(parts)


def test_no_test_split_of_one_class_is_drawn_where_there_are_two() -> None:
    labels = ["ants"] * 400 + ["bees"] * 200
    groups: list[str | None] = [None] * 400 + ["one hive"] * 200
    parts = drawn(scanned_of(labels, groups=groups))
    assert len(parts.test) == 0
    assert "No test split could be drawn" in told(parts)


def test_training_keeps_the_group_that_a_label_has_alone() -> None:
    scanned = scanned_of(["ants", "bees"] * 300)
    strata, rare = np.zeros(600, dtype=np.int64), np.arange(600) >= 590
    for seed in range(3):
        parts = drawn(scanned, seed=seed, strata=strata, untaught=lambda outside, inside: rare[inside])
        assert not rare[parts.test].any()


def test_data_of_two_groups_are_not_torn_apart() -> None:
    labels = ["ants", "bees"] * 300
    groups: list[str | None] = ["a"] * 300 + ["b"] * 300
    parts = drawn(scanned_of(labels, groups=groups))
    assert len(parts.test) == 300
    assert len(parts.val) == 0
    assert "No validation split" in told(parts)


@pytest.mark.parametrize("seed", range(5))
def test_any_data_are_divided_without_a_leak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num = int(rng.integers(20, 900))
    labels = [f"class {at}" for at in rng.integers(0, rng.integers(2, 6), num)]
    labels[:12] = [f"class {at // 2}" for at in range(12)]
    groups: list[str | None] = [None if at == 0 else f"g{at}" for at in rng.integers(0, num // 2, num)]
    scanned = scanned_of(labels, groups=groups)
    for left, right in rng.integers(0, num, (num // 10, 2)).tolist():
        same_pixels(scanned, left, right)
    parts = drawn(damaged(scanned, num - 1), seed=seed)
    sides = [parts.train, parts.val, parts.test]
    assert sum(map(len, sides)) == num - 1
    for keys in ([groups[at] or f"#{at}" for at in range(num)], scanned.decoded):
        seen = [{keys[at] for at in side} for side in sides]
        assert sum(map(len, seen)) == len(set().union(*seen))
    assert set(labels_in(scanned, parts.train)) == {labels[at] for side in sides for at in side}


def test_files_on_the_disk_go_the_whole_way(tmp_path: Path) -> None:
    from regraft.data.open import open_dataset

    rng = np.random.default_rng(0)
    for at in range(40):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((64, 64))
        folder = tmp_path / ("train" if at < 30 else "test") / ("ants" if at % 2 else "bees")
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{at}.png")
        if at == 0:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=60)
            (tmp_path / "test" / "bees").mkdir(parents=True)
            (tmp_path / "test" / "bees" / "copy.jpg").write_bytes(buffer.getvalue())
    dataset = open_dataset(tmp_path)
    memory = ScanMemory(tmp_path / ".memory")
    scanned = list(scan(dataset, memory))[-1]
    assert isinstance(scanned, Scanned)
    parts = draw(dataset, scanned, seed=0)
    assert "Near copies across the splits: 1 pair are nearly the same" in told(parts)
    assert "test/bees/copy.jpg and train/bees/0.png" in told(parts)


def test_strata_are_shared_out_and_groups_kept_where_examples_are_of_no_class() -> None:
    count = 600
    groups: list[str | None] = [f"g{at // 3}" for at in range(count)]
    strata = np.arange(count) % 10
    scanned = scanned_of([f"{at}.5" for at in range(count)], groups=groups)
    parts = draw(scanned.dataset, scanned, seed=0, strata=strata)
    assert len(parts.test) == pytest.approx(120, abs=6)
    assert np.bincount(strata[parts.test]).min() >= 10
    for one, other in ((parts.train, parts.val), (parts.train, parts.test), (parts.val, parts.test)):
        assert not {groups[at] for at in one.tolist()} & {groups[at] for at in other.tolist()}


def test_one_usable_example_is_too_few_to_learn_from() -> None:
    scanned = damaged(scanned_of(["1.0", "2.0", "3.0"]), 0, 1)
    with pytest.raises(BadData, match="1 file can be used"):
        draw(scanned.dataset, scanned, seed=0, strata=np.zeros(3, dtype=np.int64))
    divided = damaged(scanned_of(["1.0", "2.0", "3.0"], splits=["train", "train", "test"]), 0)
    with pytest.raises(BadData, match="1 file of train can be used"):
        draw(divided.dataset, divided, seed=0, strata=np.zeros(3, dtype=np.int64))
