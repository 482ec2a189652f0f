"""Inputs that nobody should send: image files, folders, archives and tables, drawn from a number and then damaged.

    python hostile.py work MODEL ROOT      read numbers from stdin, run one case each, write a JSON line each
    python hostile.py show NUMBER FOLDER   only make the input of one case, and print the command

A case is a pure function of its number. It ends in a result or in an error with a name and the promised exit code;
`judged` says what else must hold.
"""

import io
import json
import os
import random
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cases.door import TINY, photo, regraft
from data.dicoms import dicom

CODES = frozenset((2, 3, 4, 5, 6, 7, 8, 9))
"""Exit codes of errors with a name."""
QUICK = (*TINY, "--set", "folds=2", "--set", "max_repeats=1")
NAMES = (
    "cat", "dog", "猫", "a b", " x", "-v", "--out", "a'b\"c", "$HOME", "a\nb", "a\x07b", "%s%n", "CON", "train", "test",
    "Val", "x" * 200, "é", "e\u0301", "🦋", "a;b", "a,b", "=1+1", "<b>&amp;", "..x", "~", "1", "0x1", "nan", "null",
    b"caf\xe9".decode("utf-8", "surrogateescape"), "\u202eabc", "a\\b", "C:x", "*", "[a]", "#", ".hidden", "Thumbs.db",
)  # fmt: skip
"""Names of folders and files."""
ENDINGS = (
    "png",
    "jpg",
    "JPEG",
    "gif",
    "bmp",
    "tif",
    "webp",
    "dcm",
    "npy",
    "jp2",
    "avif",
    "ppm",
    "txt",
    "",
    "7",
    "heic",
)
OTHERS = (
    b"", b"\0" * 600, b"<html><body>404</body></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n%",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"/annex/objects/SHA256E-s1--0.png\n",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"\xff\xd8\xff", b"GIF89a",
    b"BM", b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"II*\0\x08\0\0\0", b"\x93NUMPY\1\0",
    b"P6 1 1 255\n",
)  # fmt: skip
"""What is saved under the name of an image, and is none."""


EVIL = ("../out.png", "/abs.png", "a/../../x.png", "C:\\x.png", "cat", "x" * 300, "a\0b")
"""Names of members that an archive should not have."""
MEMBERS = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
HEADERS = (["path", "label"], ["path", "label"], ["label", "path", "split"], ["file", "class"], ["path", "path"], [])


