"""Volumes (NIfTI) and series (DICOM) are read as slices with masks, grouped by patient; bad ones are named errors."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from data.dicoms import dicom_at
from regraft.contracts.task import TASKS
from regraft.data.open import open_dataset
from regraft.data.scan import Scanned, scan
from regraft.errors import BadData
from regraft.values import Progress

nibabel = pytest.importorskip("nibabel", reason="volumes are read with the extra `nifti`")

SHAPE = (6, 5, 4)
"""Voxels to the right, to the front, and upwards."""


def ball() -> np.ndarray:
    """A mask: the class 1 in the middle, 2 at the patient's upper right front corner."""
    mask = np.zeros(SHAPE, dtype=np.int16)
    mask[2:4, 2:4, 1:3] = 1
    mask[-1, -1, -1] = 2
    return mask


def volume_at(path: Path, voxels: np.ndarray, affine: Any = None, kind: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 3.0, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(voxels.astype(kind or voxels.dtype), affine), path)
    return path


def case(root: Path, name: str = "p1.nii.gz", mask: np.ndarray | None = None, **how: Any) -> Path:
    """A volume of noise with its mask."""
    noise = np.random.default_rng(len(name)).normal(40, 100, SHAPE).astype(np.float32)
    volume_at(root / "images" / name, noise)
    volume_at(root / "masks" / name, ball() if mask is None else mask, **how)
    return root


def grids(found: Any) -> np.ndarray:
    """The masks, slice by slice, with the classes by their names."""
    numbers = np.array([int(name) for name in found.classes])
    labels = [one.label for one in found.examples]
    return np.stack([numbers[mask.grid()] for mask in TASKS.get("segmentation")(found.classes).encode(labels)])


def test_a_volume_is_read_as_slices_that_are_a_group(tmp_path: Path) -> None:
    for name in ("p1.nii.gz", "p2.nii"):
        case(tmp_path, name)
    found = open_dataset(tmp_path)
    assert (found.kind, found.classes) == ("segmentation", ("0", "1", "2"))
    assert [one.id for one in found.examples][:5] == [*(f"images/p1/{at:04d}" for at in range(4)), "images/p2/0000"]
    assert [one.group for one in found.examples] == ["images/p1"] * 4 + ["images/p2"] * 4
    assert any("2 volumes read as 8 slices, grouped by volume" in note.text for note in found.notes)
    # The patient's right is at the left, the front at the top.
    assert (grids(found)[:4] == ball().transpose(2, 1, 0)[:, ::-1, ::-1]).all()
    assert grids(found)[3, 0, 0] == 2


def test_the_order_in_which_voxels_are_stored_changes_nothing(tmp_path: Path) -> None:
    plain, turned = (open_dataset(case(tmp_path / name)) for name in ("plain", "turned"))
    for folder in ("images", "masks"):
        path = tmp_path / "turned" / folder / "p1.nii.gz"
        image = nibabel.load(path)
        own, other = nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(("P", "S", "L"))
        moved = image.as_reoriented(nibabel.orientations.ornt_transform(own, other))
        assert moved.shape == (5, 4, 6)
        nibabel.save(nibabel.Nifti1Image(moved.get_fdata().astype(np.float32), moved.affine), path)
    turned = open_dataset(tmp_path / "turned")
    assert (grids(plain) == grids(turned)).all()
    for one, other in zip(plain.examples, turned.examples, strict=True):
        assert (np.asarray(Image.open(one.path)) == np.asarray(Image.open(other.path))).all()


def test_slices_are_cut_across_the_largest_spacing_and_grey_from_percentile_to_percentile(tmp_path: Path) -> None:
    ramp = np.linspace(-1000, 3000, 1200, dtype=np.float32).reshape(10, 12, 10)
    affine = np.diag([1.0, 5.0, 1.0, 1.0])
    volume_at(tmp_path / "images" / "a.nii", ramp, affine)
    volume_at(tmp_path / "masks" / "a.nii", np.zeros(ramp.shape, np.uint8), affine)
    found = open_dataset(tmp_path, learnable=False)
    assert len(found.examples) == 12
    shown = np.stack([np.asarray(Image.open(one.path)) for one in found.examples])
    low, high = np.percentile(ramp, (0.5, 99.5))
    wanted = np.floor(np.clip((ramp - low) / (high - low), 0, 1) * 255 + 0.5)
    assert (shown == wanted.transpose(1, 2, 0)[:, ::-1, ::-1]).all()


def test_blank_slices_are_left_out_and_counted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=SHAPE)
    noise[..., 0] = np.nan
    case(tmp_path)
    volume_at(tmp_path / "images" / "p1.nii.gz", noise)
    found = open_dataset(tmp_path)
    assert [one.id for one in found.examples] == ["images/p1/0001", "images/p1/0002", "images/p1/0003"]
    assert any("1 slice of a single grey level left out" in note.text for note in found.notes)
    assert (grids(found) == ball().transpose(2, 1, 0)[1:, ::-1, ::-1]).all()


