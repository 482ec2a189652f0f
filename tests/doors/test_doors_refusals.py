"""What people run into, by the command line: one message that says what was found and what to do, and its exit code."""

import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.bundle_format import FACTS, TENSORS, write_tensors

TINY = ("--backbone", "googlenet:tiny@random", "--input-px", "32")
Command = Callable[..., subprocess.CompletedProcess[str]]

FULL = """
import errno, os, sys
def full(number):
    raise OSError(errno.ENOSPC, "No space left on device")
os.fsync = full
"""


def paint(root: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).normal(130 if "light" in name else 60, 45, (40, 40, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name)


def giant(path: Path, width: int = 30_000, height: int = 24_000) -> None:
    """A file of a hundred bytes whose header announces 2 GB of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b"")]
    coded = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(coded))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("refusals")
    pair = [f"{label}/{number}.png" for label in ("dark", "light") for number in range(4)]
    paint(root / "photos", [f"{part}/{name}" for part in ("train", "test") for name in pair])
    (root / "empty").mkdir()
    paint(root / "one", ["dark/0.png", "dark/1.png"])
    paint(root / "single", ["dark/0.png", "light/0.png"])
    paint(
        root / "lacking",
        [*(f"train/{name}" for name in pair), "test/light/9.png", "test/grey/1.png", "test/grey/2.png"],
    )
    paint(root / "giant", pair)
    giant(root / "giant" / "dark" / "giant.png")
    write_tensors(root / "few.safetensors", {"conv1.weight": np.zeros((4, 3), np.float32)})
    (root / "mirror").mkdir()
    (root / "mirror" / "googlenet-1378be20.pth").write_bytes(b"the first half of it")
    (root / "odd.toml").write_text('data = "photos"\n[source]\nval_share = 7\n')
    return root


@pytest.fixture(scope="module")
def command(folder: Path, child_env: dict[str, str]) -> Command:
    def run(*arguments: str, before: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        code = f"{before}\nfrom regraft.doors.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=folder, env={**child_env, **env}, capture_output=True,
            text=True, check=False, timeout=120,
        )  # fmt: skip

    return run


def told(done: subprocess.CompletedProcess[str], code: int, found: str, fix: str) -> None:
    """The last two lines are the message and what to do; there is no traceback."""
    *_, message, advice = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert message.startswith("regraft: ")
    assert found in message
    assert advice.startswith("  fix: ")
    assert fix in advice
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "found", "fix"),
    [
        (["fit", "empty"], 3, "empty holds no images", "one subfolder of files per class"),
        (["fit", "one"], 3, "one contains a single class, 'dark'; at least two", "examples of another class"),
        (["fit", "single"], 3, "2 classes have only one example: dark, light", "add examples"),
        (["fit", "lacking"], 3, "1 class is missing from train: grey ('grey' is in test)", "add examples"),
        (["fit", "giant"], 3, "dark/giant.png (its header declares 30000 x 24000 pixels", "source.max_damaged_share="),
        (["fit", "phots"], 3, "phots does not exist", "photos"),
        (["fit", "few.safetensors"], 3, "is not a folder, a table", "one subfolder per class"),
        (["fit", "odd.toml"], 2, "odd.toml: [source]: val_share is 7; it must be in [0, 1)", "write val_share = 0.15"),
        (["fit", "photos", "--cut", "4f", "--strategy", "partial"], 2, "named '4f'; its cuts are input, stem", "'4e'"),
        (["fit", "photos", "--strategy", "prob"], 2, "There is no strategy named 'prob'", "did you mean 'probe'?"),
        (["fit", "photos", "--set", "folds=0"], 2, "--set: folds is 0; it must be 2 or more", "write folds = 5"),
        (["fit", "photos", "--out", "few.safetensors"], 9, "few.safetensors is a file", "another --out"),
        (["fit", "photos", "--out", "few.safetensors/run"], 2, "cannot be accessed: Not a directory", "choose another"),
        (["show", "photos", "--backbone", "bundle:empty"], 5, "empty contains no model", "pass a run folder"),
        (["predict", "nowhere", "photos"], 5, "nowhere does not exist", "check the path"),
        (["predict", "photos", "photos"], 5, "photos contains no model", "pass a run folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_refusal_says_what_was_found_and_what_to_do(
    arguments: list[str], code: int, found: str, fix: str, command: Command, folder: Path
) -> None:
    given = [*arguments, *TINY] if arguments[0] == "fit" else arguments
    told(command(*given), code, found, fix)
    assert not list((folder / "runs").glob("*")), "nothing is left behind"


@pytest.mark.parametrize(
    ("weights", "code", "found", "fix"),
    [
        ("googlenett", 2, "There is no backbone named 'googlenett'", "did you mean 'googlenet'?"),
        ("googlenet@imagenett", 2, "named 'imagenett'", "did you mean 'imagenet'?"),
        ("googlenet@file:few.safetensors", 4, "few.safetensors do not match googlenet", "name the backbone they"),
        ("googlenet@file:none.pth", 4, "none.pth does not exist", "check the path"),
        ("googlenet@imagenet", 4, "googlenet-1378be20.pth", "SHA-256"),
        ("bundle:photos", 5, "photos contains no model", "pass a run folder"),
    ],
)
def test_weights_that_are_not_there_or_do_not_fit_are_named(
    weights: str, code: int, found: str, fix: str, command: Command, folder: Path, tmp_path: Path
) -> None:
    env = {"https_proxy": "http://127.0.0.1:9", "REGRAFT_CACHE": str(tmp_path)}
    told(command("fit", "photos", "--backbone", weights, "--out", str(tmp_path / "run"), **env), code, found, fix)


def test_a_full_disk_is_named_and_leaves_nothing_behind(command: Command, tmp_path: Path) -> None:
    done = command("fit", "photos", *TINY, "--out", str(tmp_path / "run"), before=FULL)
    told(done, 7, "The disk is full: ", "free some space")
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == []


def test_a_loss_that_is_no_number_ends_the_run(command: Command, tmp_path: Path) -> None:
    settings = ["--set", "options.lr=1e30", "--set", "options.epochs=2", "--set", "options.min_steps=4", "--views", "1"]
    done = command(
        "fit", "photos", *TINY, "--strategy", "partial", *settings, "--out", str(tmp_path / "run"), "--quiet"
    )
    told(done, 6, "The training loss became nan in step", "--set options.lr=VALUE")


@pytest.fixture(scope="module")
def model(command: Command, folder: Path) -> Path:
    done = command("fit", "photos", *TINY, "--out", str(folder / "made"), "--quiet")
    assert done.returncode == 0, done.stderr
    return folder / "made" / "model"


def cut_short(model: Path) -> None:
    os.truncate(model / TENSORS, 1000)


def one_byte(model: Path) -> None:
    raw = bytearray((model / TENSORS).read_bytes())
    raw[len(raw) // 2] ^= 1
    (model / TENSORS).write_bytes(raw)


def edited(model: Path) -> None:
    text = (model / FACTS).read_text()
    (model / FACTS).write_text(text.replace('"dark"', '"gloomy"'))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (cut_short, "model.safetensors is not a valid safetensors file"),
        (one_byte, "model.safetensors was changed or is damaged: the digest of part"),
        (edited, "bundle.json was changed after it was saved: its digest is"),
    ],
)
def test_a_model_that_is_not_whole_predicts_nothing(
    damage: Callable[[Path], None], found: str, model: Path, command: Command, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    damage(copy)
    done = command("predict", str(copy), "photos")
    told(done, 5, found, "again")
    assert done.stdout == ""


def test_answers_withheld_and_unreadable_are_written_as_json_and_told(
    model: Path, command: Command, folder: Path
) -> None:
    done = command("predict", str(model), "giant/dark", "--json", "--abstain", "0")
    assert done.stdout.count("\n") == 5
    assert '"abstained": true' in done.stdout
    told(done, 3, "1 of 5 inputs could not be read and have no prediction", "the other predictions are valid")


def test_a_recipe_run_on_other_weights_is_refused_with_both_digests(
    model: Path, command: Command, tmp_path: Path
) -> None:
    recipe = str(model.parent / "recipe.toml")
    text = Path(recipe).read_text()
    digest = text.partition('[seen]\nbackbone = "')[2][:12]
    other = tmp_path / "other.toml"
    other.write_text(text.replace(digest, "0" * 12))
    done = command("fit", str(other), "--out", str(tmp_path / "run"), "--quiet")
    told(done, 5, "The recipe was run with backbone weights 000000000000…", "delete `backbone` under [seen]")
    assert digest in done.stderr
