"""Inputs that nobody should send: files, folders, archives and tables of every kind of data, drawn from a number and
then damaged.

    python hostile.py work MODEL ROOT      read numbers from stdin, run one case each, write a JSON line each
    python hostile.py show NUMBER FOLDER   only make the input of one case, and print the command

A case is a pure function of its number. It ends in a result or in an error with a name and the promised exit code;
`judged` says what else must hold.
"""

import io
import json
import os
import random
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

from cases.door import TINY, regraft
from cases.hostile_images import ENDINGS, NAMES, OTHERS, damaged, images, put
from cases.hostile_kinds import boxes, masks, numbers, recordings, texts

CODES = frozenset((2, 3, 4, 5, 6, 7, 8, 9))
"""Exit codes of errors with a name."""
SERIOUS = 10
"""Exit code of an audit that found something serious: a result."""
FOLDED = ("--set", "folds=2", "--set", "max_repeats=1", "--set", "threads=1")
KINDS = ("image", "folder", "archive", "table", "texts", "image", "folder", "recordings", "numbers", "boxes", "masks")
"""What the case of a number is about, by its last digit."""
OTHER_KINDS = {"texts": texts, "recordings": recordings, "numbers": numbers, "boxes": boxes, "masks": masks}
TRIED = dict.fromkeys(
    ("boxes", "masks"), ("--strategy", "partial", "--set", "options.epochs=1", "--set", "options.min_steps=2")
)
"""Flags that a kind of data needs to be quick: boxes and masks train a head in any case."""
EVIL = ("../out.png", "/abs.png", "a/../../x.png", "C:\\x.png", "cat", "x" * 300, "a\0b")
"""Names of members that an archive should not have."""
MEMBERS = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
HEADERS = (["path", "label"], ["path", "label"], ["label", "path", "split"], ["file", "class"], ["path", "path"], [])


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
    out, kind = str(folder / "out"), KINDS[number % len(KINDS)]
    if kind == "image":
        paths = []
        for at in range(draw.choice((1, 1, 3))):
            paths.append(folder / f"{at}.{draw.choice(ENDINGS)}".rstrip("."))
            paths[-1].write_bytes(content(draw, 0.15))
        if draw.random() < 0.2:
            return ["explain", str(model), *map(str, paths), "--out", out]
        return ["predict", str(model), *map(str, paths), *draw.choice(((), ("--json",), ("--out", out)))]
    backbone: tuple[str, ...] = TINY
    if kind in OTHER_KINDS:
        path, backbone = OTHER_KINDS[kind](folder, draw)
    elif kind == "folder":
        path = folder / "data"
        tree(path, draw)
    else:
        path = (archive if kind == "archive" else table)(folder, draw)
    verb = draw.choice(("fit", "fit", "fit", "audit", "predict", "evaluate"))
    if verb == "predict":
        return ["predict", str(model), str(path), *draw.choice(((), ("--out", out)))]
    if verb == "evaluate":
        return ["evaluate", str(model), "--data", str(path), "--out", out]
    if verb == "audit":
        return ["audit", str(path), *backbone, "--set", "threads=1", "--out", out]
    odd = draw.choice(((), (), (), ("--task", "regression"), ("--label-delimiter", ";"), ("--allow-leaks",)))
    return ["fit", str(path), *backbone, *FOLDED, *TRIED.get(kind, ()), *odd, "--out", out]


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
    return {
        "number": number, "kind": KINDS[number % len(KINDS)], "verb": asked[0], "code": code,
        "seconds": round(seconds, 2), "cpu": round(busy, 2), "wrong": wrong,
        "err": err[-2000:] if wrong else err.strip().splitlines()[-2:],
    }  # fmt: skip


def judged(verb: str, code: int, out: str, err: str, written: Path):  # type: ignore[no-untyped-def]
    """What must not be, and is."""
    if "Traceback" in err or "bug in regraft" in err:
        yield "a traceback"
    if "Warning" in err:
        yield "a raw warning"
    code = 0 if (verb, code) == ("audit", SERIOUS) else code
    if code and code not in CODES:
        yield f"exit code {code}"
    if code and not ("regraft: " in err and "fix: " in err):
        yield "an error without a name or without advice"
    if verb == "predict":
        if written.is_file() and not written.read_text("utf-8").startswith("input,label"):
            yield "a table that is half written"
    elif code == 0 and verb == "explain":
        if not (written / "explained.html").is_file() or not out.strip():
            yield "a result without a page"
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
