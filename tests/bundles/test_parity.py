"""One model, one set of numbers: Python, command line, HTTP, ONNX and the stand-alone script agree on files."""

import csv
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from bundles.delivery import said_by
from kinds import LABELS, labels_of, names_of
from networks import FAMILIES
from regraft.bundles.bundle import Bundle, load
from regraft.doors.cli import main
from regraft.doors.http.app import make_app
from regraft.doors.http.settings import Settings
from regraft.recipe import Recipe, Target, with_settings
from regraft.workbench.export import Exported, export
from regraft.workbench.fit import fit
from regraft.workbench.run import RunDone
from texts import CONFIGS, folder_of

STEPS = {"epochs": 1, "min_steps": 2, "batch": 8}
TRAINED, TESTED = 18, 6


@dataclass
class Data:
    """What a run is trained and tested on."""

    path: Path
    files: list[Path]
    """The test examples, as they are handed to every door; of a table one file with all."""
    settings: dict[str, Any] = field(default_factory=dict)
    target: Target = field(default_factory=Target)
    backbone: str = "googlenet:tiny@random"
    """Where the case names none."""


def images(kind: str, photos: Path, folder: Path) -> Data:
    """Images of a real set, with labels of this kind; only that they are there matters."""
    files = sorted((photos / "train").rglob("*.jpg"))[:TRAINED] + sorted((photos / "val").rglob("*.jpg"))[:TESTED]
    labels = labels_of(kind, np.arange(TRAINED + TESTED) % 3)
    columns = names_of(kind) if kind == "regression" else ("label",)
    rows = [
        [str(file), "train" if at < TRAINED else "test", *(label.split(";") if kind == "regression" else [label])]
        for at, (file, label) in enumerate(zip(files, labels, strict=True))
    ]
    written(folder / "table.csv", [["path", "split", *columns], *rows])
    settings: dict[str, Any] = {
        "multilabel": {"source.label_delimiter": ";"}, "regression": {"source.label_columns": list(names_of(kind))},
    }.get(kind, {})  # fmt: skip
    target = Target(order=names_of(kind) if kind == "ordinal" else ())
    return Data(folder / "table.csv", files[TRAINED:], settings, target)


def sorted_files(folder: Path, ending: str, make: Callable[[int], bytes]) -> Data:
    """Files in folders by class, whose contents follow from the class and a number."""
    files = []
    for at in range(TRAINED + TESTED):
        part, label = ("train", "test")[at >= TRAINED], ("one", "two")[at % 2]
        files.append(folder / "data" / part / label / f"{at}{ending}")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        files[-1].write_bytes(make(at))
    return Data(folder / "data", files[TRAINED:])


def recordings(kind: str, photos: Path, folder: Path) -> Data:
    """Tones, high and low, at two sampling rates."""
    pytest.importorskip("soundfile", reason="the extra `sound` is not installed")
    from sound.test_sound_features import tones, wav

    def made(at: int) -> bytes:
        rate = (16000, 22050)[at % 3 == 0]
        return wav(tones(rate, 0.5 + 0.2 * (at % 5), ((300.0, 2400.0)[at % 2] + 7 * at,)), rate)

    return sorted_files(folder, ".wav", made)


def texts(kind: str, photos: Path, folder: Path) -> Data:
    """Texts of few words."""
    pytest.importorskip("transformers")
    words = np.array(["the", "a", "of", "on", "my", "table", "lies", "there", "and", "old"])

    def made(at: int) -> bytes:
        random = np.random.default_rng(at)
        return " ".join([*random.choice(words, 3 + at % 7), ("apple", "hammer")[at % 2]]).encode()

    return sorted_files(folder, ".txt", made)


def rows(kind: str, photos: Path, folder: Path) -> Data:
    """Rows of numbers far from zero, a few cells empty."""
    random, header = np.random.default_rng(0), ["label", "split", "far", "small", "plain"]
    numbers = random.normal(size=(TRAINED + TESTED, 3)) * [1, 1e-3, 1] + [1e5, 0, 0]
    lines = [
        [("one", "two")[at % 2], "train" if at < TRAINED else "test", *row] for at, row in enumerate(numbers.tolist())
    ]
    lines[2][3] = lines[-1][4] = ""
    written(folder / "rows.csv", [header, *lines])
    written(folder / "tested.csv", [header[2:], *(line[2:] for line in lines[TRAINED:])])
    return Data(folder / "rows.csv", [folder / "tested.csv"])


def boxes(kind: str, photos: Path, folder: Path) -> Data:
    """Coloured boxes on noise."""
    from workbench.test_detection import painted

    root = painted(folder / "voc", TRAINED + TESTED)
    return Data(root, [root / "JPEGImages" / f"{at}.png" for at in range(3, TRAINED + TESTED, 4)])


def masks(kind: str, photos: Path, folder: Path) -> Data:
    """Ellipses of two classes on noise."""
    from workbench.test_segmentation import painted

    root = painted(folder / "ellipses", TRAINED + TESTED)
    return Data(root, sorted((root / "test" / "images").iterdir()))


