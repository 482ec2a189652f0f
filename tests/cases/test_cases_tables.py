"""Tables as spreadsheets, other systems and scripts write them."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from cases.door import photos
from data.pictures import folder_of, table_of
from regraft.data.dataset import Dataset
from regraft.data.open import open_dataset
from regraft.errors import BadData, UnknownName

ROWS = "a.png,x\nb.png,y\nc.png,x\nd.png,y\n"


def told(dataset: Dataset) -> str:
    return "\n".join(note.text for note in dataset.notes)


def labelled(folder: Path, *labels: str, **options: object) -> Dataset:
    rows = "".join(f"{name}.png\t{label}\n" for name, label in zip("abcdef", labels, strict=False))
    return open_dataset(table_of(folder / "t.tsv", f"path\tlabel\n{rows}"), **options)  # type: ignore[arg-type]


def test_k13_one_number_is_one_class_however_it_is_written(tmp_path: Path) -> None:
    found = labelled(tmp_path, "0", "0.0", "1", "1.0")
    assert found.classes == ("0", "1")
    assert found.targets.tolist() == [0, 0, 1, 1]
    assert "'0.0' and '0' are the same number: read as the class '0'." in told(found)


def test_k13_leading_zeros_are_read_over_with_a_notice(tmp_path: Path) -> None:
    found = labelled(tmp_path, "1", "01", "2", "2")
    assert found.classes == ("1", "2")
    assert "'01' and '1' are the same number" in told(found)


def test_k13_numbers_written_in_one_way_stay_as_they_are(tmp_path: Path) -> None:
    found = labelled(tmp_path, "0.0", "01", "0.0", "01")
    assert found.classes == ("0.0", "01")
    assert found.notes == ()


def test_k13_long_numbers_that_a_float_would_round_are_different_classes(tmp_path: Path) -> None:
    first, second = "12345678901234567890", "12345678901234567891"
    assert labelled(tmp_path, first, second, first, second).classes == (first, second)


def test_k13_a_comma_in_a_number_is_pointed_out_and_kept(tmp_path: Path) -> None:
    found = labelled(tmp_path, "0", "0,0", "1", "1,0", "0", "0,0", learnable=False)
    assert found.classes == ("0", "0,0", "1", "1,0")
    found = labelled(tmp_path, "0", "0,0", "0", "0,0")
    assert "differ only in case, spaces or a comma" in told(found)


def test_k13_folders_tags_and_ranks_follow_the_same_rule(tmp_path: Path) -> None:
    names = [f"{label}/{at}.png" for label in ("1", "01", "2.0", "2") for at in range(2)]
    assert open_dataset(folder_of(tmp_path / "data", names)).classes == ("1", "2")
    assert labelled(tmp_path, "1;02", "2", "1.0", "2;1", label_delimiter=";").classes == ("1", "2")
    ranks = labelled(tmp_path, "1.0", "2", "3", "1", task="ordinal", order=("1.0", "2", "3"), learnable=False)
    assert (ranks.classes, ranks.examples[3].label) == (("1.0", "2", "3"), "1.0")


def test_k13_a_model_reads_its_classes_however_the_test_table_writes_them(tmp_path: Path) -> None:
    found = labelled(tmp_path, "0.0", "1.0", "0.0", "1.0", known=("0", "1"), learnable=False)
    assert found.classes == ("0", "1")
    assert "'0.0' and '0' are the same number" in told(found)


def test_k13_one_number_is_one_group_so_that_no_patient_is_on_two_sides(tmp_path: Path) -> None:
    text = "path,label,group\na.png,x,7\nb.png,y,7.0\nc.png,x,8\nd.png,y,007\n"
    found = open_dataset(table_of(tmp_path / "t.csv", text))
    assert [one.group for one in found.examples] == ["7", "7", "8", "7"]
    assert "'007', '7.0' and '7' are the same number: read as the group '7'." in told(found)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("rows", [ROWS, ROWS.replace(".png", "").replace("a,", "./a,"), ROWS.replace(",", ";")])
def test_k17_a_first_line_that_is_no_header_is_named_as_such(rows: str, encoding: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"The first line of t.csv is not a header: it reads '(\./)?a") as caught:
        open_dataset(table_of(tmp_path / "t.csv", rows, encoding))
    assert "--path-column" in caught.value.fix
    assert "a line such as path,label" in caught.value.fix


def test_k17_lines_above_the_header_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="is not a header: it reads 'My images, 2024") as caught:
        open_dataset(table_of(tmp_path / "t.csv", f'"My images, 2024"\n\npath,label\n{ROWS}'))
    assert caught.value.fix == "delete the lines above line 3, the header."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("sign", "ending"), [(";", "\n"), ("\t", "\r\n"), ("|", "\r")])
def test_k17_the_line_by_which_excel_is_told_the_delimiter_is_followed_with_a_notice(
    sign: str, ending: str, encoding: str, tmp_path: Path
) -> None:
    text = f"sep={sign}\npath,label\n{ROWS}".replace(",", sign).replace("\n", ending)
    found = open_dataset(table_of(tmp_path / "t.csv", text, encoding))
    assert [one.row for one in found.examples] == [3, 4, 5, 6]
    assert "The first line of t.csv is not the header" in told(found)


@pytest.mark.parametrize("first", ["file,label\n", "", "\n"])
def test_k17_other_column_names_are_offered_with_the_flag(first: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"no column in t.csv named 'path'") as caught:
        open_dataset(table_of(tmp_path / "t.csv", first + ROWS.replace(".png", "")))
    assert "--path-column; if the first line is not a header, add one" in caught.value.fix


def test_labels_with_spaces_around_them_are_read_without_and_a_notice_says_so(tmp_path: Path) -> None:
    found = labelled(tmp_path, "x  ", " y", "x  ", " y")
    assert found.classes == ("x", "y")
    assert "Spaces around the labels of t.tsv are removed: 'x  ' is read as 'x'." in told(found)


def test_k17_case_spaces_and_blank_lines_around_a_header_and_rows_do_not_matter(tmp_path: Path) -> None:
    text = "\r\n Path ,LABEL,Split,\r\na.png,x,train,\r\nb.png,y,train,\r\nc.png,x,test,\r\nd.png,y,test,\r\n,,,\r\n"
    found = open_dataset(table_of(tmp_path / "t.csv", text))
    assert [one.split for one in found.examples] == ["train", "train", "test", "test"]
    assert found.notes == ()


@pytest.mark.parametrize("path", ["deep/café", "deep\\café.png", "DEEP/CAFÉ.PNG", " deep/café.png ", "./deep/Café"])
def test_k18_paths_spelt_otherwise_are_found_with_a_notice(path: str, tmp_path: Path) -> None:
    folder_of(tmp_path, [unicodedata.normalize("NFD", "deep/café.png"), "deep/other.png"])
    found = open_dataset(table_of(tmp_path / "t.csv", f"path,label\n{path},x\n{ROWS}"))
    assert unicodedata.normalize("NFC", found.examples[0].path.name) == "café.png"
    assert (
        f"1 path of t.csv found under another spelling (extension, case, accents, spaces or backslashes): {path!r}"
        in told(found)
    )


def test_k18_a_path_that_may_be_two_files_is_refused_with_both(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.csv", f"path,label\n{ROWS.replace('a.png', 'a')}")
    shutil.copy(tmp_path / "a.png", tmp_path / "a.jpg")
    with pytest.raises(BadData, match=r"'a' \(row 2\)") as caught:
        open_dataset(table)
    assert caught.value.fix == "it could be any of a.jpg, a.png; write the full name."


@pytest.mark.parametrize("head", ["C:\\Users\\me\\", "/mnt/other/data/", "gone/"])
def test_k18_paths_of_another_machine_are_offered_without_what_is_not_here(head: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="4 files of 4 cannot be found") as caught:
        open_dataset(table_of(tmp_path / "t.csv", "path,label\n" + "".join(head + row + "\n" for row in ROWS.split())))
    assert f"'a.png' is in {tmp_path}: remove" in caught.value.fix


def test_k18_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "scans", ["1.png"])
    with pytest.raises(BadData, match=r"1 file of 5 cannot be found: 'scans' \(row 2\)") as caught:
        open_dataset(table_of(tmp_path / "t.csv", f"path,label\nscans,x\n{ROWS}"))
    assert caught.value.fix == "'scans' is a folder; write a row for each of its files."


def test_k18_names_that_no_system_allows_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="2 files of 6 cannot be found"):
        open_dataset(table_of(tmp_path / "t.csv", f"path,label\n{ROWS}{'x' * 5000},x\n{'y/' * 300},y\n"))


def test_parquet_text_kept_as_bytes_is_text(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    folder_of(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    frame = pandas.DataFrame({"path": [b"a.png", b"b.png", b"c.png", b"d.png"], "label": ["ž".encode(), b"y"] * 2})
    frame.to_parquet(tmp_path / "t.parquet")
    assert open_dataset(tmp_path / "t.parquet").classes == ("y", "ž")


@pytest.mark.parametrize(("cell", "shown"), [([1], r"\[1\]"), ({"a": 1}, "{'a': 1}"), (b"\xff", r"\[b'\\xff'\]")])
def test_parquet_cells_that_are_no_text_are_named(cell: object, shown: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    folder_of(tmp_path, ["a.png", "b.png"])
    pandas.DataFrame({"path": ["a.png", "b.png"], "label": [cell] * 2}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(BadData, match=rf"t.parquet row 0: label is {shown}; expected text or a number"):
        open_dataset(tmp_path / "t.parquet")


def test_a_table_called_tsv_may_have_another_delimiter(tmp_path: Path) -> None:
    photos(tmp_path, 2)
    rows = "".join(f"{name}/00{at}.png;{name}\n" for name in ("cat", "dog") for at in (0, 1))
    assert len(open_dataset(table_of(tmp_path / "t.tsv", f"path;label\n{rows}")).examples) == 4