def images(draw: random.Random) -> bytes:
    """A whole image file of some kind."""
    side = draw.choice((1, 2, 7, 32, 40, 64))
    plain = photo(draw.randrange(2), draw.randrange(10_000), side)
    grey = np.asarray(plain.convert("L"))
    kind = draw.randrange(30)
    if kind < 6:
        mode = ("L", "LA", "P", "RGBA", "1", "RGB")[kind]
        options: dict[str, object] = {"transparency": 0} if mode == "P" else {}
        return saved(plain.convert(mode), "PNG", **options)
    if kind < 9:
        deep = Image.fromarray(grey.astype(np.uint16) * 257)
        floats = Image.fromarray(grey.astype(np.float32))
        return (saved(deep, "PNG"), saved(deep, "TIFF"), saved(floats, "TIFF"))[kind - 6]
    if kind < 13:
        mode, progressive = (("RGB", False), ("L", False), ("CMYK", False), ("RGB", True))[kind - 9]
        turned = Image.Exif()
        turned[0x0112] = draw.randrange(12)
        return saved(plain.convert(mode), "JPEG", progressive=progressive, exif=turned)
    if kind < 19:
        form = ("GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF")[kind - 13]
        return saved(plain, form, save_all=True, append_images=[plain.rotate(90)] * 2)
    if kind < 24:
        return saved(plain, ("BMP", "PPM", "JPEG2000", "TIFF", "ICO")[kind - 19])
    if kind < 25:
        return saved(plain.convert("1"), "TIFF", compression="group4")
    if kind < 27:
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(plain) if kind == 25 else grey.astype(np.uint16))
        return buffer.getvalue()
    whole = dicom(grey, PatientID=str(draw.randrange(9)), PhotometricInterpretation=f"MONOCHROME{draw.randrange(1, 3)}")
    return whole if kind < 29 else whole[144 + int.from_bytes(whole[140:144], "little") :]


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The image as a file of this form."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def damaged(data: bytes, draw: random.Random, header: int = 64) -> bytes:
    """The bytes, cut off, changed, padded or doubled."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        how, at = draw.randrange(8), draw.randrange(len(changed) + 1)
        if how == 0:
            del changed[at:]
        elif how in (1, 2) and changed:
            end = min(len(changed), header) if how == 1 else len(changed)
            for _ in range(draw.choice((1, 3, 20))):
                changed[draw.randrange(end)] = draw.randrange(256)
        elif how == 3:
            changed[at:at] = draw.randbytes(draw.choice((1, 4, 100)))
        elif how == 4:
            del changed[at : at + draw.choice((1, 4, 100))]
        elif how == 5:
            changed[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"))
        elif how == 6:
            changed += changed[: draw.choice((10, 1000))] + draw.randbytes(20)
        elif bytes(changed[:4]) == b"\x89PNG" and len(changed) > 33:
            changed[16:24] = struct.pack(">II", draw.choice((0, 1, 40, 60_000, 2**31)), draw.choice((0, 40, 60_000)))
            changed[29:33] = struct.pack(">I", zlib.crc32(bytes(changed[12:29])))
    return bytes(changed)


def content(draw: random.Random, whole: float = 0.6) -> bytes:
    """What lies under the name of an image: mostly one, whole or damaged."""
    if draw.random() < whole:
        return images(draw)
    return draw.choice(OTHERS) if draw.random() < 0.3 else damaged(images(draw), draw)


def tree(root: Path, draw: random.Random, links: bool = True) -> None:
    """A folder of folders with images, strays and links."""
    whole = draw.choice((0.3, 0.97, 1.0, 1.0, 1.0))
    splits = draw.choice((("",), ("",), ("train", "test"), ("Train", "VAL", "test"), ("training_set", "x")))
    names = draw.sample(NAMES, draw.choice((0, 1, 2, 2, 2, 2, 3)))
    for split in splits:
        for name in names:
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for at in range(draw.choice((0, 1, 4, 6, 6, 6))):
                ending = draw.choice(ENDINGS) if draw.random() < 0.3 else "png"
                stem = draw.choice(NAMES) if draw.random() < 0.1 else f"{at:03}"
                put(folder / f"{stem}.{ending}".rstrip("."), content(draw, whole))
    root.mkdir(parents=True, exist_ok=True)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for _ in range(draw.choice((0, 0, 1, 3))):
        here = draw.choice(folders) / f"odd{draw.randrange(99)}{draw.choice(('', '.png', '.jpg'))}"
        how = draw.randrange(6) if links else 5
        if here.exists() or here.is_symlink():
            continue
        if how < 4:
            here.symlink_to((here, root, Path("/nowhere/x.png"), draw.choice(folders))[how])
        elif how == 4:
            os.mkfifo(here)
        else:
            put(here, draw.choice(OTHERS))
    if draw.random() < 0.05:
        (root / "/".join("d" * draw.choice((70, 400)))).mkdir(parents=True, exist_ok=True)


def put(path: Path, data: bytes) -> None:
    """Write a file where the system takes its name."""
    try:
        path.write_bytes(data)
    except OSError:
        path.with_name(f"x{path.suffix[:5]}").write_bytes(data)


def archive(root: Path, draw: random.Random) -> Path:
    """An archive of such a folder, with members that must not be unpacked, and then perhaps damaged."""
    ending = draw.choice(("zip", "zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"))
    path, packed = root / f"a{draw.choice(NAMES[:6])}.{ending}", io.BytesIO()
    tree(root / "packed", draw, links=not ending.endswith("zip"))
    files = [one for one in sorted((root / "packed").rglob("*")) if len(one.parts) < 60]
    evil = draw.choice(("", "", "", *EVIL))
    if ending == "zip":
        with zipfile.ZipFile(packed, "w", draw.choice(PACKING)) as made:
            for one in files:
                if one.is_file() and not one.is_symlink():
                    made.writestr(zip_name(one.relative_to(root / "packed")), one.read_bytes())
            if evil:
                made.writestr(evil, images(draw))
    else:
        mode = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[ending]
        with tarfile.open(fileobj=packed, mode=mode, errors="surrogateescape") as tar:  # type: ignore[call-overload]
            for one in files:
                tar.add(one, one.relative_to(root / "packed"), recursive=False)
            if evil:
                member = tarfile.TarInfo(evil.replace("\0", ""))
                member.type = draw.choice(
                    (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
                )
                member.linkname = draw.choice(("/etc/passwd", "../..", evil, "cat"))
                tar.addfile(member)
    data = packed.getvalue()
    if draw.random() < 0.4:
        data = damaged(data, draw, 512)
    elif draw.random() < 0.1:
        data = draw.choice((b"", b"PK", draw.randbytes(3000), zlib.compress(bytes(3000)), b"PK\5\6" + bytes(18)))
    path.write_bytes(data)
    return path


def zip_name(path: Path) -> str:
    return path.as_posix().encode("utf-8", "replace").decode()


def table(root: Path, draw: random.Random) -> Path:
    """A table of images, its cells, quotes, encoding and ending as they come."""
    files = []
    for at in range(draw.choice((0, 1, 8, 8))):
        files.append(f"{draw.choice(NAMES[:12]) if draw.random() < 0.2 else ''}{at}.png".replace("\n", ""))
        put(root / files[-1], content(draw, 0.95))
    labels = draw.choice((("a", "b"), ("0", "1"), ("0", "0.0", "1"), ("1.5", "2e3", "nan"), ("a;b", "b", ""), NAMES))
    mark, end = draw.choice((",", ",", ";", "\t", "|", " ")), draw.choice(("\n", "\n", "\r\n", "\r"))
    header = draw.choice(
        (["path", "label"], ["path", "label"], ["label", "path", "split"], ["file", "class"], ["path", "path"], [])
    )
    rows = [header] if header else []
    for at, name in enumerate(files):
        cells = {"path": name, "file": name, "split": ("train", "test", "x", "")[draw.randrange(4)]}
        rows.append([cells.get(column, labels[at % len(labels)]) for column in header or ("path", "label")])
        if draw.random() < 0.05:
            rows[-1].append(draw.choice(("more", "x" * 200_000, '"', "\0")))
        if draw.random() < 0.03:
            rows[-1][0] = draw.choice(("", "gone.png", "/etc/passwd", "../x.png", ".", "http://x/y.png", "con", "a\0b"))
    quote = draw.choice(("", "", '"'))
    text = end.join(mark.join(f"{quote}{cell}{quote}" for cell in row) for row in rows) + draw.choice(
        ("", end, end * 3)
    )
    text = draw.choice(("", "", "", "sep=;\n", "\ufeff", "# made by hand\n")) + text
    data = text.encode(draw.choice(("utf-8", "utf-8", "utf-16", "latin-1", "cp932", "utf-32")), "replace")
    path = root / f"t.{draw.choice(('csv', 'csv', 'tsv', 'CSV', 'parquet'))}"
    path.write_bytes(damaged(data, draw) if draw.random() < 0.3 else data)
    return path


def command(number: int, folder: Path, model: Path) -> list[str]:
    """Make the input of a case in `folder`; what is asked of it, with its output in `folder/out`."""
    draw = random.Random(number)
    folder.mkdir(parents=True)
    out, kind = str(folder / "out"), ("image", "image", "folder", "archive", "table")[number % 5]
    if kind == "image":
        paths = []
        for at in range(draw.choice((1, 1, 3))):
            paths.append(folder / f"{at}.{draw.choice(ENDINGS)}".rstrip("."))
            paths[-1].write_bytes(content(draw, 0.15))
        return ["predict", str(model), *map(str, paths), *draw.choice(((), ("--json",), ("--out", out)))]
    maker: Callable[[Path, random.Random], Path]
    if kind == "folder":
        tree(folder / "data", draw)
        path = folder / "data"
    else:
        maker = archive if kind == "archive" else table
        path = maker(folder, draw)
    verb = draw.choice(("fit", "fit", "fit", "predict", "evaluate"))
    if verb == "predict":
        return ["predict", str(model), str(path), *draw.choice(((), ("--out", out)))]
    if verb == "evaluate":
        return ["evaluate", str(model), "--data", str(path), "--out", out]
    flags = draw.choice(((), (), (), ("--task", "regression"), ("--label-delimiter", ";"), ("--allow-leaks",)))
    return ["fit", str(path), *QUICK, "--out", out, *flags]


def contents_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every entry under a folder, with size and time."""
    found = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(top, name)  # noqa: PTH118
            seen = os.lstat(path)
            found[os.path.relpath(path, folder)] = (
                seen.st_size if name in files else 0,
                seen.st_mtime_ns if name in files else 0,
            )
    return found


