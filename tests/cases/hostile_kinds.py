"""Inputs that nobody should send, of the other kinds of data: texts, recordings, rows of numbers, boxes and masks.

Each maker writes into a folder what a case is about, and returns the path with the flags of `fit` that go with it.
"""

import io
import json
import random
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from cases.door import photo
from cases.hostile_images import NAMES, OTHERS, damaged, images, put, saved
from texts import WORDS, folder_of

NET = ("--input-px", "32", "--backbone", "googlenet:tiny@random")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-16", "latin-1", "cp1251", "utf-32")
CELLS = ("", "nan", "1e999", "-inf", "1,5", "0x10", "1_000", "٣", "yes", "1e-320", "  2 ", "NULL", "\0", '"', "1;2")
"""What stands where a number should."""
LINES = ("", "{", "[]", "null", '{"text": 3}', '{"text": null, "label": "x"}', '{"label": {"a": 1}, "text": []}')
"""What stands where a JSON object should."""
FORMS = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_U8"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"))
SIDES = ("xmin", "ymin", "xmax", "ymax")
BOXES = ([1, 1, 9, 9], [5, 5, 0, 0], [-3, -3, 999, 9], [9, 9, -4, -4], [1, 1], [None, 1, 2, 3], ["1", "2", "3", "4"],
         [1e308, 1e308, 1e308, 1e308], [float("nan")] * 4, [])  # fmt: skip


def sentences(draw: random.Random) -> str:
    """Words, nothing, one very long line, or characters that are rare."""
    odd = ("", " ", "\u202e" * 9, "é" * 600, "😀 👩‍👩‍👧", "\x00\x07", "<script>", "=cmd()", "a" * 50_000, "nan", '"')
    return (
        draw.choice(odd)
        if draw.random() < draw.choice((0, 0, 0.2))
        else " ".join(draw.choices(WORDS[4:], k=draw.randrange(1, 12)))
    )


def texts(root: Path, draw: random.Random) -> tuple[Path, tuple[str, ...]]:
    """A table, a file of JSON lines or folders of texts, for a network of texts that lies beside the cases."""
    net = root.parents[1] / "text_net"
    if not net.exists():
        folder_of("bert", net)
    flags = ("--backbone", f"transformers:{net}@pretrained", "--set", "dtype=float32")
    rows = [(sentences(draw), draw.choice(("fruit", "tools"))) for _ in range(draw.choice((0, 1, 16, 30, 30)))]
    encoding, form = draw.choice(ENCODINGS), draw.randrange(3)
    if form == 0:
        for at, (text, label) in enumerate(rows):
            (root / "data" / label).mkdir(parents=True, exist_ok=True)
            data = draw.choice(OTHERS) if draw.random() < 0.05 else text.encode(encoding, "replace")
            put(root / "data" / label / f"{at}.txt", data)
        (root / "data").mkdir(exist_ok=True)
        return root / "data", flags
    if form == 1:
        lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
        if rows and draw.random() < 0.3:
            odd = (
                "",
                "{",
                "[]",
                "null",
                '{"text": 3}',
                '{"text": null, "label": "x"}',
                '{"label": {"a": 1}, "text": []}',
            )
            lines[draw.randrange(len(lines))] = draw.choice(odd)
        path, text = root / "t.jsonl", "\n".join(lines)
    else:
        mark = draw.choice((",", "\t", ";"))
        body = [f"{mark.join(('text', 'label'))}", *(mark.join((f'"{text}"', label)) for text, label in rows)]
        path, text = root / f"t.{draw.choice(('csv', 'tsv'))}", draw.choice(("\n", "\r\n")).join(body)
    data = text.encode(encoding, "replace")
    path.write_bytes(damaged(data, draw) if draw.random() < 0.2 else data)
    return path, (*flags, "--text-column", draw.choice((*["text"] * 6, "txt", "label")))


