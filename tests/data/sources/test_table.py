"""Tables of files and labels."""

from pathlib import Path

import pytest

from data.pictures import folder_of, picture, table_of
from regraft.data.open import open_dataset
from regraft.errors import BadData, RegraftError, UnknownName

PLAIN = "path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n"


def test_rows_become_examples_in_their_order(tmp_path: Path) -> None:
    dataset = open_dataset(table_of(tmp_path / "t.csv", PLAIN))
    assert [(one.id, one.label, one.row) for one in dataset.examples] == [
        ("a.png", "x", 2),
        ("b.png", "y", 3),
        ("c.png", "x", 4),
        ("d.png", "y", 5),
    ]
    assert [one.path for one in dataset.examples] == [tmp_path / f"{letter}.png" for letter in "abcd"]
    assert dataset.groups is None


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_delimiter_and_the_encoding_are_found(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = PLAIN.replace(",", delimiter).replace("x", "růže, žlutá" if delimiter != "," else "růže")
    dataset = open_dataset(table_of(tmp_path / "t.csv", text, encoding))
    assert dataset.num_examples == 4
    assert dataset.classes[1].startswith("y") or dataset.classes[0].startswith("růže")


def test_columns_may_be_called_anything(tmp_path: Path) -> None:
    rows = ["file;sex;diagnosis;fold;patient", "a.png;m;ill;TRAIN;p1", "b.png;f;well;train;p2"]
    text = "\n".join([*rows, "c.png;m;ill;Valid;p3", "d.png;f;well;valid;", ""])
    dataset = open_dataset(
        table_of(tmp_path / "t.csv", text),
        path_column="file",
        label_column="diagnosis",
        split_column="fold",
        group_column="patient",
    )
    assert dataset.splits == ("train", "val")
    assert [one.group for one in dataset.examples] == ["p1", "p2", "p3", None]
    assert dataset.groups is not None
    assert len(set(dataset.groups.tolist())) == 4
    texts = [note.text for note in dataset.notes]
    assert texts == [
        "Columns of t.csv not used: sex.",
        "1 row of t.csv without a group: each counts as a separate group.",
    ]


def test_fields_in_quotes_and_blank_lines_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path, ["a,1.png"])
    dataset = open_dataset(
        table_of(tmp_path / "t.csv", 'path,label\n"a,1.png","big ""x"""\n\nb.png,y\nc.png,y\nd.png,"big ""x"""\n')
    )
    assert dataset.examples[0].label == 'big "x"'
    assert [one.row for one in dataset.examples] == [2, 4, 5, 6]


def test_absolute_and_backslash_paths_are_found(tmp_path: Path) -> None:
    folder_of(tmp_path / "deep", ["x.png"])
    text = f"path,label\n{tmp_path / 'a.png'},x\ndeep\\x.png,y\n./b.png,x\nc.png,y\n"
    dataset = open_dataset(table_of(tmp_path / "t.csv", text))
    assert dataset.examples[1].path == tmp_path / "deep" / "x.png"
    assert dataset.examples[1].id == "deep\\x.png"
    assert dataset.examples[2].path == tmp_path / "b.png"