def run(number: int, root: Path, model: Path) -> dict[str, object]:
    """One case: its outcome, what is wrong with it, and how long it took."""
    folder = root / "cases" / str(number)
    asked = command(number, folder, model)
    watched = [root / name for name in ("home", "tmp", "here")]
    before, given = [contents_of(one) for one in watched], contents_of(folder)
    start, cpu = time.monotonic(), time.process_time()
    try:
        done = regraft(*asked, folder=root / "here")
        code, out, err = done.code, done.out, done.err
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        import traceback

        code, out, err = 1, "", "Traceback " + "".join(traceback.format_exception(error))[-3000:]
    seconds, busy = time.monotonic() - start, time.process_time() - cpu
    wrong = list(judged(asked[0], code, out, err, folder / "out"))
    after = {name: one for name, one in contents_of(folder).items() if Path(name).parts[0] != "out"}
    if after != given:
        wrong.append("the input was changed")
    for place, was in zip(watched, before, strict=True):
        if contents_of(place) != was:
            wrong.append(f"files appeared in {place.name}: {sorted(set(contents_of(place)) - set(was))[:3]}")
    if left := [str(one) for one in (root / "cache").rglob("*.part")]:
        wrong.append(f"half-written: {left[:3]}")
    kind = ("image", "image", "folder", "archive", "table")[number % 5]
    return {
        "number": number, "kind": kind, "verb": asked[0], "code": code, "seconds": round(seconds, 2),
        "cpu": round(busy, 2), "wrong": wrong, "err": err[-2000:] if wrong else err.strip().splitlines()[-2:],
    }  # fmt: skip


def judged(verb: str, code: int, out: str, err: str, written: Path):  # type: ignore[no-untyped-def]
    """What must not be, and is."""
    if "Traceback" in err or "fault in regraft" in err:
        yield "a traceback"
    if "Warning" in err:
        yield "a raw warning"
    if code and code not in CODES:
        yield f"exit code {code}"
    if code and not ("regraft: " in err and "fix: " in err):
        yield "an error without a name or without advice"
    if verb == "predict":
        if written.is_file() and not written.read_text("utf-8").startswith("input,label"):
            yield "a table that is half written"
    elif code == 0:
        if not (written / "report.json").is_file() or (written / "begun.json").exists() or not out.strip():
            yield "a result without a report"
    elif written.exists():
        yield f"an error left {sorted(one.name for one in written.iterdir())}"


def main() -> None:
    if sys.argv[1] == "show":
        folder = Path(sys.argv[3])
        print(" ".join(command(int(sys.argv[2]), folder, Path("MODEL"))))  # noqa: T201
        return
    model, root = Path(sys.argv[2]), Path(sys.argv[3])
    for name in ("home", "tmp", "here", "cases", "cache"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for line in sys.stdin:
        result = run(int(line), root, model)
        sys.__stdout__.write(json.dumps(result) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