def identities(kind: str, photos: Path, folder: Path) -> Data:
    """Images in folders of identities, some of which are in pairs and never trained on."""
    files = sorted((photos / "train").rglob("*.jpg"))[: TRAINED + TESTED]
    for at, file in enumerate(files):
        place = folder / "faces" / f"id{at // 3}" / f"{at % 3}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    pairs = [["id6/0.jpg", "id6/1.jpg", 1], ["id7/0.jpg", "id7/1.jpg", 1], ["id6/0.jpg", "id7/0.jpg", 0]]
    written(folder / "faces" / "pairs.csv", [["image_a", "image_b", "same"], *pairs])
    return Data(folder / "faces" / "pairs.csv", [folder / "faces" / f"id{at}" / "0.jpg" for at in (6, 7)])


MADE: Mapping[str, Callable[[str, Path, Path], Data]] = {
    **dict.fromkeys(LABELS, images), "recordings": recordings, "texts": texts, "rows": rows, "detection": boxes,
    "verification": identities, "segmentation": masks,
}  # fmt: skip
EVERY = [
    *(("googlenet:tiny@random", 64, kind) for kind in LABELS),
    *((f"{name}@random", max(64, family.smallest_px), "classification") for name, family in FAMILIES.items()),
    *((kind, 0, "texts") for kind in CONFIGS),
    ("columns@random", 0, "rows"),
    ("columns_mlp@random", 0, "rows"),
    *(("googlenet:tiny@random", 64, kind) for kind in ("recordings", "detection", "segmentation", "verification")),
]
"""Every task with a small network, every network of images with one task, networks of texts and rows with their own."""


def written(path: Path, lines: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def trained(case: tuple[str, int, str], strategy: str, photos: Path, folder: Path) -> tuple[Data, Path]:
    """The data, and the run on them."""
    backbone, px, kind = case
    made = MADE[kind](kind, photos, folder)
    if kind == "texts":
        backbone = f"transformers:{folder_of(backbone, folder / 'net')}@pretrained"
    known = [*LABELS, "detection", "segmentation", "verification"]
    recipe = Recipe(
        data=str(made.path), backbone=backbone, strategy=strategy, input_px=px, threads=1, folds=2,
        max_repeats=1, task=kind if kind in known else "auto", target=made.target,
        options=STEPS if strategy == "full" else {},
    )  # fmt: skip
    *_, done = fit(with_settings(recipe, made.settings), folder / "run")
    assert isinstance(done, RunDone)
    return made, folder / "run"


def over_http(run: Path, bundle: Bundle, files: list[Path]) -> list[Any]:
    """What a server says: of files as a form, of rows as JSON."""
    with TestClient(make_app(Settings(models=(("served", run),), threads=1))) as client:
        if bundle.modality.rows:
            with files[0].open(newline="") as file:
                values = [{name: float(cell or "nan") for name, cell in row.items()} for row in csv.DictReader(file)]
            body = {"inputs": [{"values": {name: None if x != x else x for name, x in one.items()}} for one in values]}
            reply = client.post("/v1/models/served/predict", json=body)
        else:
            form = [("file", (file.name, file.read_bytes())) for file in files]
            reply = client.post("/v1/models/served/predict", files=form)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["predictions"])


def numbers_of(said: Any) -> list[float]:
    """All numbers of a prediction, in one order: probabilities or values by name, an embedding, scores and boxes, or
    shares of a mask."""
    get = said.get if isinstance(said, dict) else lambda name, none=None: getattr(said, name, none)
    named = get("values") or get("probabilities")
    if named:
        return [named[name] for name in sorted(named)]
    record = get("record")
    if isinstance(record, dict):
        return list(record["shares"].values())
    if record and isinstance(record[0], dict):  # boxes: those that count, since low scores may change places
        return [x for one in record if one["score"] >= 0.1 for x in (100 * one["score"], *one["box"])]
    return list(record or [])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["probe", "full"])
@pytest.mark.parametrize("case", EVERY, ids=lambda case: "-".join(map(str, case)))
def test_python_command_line_http_onnx_and_the_script_agree(
    case: tuple[str, int, str], strategy: str, tmp_path: Path, unpacked: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for task in ("detection.Detection", "segmentation.Segmentation"):
        monkeypatch.setattr(f"regraft.tasks.{task}.head_epochs", 1, raising=False)
    data, run = trained(case, strategy, unpacked("hymenoptera"), tmp_path)
    *_, exported = export(run, "onnx", threads=1)
    assert isinstance(exported, Exported)
    assert exported.same_labels in (None, exported.examples)
    bundle = load(run, threads=1)
    python = bundle.predict(data.files[0] if bundle.modality.rows else data.files)
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["regraft", "predict", str(run), *map(str, data.files), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    served, alone = over_http(run, bundle, data.files), said_by(exported.path / "predict.py", *data.files)
    largest = max(abs(number) for one in python for number in numbers_of(one)) if any(map(numbers_of, python)) else 1.0
    for one, cli, http, script in zip(python, told, served, alone, strict=True):
        numbers = numbers_of(one)
        assert numbers_of(cli) == pytest.approx(numbers, rel=0, abs=1e-5 * largest)
        assert numbers_of(http) == pytest.approx(numbers, rel=0, abs=1e-5 * largest)
        # boxes are told to a hundredth of a pixel; a few points between two classes may be of either
        rounded = {list: 0.011, dict: 0.002}.get(type(one.record), 0.0)
        assert numbers_of(script) == pytest.approx(numbers, rel=0, abs=1e-4 * largest + rounded)
