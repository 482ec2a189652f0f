"""Every check says nothing of clean data and finds what was planted, all of it and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from regraft.auditing.neighbours import alike
from regraft.contracts.audit import CHECKS, SessionView
from regraft.contracts.page import Finding
from regraft.contracts.task import TASKS
from scenes import put, scene

View = Callable[..., SessionView]


def found(name: str, view: SessionView) -> dict[str, Finding]:
    """What a check finds, by its title."""
    return {one.check: one for one in CHECKS.get(name).run(view)}


@pytest.mark.parametrize("name", CHECKS.names())
def test_clean_data_give_no_finding(name: str, clean: Path, view: View) -> None:
    if name == "label_errors":
        pytest.importorskip("cleanlab", reason="pip install 'regraft[audit]'")
    assert found(name, view(clean)) == {}


def test_files_that_are_cut_off_or_no_images_are_named(clean: Path, view: View) -> None:
    cut = clean / "train" / "a" / "0.png"
    cut.write_bytes(cut.read_bytes()[:-300])
    (clean / "train" / "b" / "1.png").write_text("no image")
    (one,) = found("unreadable", view(clean)).values()
    assert set(one.examples) == {"train/a/0.png", "train/b/1.png"}
    assert one.severity == "warn"
    assert "truncated" in one.message


def test_many_unreadable_files_stop(clean: Path, view: View) -> None:
    for path in sorted((clean / "test" / "a").iterdir())[:6]:
        path.write_text("no image")
    (one,) = found("unreadable", view(clean)).values()
    assert one.severity == "stop"


def test_copies_across_splits_stop_and_others_are_told(clean: Path, view: View) -> None:
    with Image.open(clean / "train/a/0.png") as image:
        put(image, clean / "test/a/again.tiff")  # other bytes, the same pixels
    shutil.copy(clean / "train/b/1.png", clean / "train/b/twice.png")
    told = found("exact_copies", view(clean))
    across, within = told["Exact copies across splits"], told["Exact copies in one split"]
    assert (across.severity, set(across.examples)) == ("stop", {"train/a/0.png", "test/a/again.tiff"})
    assert (within.severity, set(within.examples)) == ("info", {"train/b/1.png", "train/b/twice.png"})


def test_re_encoded_copies_are_near_copies(clean: Path, view: View) -> None:
    with Image.open(clean / "train/a/2.png") as image:
        put(image.resize((48, 48)), clean / "test/a/smaller.jpg", quality=80)
    (one,) = found("near_copies", view(clean)).values()
    assert (one.severity, set(one.examples)) == ("warn", {"train/a/2.png", "test/a/smaller.jpg"})


@pytest.mark.slow
def test_cropped_and_mirrored_copies_are_found_that_fingerprints_do_not_find(clean: Path, view: View) -> None:
    with Image.open(clean / "train/a/4.png") as image:
        put(image.crop((3, 2, 60, 61)), clean / "test/a/cropped.jpg", quality=80)
    with Image.open(clean / "train/b/5.png") as image:
        put(ImageOps.mirror(image), clean / "train/b/mirrored.png")
    seen = view(clean)
    rows = {one.id: at for at, one in enumerate(seen.examples)}
    features = seen.features.copy()  # a backbone finds both alike
    features[rows["test/a/cropped.jpg"]] = features[rows["train/a/4.png"]] + 1
    features[rows["train/b/mirrored.png"]] = features[rows["train/b/5.png"]] + 1
    told = found("cropped_copies", view(clean, features=features))
    assert set(told["Cropped copies across splits"].examples) == {"train/a/4.png", "test/a/cropped.jpg"}
    assert set(told["Cropped copies in one split"].examples) == {"train/b/5.png", "train/b/mirrored.png"}
    assert found("near_copies", seen) == {}


def test_one_content_with_two_labels_stops(clean: Path, view: View) -> None:
    shutil.copy(clean / "train/a/0.png", clean / "train/b/other.png")
    with Image.open(clean / "train/a/2.png") as image:
        put(image, clean / "train/b/near.jpg", quality=85)
    told = found("two_labels", view(clean))
    assert told["One content with two labels"].severity == "stop"
    assert set(told["One content with two labels"].examples) == {"train/a/0.png", "train/b/other.png"}
    assert set(told["One content with two labels, near copies"].examples) == {"train/a/2.png", "train/b/near.jpg"}


def test_labels_that_the_probe_is_sure_against_are_found(clean: Path, view: View) -> None:
    pytest.importorskip("cleanlab", reason="pip install 'regraft[audit]'")
    said = view(clean).probabilities
    said[[3, 30]] = said[[3, 30], ::-1]
    seen = view(clean, probabilities=said)
    (one,) = found("label_errors", seen).values()
    assert set(one.examples) == {seen.examples[at].id for at in (3, 30)}
    said[5] = np.nan  # an example of which no probe could know
    assert "Likely label errors" in found("label_errors", view(clean, probabilities=said))


def test_small_missing_and_unequal_classes_are_told(tmp_path: Path, view: View) -> None:
    for number in range(40):
        put(scene(number), tmp_path / "d/train" / ("many" if number >= 3 else "few") / f"{number}.png")
    put(scene(99), tmp_path / "d/test/many/99.png")
    told = found("class_sizes", view(tmp_path / "d"))
    assert "few (3)" in told["Class sizes: small of the train split"].message
    assert told["Class sizes: missing of the test split"].severity == "warn"
    assert told["Class sizes: unequal"].score == pytest.approx(37 / 3)


def patients(root: Path, across: bool) -> Path:
    """Eight patients of five images; those of each in both splits or in one, each of one class."""
    for patient in range(8):
        for number in range(5):
            test = number == 4 if across else patient > 5
            name = f"p{patient}_{number + 10 * patient}.png"
            put(scene(100 * patient + number), root / ("test" if test else "train") / "ab"[patient % 2] / name)
    return root


def test_patients_in_names_are_found_with_the_pattern_and_the_leak(tmp_path: Path, view: View) -> None:
    told = found("groups", view(patients(tmp_path / "d", across=True)))
    assert "--group-pattern" in told["Groups: in names"].fix
    assert told["Groups: across splits"].severity == "warn"
    assert len(told["Groups: across splits"].examples) == 8


def test_given_groups_across_splits_stop_and_few_of_one_class_are_told(tmp_path: Path, view: View) -> None:
    pattern = {"group_pattern": r"/(p\d+)_"}
    told = found("groups", view(patients(tmp_path / "d", across=True), options=pattern))
    assert told["Groups: across splits"].severity == "stop"
    assert "Groups: in names" not in told
    told = found("groups", view(patients(tmp_path / "e", across=False), options=pattern))
    assert "Groups: across splits" not in told
    assert "The test split has 2 groups" in told["Groups: too few"].message
    assert told["Groups: as good as classes"].score == 1.0


def test_odd_sizes_blank_and_blurred_images_are_found(clean: Path, view: View) -> None:
    put(scene(500).resize((640, 640)), clean / "train/a/large.png")
    put(scene(501).resize((64, 16)), clean / "train/a/flat.png")
    put(Image.new("RGB", (64, 64), (128, 128, 128)), clean / "train/b/blank.png")
    put(Image.new("RGB", (64, 64), (2, 2, 2)), clean / "train/b/dark.png")
    put(scene(502, 4).resize((64, 64), Image.Resampling.BICUBIC), clean / "train/b/blurred.png")
    told = found("odd_examples", view(clean))
    assert "train/a/large.png" in told["Odd examples: shorter side"].examples
    assert told["Odd examples: aspect ratio"].examples == ("train/a/flat.png",)
    assert set(told["Odd examples: contrast"].examples) == {"train/b/blank.png", "train/b/dark.png"}
    assert told["Odd examples: brightness"].examples == ("train/b/dark.png",)
    assert "train/b/blurred.png" in told["Odd examples: sharpness"].examples
    assert "train/a/flat.png" in told["Odd examples: enlargement"].examples


def test_channels_far_from_the_backbones_are_told(clean: Path, view: View) -> None:
    dark = np.random.default_rng(0).integers(0, 20, (16, 16, 1)).repeat(3, axis=2).astype(np.uint8)
    told = found("source_statistics", view(clean, record=lambda at: {"pixels": dark}))
    assert "standard deviations" in told["Statistics unlike the backbone's"].message
    assert "trained on colour" in told["Statistics unlike the backbone's: grey"].message


def framed(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image.crop((3, 3, 61, 61)), 3, (10, 10, 10))


@pytest.mark.parametrize(("kind", "said"), [("border", "border"), ("format", "format")])
def test_a_border_or_a_format_of_one_class_is_found(clean: Path, view: View, kind: str, said: str) -> None:
    for path in sorted(clean.glob("*/a/*.png")):
        with Image.open(path) as image:
            changed = framed(image) if kind == "border" else image.copy()
        path.unlink()
        put(changed, path.with_suffix(".png" if kind == "border" else ".bmp"))
    one = found("giveaway", view(clean))["Class predictable from the recording"]
    assert said in one.message
    assert one.severity == "warn"
    assert set(one.examples) <= {example.id for example in view(clean).examples}


@pytest.mark.slow
def test_colours_of_groups_are_told(tmp_path: Path, view: View) -> None:
    for group in range(12):
        for number in range(5):
            image = Image.blend(scene(10 * group + number), Image.new("RGB", (64, 64), (20 * group, 90, 90)), 0.7)
            put(image, tmp_path / "d" / "ab"[group % 2] / f"s{group}_{number + 7 * group}.png")
    one = found("appearance", view(tmp_path / "d", options={"group_pattern": r"/(s\d+)_"}))["Colours"]
    assert "variance of the redness lies between the 12 groups" in one.message


def test_nearest_neighbours_are_found_among_what_all_share() -> None:
    rng = np.random.default_rng(0)
    shared = 100 * rng.normal(size=(1, 40)) + 20 * rng.normal(size=(60, 1))
    features = shared + rng.normal(size=(60, 40))
    features[59] = features[0] + 0.01
    assert (0, 59) in set(map(tuple, alike(features).tolist()))


def test_identities_in_two_splits_and_masks_without_a_thing_are_told(tmp_path: Path, view: View) -> None:
    for number, name in enumerate(("train/ann/0", "train/ann/1", "train/bob/0", "test/ann/2", "test/cy/0")):
        put(scene(number), tmp_path / "faces" / f"{name}.png")
    told = found("odd_labels", view(tmp_path / "faces", options={"task": "verification"}))
    (one,) = told.values()
    assert (one.severity, one.examples) == ("stop", ("test/ann/2.png",))
    for number, values in enumerate(([0, 1], [1, 1], [2, 2])):
        put(scene(number, 2), tmp_path / "masks" / "images" / f"{number}.png")
        put(Image.fromarray(np.array([values, values], dtype=np.uint8)), tmp_path / "masks" / "masks" / f"{number}.png")
    (tmp_path / "masks" / "classes.txt").write_text("0 background\n1 cell\n2 ignore\n")
    told = found("odd_labels", view(tmp_path / "masks"))
    assert {name: one.examples for name, one in told.items()} == {
        "Odd labels: masks of one class": ("images/1.png",), "Odd labels: empty masks": ("images/2.png",),
    }  # fmt: skip


def test_boxes_of_two_classes_on_one_thing_are_told() -> None:
    task = TASKS.get("detection")(("cat", "dog"))
    box = '{"label": "%s", "box": [1, 2, 30, %d]}'
    targets = task.encode(
        [f"[{box % one}, {box % two}]" for one, two in ((("cat", 40), ("dog", 41)), (("cat", 40), ("cat", 41)))]
    )
    ((_, _, _, at),) = task.doubtful(targets)
    assert at == [0]
