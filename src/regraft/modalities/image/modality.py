"""The modality of images: implements the interface with the functions of the other files in this folder."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from regraft.contracts.example import Content, Contents, Example, Marks
from regraft.contracts.family import Card
from regraft.contracts.modality import Modality, Placement, Record, Shapes, Trait, View
from regraft.errors import BadData, BadRecipe, Undecodable
from regraft.identity import digest_contents
from regraft.modalities.image import augment, prepare
from regraft.modalities.image.augment import PLACEMENT, placed_view, placement_of, preset
from regraft.modalities.image.decode import (
    bytes_of,
    contents_of,
    decoder,
    golden_digests,
    golden_files,
    image_of,
    is_one,
    largest,
)
from regraft.modalities.image.dicom import HEAD_BYTES, is_dicom
from regraft.modalities.image.fingerprint import LAYOUT, MEASURED, RULE, by_patient, dicom_reader, measure, near_pairs
from regraft.modalities.image.planes import MARK, Planes, fits
from regraft.values import Event, Notice
from regraft.words import counted

if TYPE_CHECKING:
    from regraft.modalities.image.planes import PillowImage

ENDINGS = frozenset((
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "tif", "tiff", "webp", "avif", "ppm", "pgm",
    "pbm", "pnm", "jp2", "j2k", "jpx", "dcm", "dicom", "npy",
))  # fmt: skip
"""Extensions of files treated as images, in any case; the actual format is determined on decoding. DICOM files often
have no extension, or a number; such files are recognised by their first bytes."""
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", MARK)
"""Signatures of the most common formats (JPEG, PNG, GIF, BMP, TIFF, WebP, arrays), for files without an extension."""
PREVIEW_PX = 160
"""Longer side of a preview, in pixels."""


class ImageModality(Modality):
    """Photographs, scans, X-rays, tissue tiles, or arrays with many channels."""

    name = "image"
    recorder = "camera"
    one, many = "image", "images"
    layout = LAYOUT
    measured = MEASURED
    Preparation = prepare.Preparation
    Augmentation = augment.Augmentation
    near_copy_rule = RULE
    standalone_packages = ("Pillow",)

    @property
    def limit(self) -> int:
        return largest()

    def claims(self, name: str, head: Callable[[], bytes]) -> bool:
        ending = name.rpartition(".")[2].lower()
        if "." in name and not ending.isdecimal():
            return ending in ENDINGS
        return is_dicom(first := head()[:HEAD_BYTES]) or first.startswith(MAGIC)

    def fingerprint(self, contents: Contents, limit: int = 0) -> Shaped[np.ndarray, ""]:
        return measure(_only(contents), limit)

    def identity(self, contents: Contents) -> tuple[str, bool]:
        data = bytes_of(_only(contents))
        return digest_contents(data), is_dicom(data)

    def cropped_copies(self, contents: Sequence[Contents], pairs: Int[np.ndarray, "m 2"]) -> Bool[np.ndarray, " m"]:
        from regraft.modalities.image.alignment import SIDE, copies, miniature

        whole = np.ones(len(contents), dtype=bool)
        grey = np.zeros((len(contents), SIDE, SIDE), dtype=np.uint8)
        for at in np.unique(pairs).tolist():
            try:
                grey[at] = miniature(image_of(_only(contents[at]), 0))
            except Undecodable:
                whole[at] = False
        return copies(grey, pairs) & whole[pairs].all(axis=1)

    def traits(self, prints: Shaped[np.ndarray, " n"], preparation: Any) -> Sequence[Trait]:
        from regraft.modalities.image.traits import traits

        return traits(prints, preparation)

    def near_copies(self, prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
        return near_pairs(prints)

    def reader(self, *, optional: bool = False) -> str:
        return decoder(dicom=optional)

    def reader_number(self) -> int:
        return dicom_reader()

    def grouped(
        self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"]
    ) -> tuple[Sequence[Example], Sequence[Notice]]:
        return by_patient(examples, prints["group"], (prints["reader"] == 0) & (prints["error"] == b""))

    def augmentation(self, name: str, changes: Mapping[str, Any]) -> augment.Augmentation:
        return preset(name, changes)

    def whole(self, preparation: Any) -> Any:
        return replace(preparation, resize_px="letterbox")

    def load(self, contents: Contents, preparation: Any, view: View | None, piece: int = 0) -> tuple[Record, Placement]:
        image = image_of(_only(contents), preparation.channels)
        if view is None:
            box = preparation.centre(image.width, image.height)
            return {"pixels": preparation.cut(image, box)}, placement_of(box)
        pixels, placement = placed_view(
            image, preparation, view.augmentation, number=view.number, seed=view.seed, content=view.content
        )
        return {"pixels": pixels}, placement

    def shapes(self, preparation: Any) -> Shapes:
        return {"pixels": ((*preparation.input_px, preparation.channels), "uint8")}

    def placements(self, preparation: Any, augmentation: Any = None) -> Shapes:
        del preparation
        if augmentation is not None and (augmentation.operations or augmentation.on_device):
            name = "operations" if augmentation.operations else "on_device"
            raise BadRecipe(
                f"augment.{name} is set, but targets move with the views here, and these views do not record their "
                "position in the image.",
                fix=f"leave out augment.{name}.",
            )
        return PLACEMENT

    def golden(self, seed: int, preparation: Any) -> list[Contents]:
        return [contents_of(file) for file in golden_files(seed, preparation.channels)]

    def golden_digests(self, seed: int, preparation: Any) -> list[str]:
        return golden_digests(seed, preparation.channels)

    def given(self, value: Any) -> Contents:
        return contents_of(value)

    def is_one(self, value: Any) -> bool:
        return is_one(value)

    def check(self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"], card: Card) -> Sequence[Notice]:
        found, wanted = prints["channels"], card.preparation.channels
        wrong = [at for at, channels in enumerate(found.tolist()) if not fits(channels, wanted)]
        if not wrong:
            return ()
        if wanted == 3 and len(set(found[wrong].tolist())) == 1 and len(wrong) == len(examples):
            fix = f"set channels to {found[wrong[0]]} (--set channels={found[wrong[0]]}): the first layer is adapted."
        else:
            fix = f"use data with {counted(wanted, 'channel')} only, or another backbone."
        raise BadData(
            f"{examples[wrong[0]].id} has {counted(int(found[wrong[0]]), 'channel')}; {card.name} takes {wanted} "
            f"({len(wrong):,} of {len(examples):,} examples do not match).",
            fix=fix,
        )

    def on_device(
        self,
        contents: Sequence[Contents],
        digests: Sequence[str],
        preparation: Any,
        augmentation: Any,
        *,
        examples: Sequence[int],
        seed: int,
        device: str,
        workers: int,
    ) -> Generator[Event, None, Callable[[np.ndarray, np.ndarray], Mapping[str, Any]]]:
        from regraft.modalities.image.on_device import HeldImages

        def decoded(example: int) -> "PillowImage | Planes":
            return image_of(_only(contents[example]), preparation.channels)

        held = HeldImages(
            decoded, digests, preparation, augmentation, seed=seed, device=device, workers=workers
        )  # fmt: skip
        yield from held.hold(examples)
        return lambda asked, numbers: {"pixels": held.batch(asked, numbers)}

    def standalone(self) -> str:
        from regraft.modalities.image.standalone import SCRIPT

        return SCRIPT

    def explained(self, record: Record, weights: np.ndarray) -> bytes | str:
        from regraft.modalities.image.heat import heat_map

        return heat_map(record["pixels"], weights)

    def marked(self, content: Content, marks: Marks, longest: int = 0) -> Mapping[str, bytes]:
        from regraft.modalities.image.masks import drawn

        return drawn(content, marks, longest)

    def preview(self, content: Content) -> bytes | str:
        import io

        image = image_of(content)
        shown = image.in_three() if isinstance(image, Planes) else image.convert("RGB")
        shown.thumbnail((PREVIEW_PX, PREVIEW_PX))
        buffer = io.BytesIO()
        shown.save(buffer, "PNG")
        return buffer.getvalue()


def _only(contents: Contents) -> Content:
    (content,) = contents.values()
    return content
