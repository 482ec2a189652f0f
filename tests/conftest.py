"""What every test stands on: a cache of its own, few threads, and the real data where they are."""

import importlib.util
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]

# The modules that state the shapes of their arrays have every call checked, types included; what has no shapes is left
# to mypy, since checking every call into the package took a third of the suite's time. Left out as well are the inner
# loops of the linear solver, which are called thousands of times in each fit; what calls them is checked. Without the
# numeric tower beartype would refuse an int where a float is annotated.
UNCHECKED = ("regraft.tasks._solvers", "regraft.tasks.lbfgs", "regraft.tasks.losses")
_package = Path(str(importlib.util.find_spec("regraft").origin)).parent  # type: ignore[union-attr]
_shaped = [path for path in _package.rglob("*.py") if "from jaxtyping import" in path.read_text(encoding="utf-8")]
_checked = {".".join(("regraft", *path.relative_to(_package).with_suffix("").parts)) for path in _shaped}
install_import_hook(
    sorted(_checked - set(UNCHECKED)), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

# Read by torch, numpy and their kin when they are first imported, here and in the processes that tests start. On the
# small networks of the tests one thread is the quickest, and sums come out the same on every machine.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Processes that tests interrupt inherit what is ignored here: SIGINT after `&` in a script, SIGHUP under nohup.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


SLOW = tuple(
    line for line in (ROOT / "tests" / "slow.txt").read_text(encoding="utf-8").splitlines() if line[:1] not in ("#", "")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests that slow.txt names to the slow tier."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`REGRAFT_CACHE` for the whole session, so that no test reads or fills the developer's own."""
    path = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(path))
        yield path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights: `REGRAFT_SHARED`, else `shared` beside the checkout."""
    path = Path(os.environ.get("REGRAFT_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip("no folder `shared` beside the checkout (REGRAFT_SHARED names another)")
    return path


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    """The folder of real data sets, each a tar or a folder; the test is skipped where it is absent."""
    if not (shared / "data").is_dir():
        pytest.skip(f"no real data: {shared} has no folder `data`")
    return shared / "data"


@pytest.fixture(scope="session")
def shared_weights(shared: Path) -> Path:
    """The folder of pretrained checkpoints; the test is skipped where it is absent."""
    if not (shared / "weights").is_dir():
        pytest.skip(f"no pretrained weights: {shared} has no folder `weights`")
    return shared / "weights"


@pytest.fixture(scope="session")
def unpacked(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from the name of a tar (`hymenoptera`) to the folder it was unpacked into, once per session."""
    folders: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        if name not in folders:
            archive = shared_data / f"{name}.tar.gz"
            if not archive.is_file():
                pytest.skip(f"no real data: {archive.name} is not in {shared_data}")
            path = tmp_path_factory.mktemp(name)
            with tarfile.open(archive) as tar:
                tar.extractall(path, filter="data")
            inner = list(path.iterdir())
            folders[name] = inner[0] if len(inner) == 1 and inner[0].is_dir() else path
        return folders[name]

    return unpack


@pytest.fixture(scope="session")
def child_env() -> dict[str, str]:
    """The environment in which a fresh process imports this checkout's package, installed or not."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}