def clip(draw: random.Random) -> bytes:
    """A whole recording of some form, rate, depth and length."""
    form, depth = draw.choice(FORMS)
    rate = draw.choice((8_000, 16_000, 22_050, 44_100, 11_111))
    shape = draw.choice((0, 1, 80) if draw.random() < 0.03 else (4_000, 9_000)), draw.choice((1, 2))
    samples = np.random.default_rng(draw.randrange(999)).normal(0, 0.2, shape)
    if depth == "FLOAT" and len(samples) and draw.random() < 0.1:
        samples[0] = draw.choice((np.nan, np.inf, 1e30))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=depth)
    return buffer.getvalue()


def recordings(root: Path, draw: random.Random) -> tuple[Path, tuple[str, ...]]:
    """Folders of clips, some of which are damaged or something else."""
    whole = draw.choice((0.8, 1.0, 1.0))
    for name in draw.sample(NAMES[:20], draw.choice((0, 1, 2, 2, 2, 2))):
        (root / "data" / name).mkdir(parents=True, exist_ok=True)
        for at in range(draw.choice((1, 8, 12, 12))):
            ending = draw.choice(("wav", "wav", "flac", "ogg", "mp3", "WAV", "m4a"))
            how = draw.random()
            data = (
                clip(draw)
                if how < whole
                else damaged(clip(draw), draw)
                if how < (1 + whole) / 2
                else draw.choice(OTHERS)
            )
            put(root / "data" / name / f"{at}.{ending}", data)
    (root / "data").mkdir(exist_ok=True)
    return root / "data", NET


def numbers(root: Path, draw: random.Random) -> tuple[Path, tuple[str, ...]]:
    """A table of numbers, some of whose cells are none, some columns constant, some rows too long."""
    columns = draw.sample((*NAMES[:16], "x", "y", "z", "x"), draw.choice((0, 1, 3, 9, 9)))
    header = [*(name.replace("\n", "") for name in columns), draw.choice((*["label"] * 6, "class", "x"))]
    rows = []
    odd = draw.choice((0, 0, 0.03))
    for at in range(draw.choice((0, 1, 20, 40))):
        cells = [f"{draw.gauss(at % 2, 1):.4g}" if draw.random() >= odd else draw.choice(CELLS) for _ in columns]
        rows.append([*cells, "ab"[at % 2] if draw.random() >= odd else f"{draw.random():.3f}"])
        if draw.random() < odd / 3:
            rows[-1] = rows[-1][:-1] if draw.random() < 0.5 else [*rows[-1], "more"]
    mark = draw.choice((",", ",", ";", "\t"))
    text = "\n".join(mark.join(row) for row in (header, *rows))
    data = text.encode(draw.choice(ENCODINGS), "replace")
    path = root / f"t.{draw.choice(('csv', 'csv', 'csv', 'tsv', 'parquet'))}"
    path.write_bytes(damaged(data, draw) if draw.random() < 0.2 else data)
    return path, ("--backbone", draw.choice(("columns@random", "columns@random", "columns_mlp@random")))


def boxes(root: Path, draw: random.Random) -> tuple[Path, tuple[str, ...]]:
    """Annotations in COCO's JSON or in VOC's XML, with boxes as nobody should draw them."""
    coco = draw.random() < 0.6
    folder = root / "data" / ("images" if coco else "JPEGImages")
    folder.mkdir(parents=True)
    count, odd = draw.choice((0, 1, 12, 16, 16)), draw.choice((0, 0, 0, 0.1))
    for at in range(count):
        put(
            folder / f"{at}.png",
            draw.choice((images(draw), *OTHERS)) if draw.random() < odd / 2 else saved(photo(at % 2, at), "PNG"),
        )
    drawn = []
    for at in range(2 * count):
        box = draw.choice(BOXES) if draw.random() < odd else BOXES[0]
        image, kind = draw.random() < odd / 2, draw.random() < odd / 4
        drawn.append((count if image else at % count, box, 2 if kind else draw.randrange(2)))
    if coco:
        place = ("", "../", "/") if draw.random() < odd else ("",)
        described = {
            "images": [{"id": at, "file_name": f"{draw.choice(place)}{at}.png"} for at in range(count)],
            "annotations": [
                {"id": at, "image_id": image, "bbox": box, "category_id": kind}
                for at, (image, box, kind) in enumerate(drawn)
            ],
            "categories": [{"id": 0, "name": "cell"}, {"id": 1, "name": draw.choice(NAMES)}],
        }
        if draw.random() < odd:
            described.pop(draw.choice(tuple(described)))
        data, path = json.dumps(described).encode(), root / "data" / "annotations.json"
        path.write_bytes(damaged(data, draw, 2_000) if draw.random() < 0.1 else data)
        path = draw.choice((path, root / "data"))
    else:
        (root / "data" / "Annotations").mkdir()
        for at in range(count):
            text = f"<annotation><filename>{at}.png</filename>"
            for _, box, kind in (one for one in drawn if one[0] == at):
                sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(SIDES, box, strict=False))
                text += f"<object><name>{('a', 'b', '')[kind]}</name><bndbox>{sides}</bndbox></object>"
            bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' if draw.random() < odd / 4 else ""
            data = f"{bomb}{text}</annotation>".encode()
            put(root / "data" / "Annotations" / f"{at}.xml", damaged(data, draw) if draw.random() < odd / 4 else data)
        path = root / "data"
    return path, (*NET, "--task", draw.choice(("detection", "detection", "auto")))


