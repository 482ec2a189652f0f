"""What labels are taken for, and how errors in them are named."""

from pathlib import Path

import pytest

from data.pictures import folder_of, table_of
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.errors import BadData, BadRequest

TAGS = "path,label\na.png,dog;cat\nb.png,\nc.png, cat ; \nd.png,cat;cat\n"
FLAGS = "path,cat,dog\na.png,1,0\nb.png,0,1\nc.png,0,0\nd.png,true,1.0\n"
NUMBERS = "path,width,height\na.png,1,2.50\nb.png,3,-4e1\nc.png, 5 ,6\n"
RANKS = "path,label\na.png,2\nb.png,10\nc.png,1\nd.png,2\ne.png,10\nf.png,1\n"


def opened(folder: Path, text: str, **options: object) -> Dataset:
    return open_dataset(table_of(folder / "t.csv", text), **options)  # type: ignore[arg-type]


def labels(dataset: Dataset) -> list[str]:
    return [example.label for example in dataset.examples]


def texts(dataset: Dataset) -> str:
    return "\n".join(note.text for note in dataset.notes)


def test_a_delimiter_makes_tags_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    dataset = opened(tmp_path, TAGS, label_delimiter=";")
    assert (dataset.kind, dataset.classes) == ("multilabel", ("cat", "dog"))
    assert labels(dataset) == ["cat;dog", "", "cat", "cat"]
    assert "1 example names a label twice" in texts(dataset)
    assert dataset.counts() == {"all": {"cat": 3, "dog": 1}}
    assert dataset.describe() == "4 examples with 2 labels; all 4 (cat 3, dog 1)"


def test_whatever_the_delimiter_tags_are_written_in_one_way(tmp_path: Path) -> None:
    dataset = opened(tmp_path, TAGS.replace(";", " | "), label_delimiter="|")
    assert labels(dataset) == ["cat;dog", "", "cat", "cat"]


def test_a_folders_names_may_hold_tags_too(tmp_path: Path) -> None:
    root = folder_of(tmp_path, ["cat+dog/1.png", "cat/2.png", "dog/3.png"])
    dataset = open_dataset(root, label_delimiter="+")
    assert labels(dataset) == ["cat", "cat;dog", "dog"]


def test_several_columns_of_0_and_1_make_tags(tmp_path: Path) -> None:
    dataset = opened(tmp_path, FLAGS, label_columns=("cat", "dog"))
    assert (dataset.kind, dataset.classes) == ("multilabel", ("cat", "dog"))
    assert labels(dataset) == ["cat", "dog", "", "cat;dog"]


def test_several_columns_of_numbers_make_a_regression(tmp_path: Path) -> None:
    dataset = opened(tmp_path, NUMBERS, label_columns=("width", "height"))
    assert (dataset.kind, dataset.classes) == ("regression", ("width", "height"))
    assert labels(dataset) == ["1.0;2.5", "3.0;-40.0", "5.0;6.0"]
    assert dataset.describe() == "3 examples with width, height; all 3"


def test_the_kind_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    prints = {
        opened(tmp_path, RANKS).fingerprint,
        opened(tmp_path, RANKS, task="regression").fingerprint,
        opened(tmp_path, RANKS, task="ordinal").fingerprint,
    }
    assert len(prints) == 3


def test_one_column_of_numbers_is_a_regression_where_it_is_called_one(tmp_path: Path) -> None:
    dataset = opened(tmp_path, NUMBERS, label_column="width", task="regression")
    assert dataset.classes == ("width",)
    assert labels(dataset) == ["1.0", "3.0", "5.0"]


def test_many_numbers_taken_for_classes_are_pointed_out(tmp_path: Path) -> None:
    names = [f"{at}.png" for at in range(44)]
    folder_of(tmp_path, names)
    rows = "\n".join(f"{name},{at // 2}" for at, name in enumerate(names))
    dataset = open_dataset(table_of(tmp_path / "t.csv", f"path,label\n{rows}\n"))
    assert dataset.kind == "classification"
    assert "22 different numbers, treated as classes" in texts(dataset)
    assert "--task regression" in texts(dataset)
    few = open_dataset(table_of(tmp_path / "few.csv", RANKS))
    assert "--task" not in texts(few)


def test_numbers_that_cannot_be_classes_come_with_the_hint(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="only one example") as raised:
        opened(tmp_path, NUMBERS, label_column="width")
    assert "--task regression" in raised.value.fix