def test_a_table_gives_volumes_their_split_and_patient(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        case(tmp_path, f"{name}.nii.gz")
    (tmp_path / "cases.csv").write_text("id,split,group\na.nii.gz,train,anna\nb,train,anna\nc,test,carl\n")
    found = open_dataset(tmp_path)
    assert {(one.id[7], one.split, one.group) for one in found.examples} == {
        ("a", "train", "anna"), ("b", "train", "anna"), ("c", "test", "carl"),
    }  # fmt: skip
    (tmp_path / "cases.csv").unlink()
    lines = ["image,mask,split", *(f"images/{one}.nii.gz,masks/{one}.nii.gz,train" for one in "ab")]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    found = open_dataset(tmp_path / "table.csv")
    assert (len(found.examples), {one.group for one in found.examples}) == (8, {"images/a", "images/b"})


BAD = {
    "truncated": r"p1.nii.gz is damaged, truncated or not NIfTI",
    "no NIfTI": r"p1.nii.gz is damaged, truncated or not NIfTI",
    "4-D": r"p1.nii.gz is an array of float32 of shape 6 x 5 x 4 x 2",
    "empty": r"p1.nii.gz contains no finite value",
    "halves": r"The mask .*p1.nii.gz has values other than integers",
    "smaller": r"has another grid than its image images/p1.nii.gz: 6 x 5 x 3 voxels, not 6 x 5 x 4",
    "moved": r"has another grid than its image images/p1.nii.gz: a corner is 2.0 mm away",
    "flat": r"Of images/p1.nii.gz and its mask p1.png, only one is a volume",
    "mixed": r"images contains 1 image and 1 volume",
    "affine": r"p1.nii.gz: its affine, which places the voxels, is damaged",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_volume_is_named(what: str, tmp_path: Path) -> None:
    root = case(tmp_path)
    image, mask = (root / folder / "p1.nii.gz" for folder in ("images", "masks"))
    if what == "truncated":
        image.write_bytes(gzip.compress(gzip.decompress(image.read_bytes())[:-100]))
    elif what == "no NIfTI":
        image.write_bytes(b"no volume at all" * 40)
    elif what == "4-D":
        volume_at(image, np.ones((*SHAPE, 2), np.float32))
    elif what == "empty":
        volume_at(image, np.full(SHAPE, np.nan))
    elif what == "halves":
        volume_at(mask, ball() / 2)
    elif what == "smaller":
        volume_at(mask, ball()[..., :3])
    elif what == "moved":
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        affine[0, 3] = 2
        volume_at(mask, ball(), affine)
    elif what == "affine":
        data = bytearray(gzip.decompress(image.read_bytes()))
        data[296:312] = bytes(16)  # the affine's second row
        image.write_bytes(gzip.compress(data))
    else:
        Image.new("L", (6, 5)).save(root / ("masks" if what == "flat" else "images") / "p1.png")
        if what == "flat":
            mask.unlink()
    with pytest.raises(BadData, match=BAD[what]):
        open_dataset(root)


def test_a_volume_that_is_no_mask_and_has_no_mask_lists_what_is_there(tmp_path: Path) -> None:
    volume_at(tmp_path / "images" / "a.nii.gz", ball())
    (tmp_path / "masks").mkdir()
    with pytest.raises(BadData, match=r"1 of 1 image have no mask or several: a.nii.gz has none"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("masks", ["png", "dicom"])
def test_a_series_is_read_with_masks_of_the_same_names_and_grouped_by_patient(masks: str, tmp_path: Path) -> None:
    for patient in ("anna", "bert"):
        for at in range(3):
            name = generate_uid()
            noise = np.random.default_rng(at + len(patient)).integers(0, 4000, (5, 6)).astype(np.uint16)
            dicom_at(tmp_path / "images" / patient / name, noise, bits=12, PatientID=patient)
            grid = np.zeros((5, 6), dtype=np.uint8)
            grid[at:, :3] = 1
            (tmp_path / "masks" / patient).mkdir(parents=True, exist_ok=True)
            if masks == "dicom":
                dicom_at(tmp_path / "masks" / patient / name, grid, PatientID=patient)
            else:
                Image.fromarray(grid).save(tmp_path / "masks" / patient / f"{name}.png")
    found = open_dataset(tmp_path)
    assert (found.classes, len(found.examples)) == (("0", "1"), 6)
    *_, scanned = (event for event in scan(found) if not isinstance(event, Progress))
    assert isinstance(scanned, Scanned)
    groups = [one.group for one in scanned.dataset.examples]
    assert len(set(groups)) == 2
    assert groups == [groups[0]] * 3 + [groups[3]] * 3


def test_a_segmentation_object_is_named(tmp_path: Path) -> None:
    dicom_at(tmp_path / "images" / "a.dcm", np.arange(30, dtype=np.uint16).reshape(5, 6))
    dicom_at(tmp_path / "masks" / "a.dcm", np.zeros((3, 5, 6), np.uint8), NumberOfFrames=3)
    with pytest.raises(BadData, match=r"a.dcm cannot be read \(it has 3 frames of 1 channels; expected"):
        open_dataset(tmp_path)