def masks(root: Path, draw: random.Random) -> tuple[Path, tuple[str, ...]]:
    """Folders of images and masks, or a table of them, with masks as nobody should give them."""
    count, odd = draw.choice((0, 1, 12, 16, 16)), draw.choice((0, 0, 0.05, 0.2))
    split = draw.choice(("", "", "train/", "val/"))
    rows = [["image", "mask", "split"]]
    for folder in ("images", "masks"):
        (root / "data" / split / folder).mkdir(parents=True)
    for at in range(count):
        image = photo(at % 2, at)
        wide, high = image.size
        values = draw.choice(((0, 1), (0, 255), (0, 1, 255), (3, 7), (0,))) if draw.random() < odd else (0, 1, 2)
        size = (high, wide) if draw.random() > odd / 3 else (wide + 1, high)
        grid = np.array([draw.choice(values) for _ in range(16)], dtype=np.uint8).reshape(4, 4)
        mask = Image.fromarray(grid).resize(size[::-1], Image.Resampling.NEAREST)
        mode = draw.choice(("RGB", "1", "RGBA", "LA", "F", "CMYK", "I;16")) if draw.random() < odd else "L"
        data = saved(mask.convert(mode) if mode != "I;16" else Image.fromarray(grid.astype(np.uint16)),
                     "TIFF" if mode in ("F", "CMYK") else "PNG")  # fmt: skip
        if draw.random() < odd / 2:
            data = draw.choice((images(draw), b"", *OTHERS))
        ending = draw.choice(("_mask", "-seg", " gt", "")) if draw.random() < odd else ""
        put(root / "data" / split / "images" / f"{at}.png", saved(image, "PNG"))
        if draw.random() > odd / 3:
            put(
                root / "data" / split / "masks" / f"{at}{ending}.png",
                damaged(data, draw) if odd and at % 7 == 3 else data,
            )
        name = draw.choice(NAMES) if draw.random() < odd / 3 else f"{split}masks/{at}.png"
        rows.append([f"{split}images/{at}.png", name, ("train", "test")[at % 2]])
    if draw.random() < 0.3:
        lines = [
            "0 ground",
            "1 cell",
            "2,0,0 road",
            "255 ignore",
            "2 nucleus",
            draw.choice(NAMES),
            "-1 x",
            "9" * 30 + " y",
        ]
        put(
            root / "data" / "classes.txt",
            "\n".join(draw.sample(lines, draw.randint(0, len(lines)))).encode("utf-8", "replace"),
        )
    if draw.random() < 0.3:
        put(root / "data" / "t.csv", "\n".join(",".join(row) for row in rows).encode("utf-8", "replace"))
        return root / "data" / "t.csv", (*NET, "--task", draw.choice(("segmentation", "auto")))
    return root / "data", (*NET, "--task", draw.choice(("segmentation", "segmentation", "auto")))