@pytest.mark.parametrize("cell", ["n/a", "", "nan", "inf", "1_000", '"1,000"', "12 m"])
def test_a_cell_that_is_no_number_is_named_with_row_and_column(tmp_path: Path, cell: str) -> None:
    text = f"path,price\na.png,1\nb.png,{cell}\nc.png,3\n"
    named = cell.strip('"')
    with pytest.raises(BadData) as raised:
        opened(tmp_path, text, label_column="price", task="regression")
    if cell:
        assert raised.value.message == f"t.csv row 3: price is {named!r}; expected a number."
    else:
        assert "t.csv row 3: the column 'price' is empty" in raised.value.message


def test_how_many_more_cells_are_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"t\.csv row 2: height is ''; expected a number \(1 other cell like it\)"):
        opened(tmp_path, "path,width,height\na.png,1,\nb.png,x,2\n", label_columns=("width", "height"))


def test_a_flag_is_0_or_1(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"t\.csv row 3: dog is '2'; expected 0 or 1"):
        opened(tmp_path, FLAGS.replace("0,1\n", "0,2\n"), label_columns=("cat", "dog"), task="multilabel")


def test_the_ranks_of_numbers_are_their_order(tmp_path: Path) -> None:
    dataset = opened(tmp_path, RANKS, task="ordinal")
    assert (dataset.kind, dataset.classes) == ("ordinal", ("1", "2", "10"))


def test_the_ranks_of_words_are_the_users_to_say(tmp_path: Path) -> None:
    text = RANKS.replace("10", "high").replace("2\n", "mid\n").replace(",1\n", ",low\n")
    with pytest.raises(BadRequest, match="order of the classes high, low, mid is unknown"):
        opened(tmp_path, text, task="ordinal")
    assert opened(tmp_path, text, task="ordinal", order=("low", "mid", "high")).classes == ("low", "mid", "high")
    with pytest.raises(BadData, match=r"t\.csv row 3: 'high' is not one of the ordered classes \(low, mid\)"):
        opened(tmp_path, text, task="ordinal", order=("low", "mid"))
    with pytest.raises(BadData, match=r"target\.order lists top, but no example has this label"):
        opened(tmp_path, text, task="ordinal", order=("low", "mid", "high", "top"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_columns": ("cat", "dog"), "label_delimiter": ";"}, "Both a label delimiter"),
        (
            {"label_columns": ("cat", "dog"), "task": "classification"},
            "Several label columns .* cannot be used with a class",
        ),
        ({"label_columns": ("cat", "dog"), "task": "ordinal"}, "Several label columns .* one label per example"),
        ({"label_column": "path", "task": "multilabel"}, "requires the format of the labels"),
        (
            {"label_column": "cat", "label_delimiter": ";", "task": "classification"},
            "A label delimiter cannot",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        opened(tmp_path, FLAGS, **options)


def test_a_tag_with_the_joint_in_its_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"label 'cat ;'.* contains a ';'"):
        opened(tmp_path, TAGS, label_delimiter="|")


def test_the_same_number_for_all_is_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"price is 5\.0 for all 2 training examples"):
        opened(tmp_path, "path,price\na.png,5\nb.png,5.0\n", label_column="price", task="regression")


def test_tags_that_tell_nothing_apart_are_told_or_refused(tmp_path: Path) -> None:
    text = "path,split,cat,dog,cow\na.png,train,1,0,1\nb.png,train,0,0,1\nc.png,test,0,1,0\n"
    dataset = opened(tmp_path, text, label_columns=("cat", "dog", "cow"))
    assert "No training example has dog, so it cannot be learned." in texts(dataset)
    assert "Every training example has cow, so it cannot be learned." in texts(dataset)
    with pytest.raises(BadData, match="applies to all training examples or to none"):
        opened(tmp_path, text, label_columns=("dog", "cow"))


def test_no_tag_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no example has a label in the column 'label'"):
        opened(tmp_path, "path,label\na.png,\nb.png,\n", label_delimiter=";")


def test_parts_without_a_train_part_are_refused_whatever_the_task(tmp_path: Path) -> None:
    text = "path,split,price\na.png,val,1\nb.png,test,2\n"
    with pytest.raises(BadData, match="no train split"):
        opened(tmp_path, text, label_column="price", task="regression")