def test_labels_with_spaces_may_be_stripped(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.csv", PLAIN.replace("c.png,x", "c.png,x "))
    assert open_dataset(table, strip_labels=True).classes == ("x", "y")


def test_the_same_row_twice_is_read_once_and_said_so(tmp_path: Path) -> None:
    dataset = open_dataset(table_of(tmp_path / "t.csv", PLAIN + "./a.png,x\n"))
    assert dataset.num_examples == 4
    assert "row 6: the same file with the same label again" in dataset.notes[0].text


def test_missing_files_are_named_and_counted(tmp_path: Path) -> None:
    rows = "".join(f"gone{at}.png,x\n" for at in range(7))
    with pytest.raises(BadData) as caught:
        open_dataset(table_of(tmp_path / "t.csv", PLAIN + rows))
    assert caught.value.message.startswith("t.csv: 7 files of 11 cannot be found: 'gone0.png' (row 6), ")
    assert caught.value.message.endswith(" and 2 more.")
    assert str(tmp_path) in caught.value.fix


@pytest.mark.parametrize(
    ("text", "words", "fix"),
    [
        ("", "no header line", "a line of column names"),
        ("path,label\n", "a header and no rows", "one row per example"),
        (PLAIN + "e.png,\nf.png,  \n", "row 6, 7: the column 'label' is empty (2 rows in all)", "fill"),
        (PLAIN + ",x\n", "row 6: the column 'path' is empty", "fill"),
        (PLAIN + "e.png,x,more\n", "row 6: 3 fields where the header has 2", "double quotes"),
        (PLAIN + "e.png,x \nf.png,x \n", "row 6 has label 'x ' (with a trailing space)", "correct the 2 rows: 6, 7"),
        (PLAIN + "a.png,y\n", "rows 2 and 6 give 'a.png' two labels: 'x' and 'y'", "right"),
        (
            "path,label,split\na.png,x,train\nb.png,y,train\nc.png,x,tset\n",
            "row 4: the split is 'tset'",
            "did you mean 'test'?",
        ),
        (
            "path,label,split\na.png,x,train\nb.png,y,train\nc.png,x,\n",
            "row 4: the column 'split' is empty",
            "fill",
        ),
        ("path,label,label\na.png,x,y\n", "two columns named 'label'", "rename"),
    ],
)
def test_what_cannot_be_used_is_named_by_row(tmp_path: Path, text: str, words: str, fix: str) -> None:
    with pytest.raises(BadData) as caught:
        open_dataset(table_of(tmp_path / "t.csv", text))
    assert words in caught.value.message
    assert fix in caught.value.fix


def test_an_unknown_column_is_offered_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"no column in t.csv named 'label'") as caught:
        open_dataset(table_of(tmp_path / "t.csv", PLAIN.replace("label", "labels")))
    assert caught.value.fix.startswith("did you mean 'labels'? Set the name with --label-column; if the first line is")
    with pytest.raises(UnknownName, match="patient_id"):
        open_dataset(table_of(tmp_path / "t.csv", PLAIN), group_column="patient_id")


def test_a_table_that_is_no_utf_8_is_named_by_line(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"t.csv line 2 is not UTF-8 \(byte 0xfc\)"):
        open_dataset(table_of(tmp_path / "t.csv", PLAIN.replace("x", "grün"), "latin-1"))


def test_a_split_column_may_be_left_unread(tmp_path: Path) -> None:
    text = "path,label,split\na.png,x,one\nb.png,y,two\nc.png,x,one\nd.png,y,two\n"
    assert open_dataset(table_of(tmp_path / "t.csv", text), split_column="").splits == ()


def test_parquet_reads_like_text(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table_of(tmp_path / "t.csv", PLAIN)
    frame = pandas.DataFrame(
        {"path": ["a.png", "b.png", "c.png", "d.png"], "label": [1, 0, 1, 0], "group": [1.0, 2.0, None, 2.0]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    dataset = open_dataset(tmp_path / "t.parquet")
    assert dataset.classes == ("0", "1")
    assert [one.group for one in dataset.examples] == ["1", "2", None, "2"]
    assert [one.row for one in dataset.examples] == [0, 1, 2, 3]
    with pytest.raises(UnknownName):
        open_dataset(tmp_path / "t.parquet", label_column="lable")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(RegraftError) as caught:
        open_dataset(tmp_path / "t.parquet")
    assert caught.value.fix == "pip install 'regraft[tables]'"


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(BadData, match=r"t.parquet is not a valid Parquet file"):
        open_dataset(tmp_path / "t.parquet")


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    with pytest.raises(BadData, match="not a folder, a table"):
        open_dataset(tmp_path / "a.png")


def test_paths_may_start_in_another_folder_which_is_offered_where_they_lie_there(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(PLAIN)
    folder_of(tmp_path / "pictures", [f"{letter}.png" for letter in "abcd"])
    with pytest.raises(BadData, match=r"4 files of 4 cannot be found") as raised:
        open_dataset(table)
    assert "--set source.folder=pictures" in raised.value.fix
    dataset = open_dataset(table, folder="pictures")
    assert dataset.examples[0].path == tmp_path / "pictures" / "a.png"
    assert dataset.examples[0].id == "a.png"
