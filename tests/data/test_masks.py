"""Masks beside their pictures are told from classes, by the folder's name and the files' names together."""

from pathlib import Path

import pytest

from regraft.contracts.example import Example, in_file
from regraft.data.labels import suspect_masks


def examples(*folders: tuple[str, list[str]]) -> list[Example]:
    return [
        Example(id=f"{folder}/{name}", contents=in_file(Path(folder) / name), label=folder)
        for folder, names in folders
        for name in names
    ]


PICTURES = [f"{at:03d}.jpg" for at in range(40)]


@pytest.mark.parametrize("folder", ["masks", "Mask", "ground-truth", "labels", "GT"])
@pytest.mark.parametrize("ending", ["", "_mask", "-seg"])
def test_a_folder_called_masks_with_the_names_of_the_pictures_is_told_of(folder: str, ending: str) -> None:
    masks = [f"{at:03d}{ending}.png" for at in range(40)]
    (notice,) = suspect_masks(examples(("images", PICTURES), (folder, masks)))
    assert f"40 of 40 file names in the class {folder!r} also occur in 'images'" in notice.text


def test_classes_whose_files_are_numbered_alike_are_no_masks() -> None:
    assert suspect_masks(examples(("cats", PICTURES), ("dogs", PICTURES))) == []


def test_a_class_of_masks_with_names_of_its_own_is_a_class() -> None:
    assert suspect_masks(examples(("hats", PICTURES), ("masks", [f"carnival-{at}.jpg" for at in range(40)]))) == []
