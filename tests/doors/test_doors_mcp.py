"""The verbs as tools of the Model Context Protocol, used by the SDK's own client."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="the extra `mcp` is not installed")

from mcp import Client, StdioServerParameters

from doors.serving import draw
from regraft.bundles.bundle import load
from regraft.doors.mcp import server
from regraft.records import to_json

TINY = {"backbone": "googlenet:tiny@random", "input_px": 32, "threads": 1, "folds": 2, "max_repeats": 1}
LOOK = {"list_backbones", "describe_network", "list_strategies", "show_recipe", "read_report", "compare_runs",
        "predict", "evaluate"}  # fmt: skip


def asked(place: Any, *calls: tuple[str, Mapping[str, Any]], progress: Any = None) -> list[Any]:
    """What the tools say, one call after another; a refusal is its text."""

    async def ask() -> list[Any]:
        async with Client(place) as client:
            found = [{one.name for one in (await client.list_tools()).tools}]
            for name, arguments in calls:
                said = await client.call_tool(name, dict(arguments), progress_callback=progress)
                text = "".join(one.text for one in said.content)
                found.append(text if said.is_error or name in ("show_recipe", "read_report") else json.loads(text))
            return found

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mcp") / "photos"
    for number, path in enumerate(draw(root / "all", 24)):
        (root / "ab"[number % 2]).mkdir(exist_ok=True)
        path.rename(root / "ab"[number % 2] / path.name)
    (root / "all").rmdir()
    return root


@pytest.mark.slow
def test_a_client_trains_compares_and_predicts_where_that_is_allowed(photos: Path, tmp_path: Path) -> None:
    seen = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))

    first, second = tmp_path / "one", tmp_path / "two"
    tools, recipe, one, two, compared, report, said, tested, refused, away = asked(
        server(tmp_path),
        ("show_recipe", {"data": str(photos), "settings": {"strategy": "partial"}}),
        ("fit", {"data": str(photos), "name": "one", "settings": TINY}),
        ("fit", {"data": str(photos), "name": "two", "settings": {**TINY, "seed": 1}}),
        ("compare_runs", {"run_a": str(first), "run_b": str(first)}),
        ("read_report", {"run": str(second)}),
        ("predict", {"model": str(first), "inputs": [str(photos / "a")]}),
        ("evaluate", {"run": str(first), "data": str(photos)}),
        ("predict", {"model": str(tmp_path / "none"), "inputs": ["x"]}),
        ("fit", {"data": str(photos), "name": "../away", "settings": TINY}),
        progress=progress,
    )  # fmt: skip
    assert tools == LOOK | {"fit", "extend"}
    assert 'strategy = "partial"' in recipe
    assert one["verdict"].startswith("Accuracy")
    assert one["run"] == str(first)
    assert two["metrics"]["accuracy"]["low"] is not None
    assert compared["paired"]["verdict"]
    assert report.startswith("#")
    wanted = load(first).predict(sorted((photos / "a").iterdir()))
    assert said["predictions"] == to_json(wanted)
    assert tested["verdict"]
    assert "does not exist" in refused
    assert "fix: check the path" in refused
    assert "is not a valid" in away
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
    assert any(message == "activations" for _, _, message in seen)


def test_without_a_folder_there_are_no_tools_that_write_and_stdin_and_stdout_speak_the_protocol(
    child_env: dict[str, str], tmp_path: Path
) -> None:
    place = StdioServerParameters(
        command=sys.executable, args=["-m", "regraft", "mcp"], env=child_env, cwd=str(tmp_path)
    )  # fmt: skip
    tools, strategies, refused = asked(
        place, ("list_strategies", {"name": "probe"}), ("fit", {"data": "x", "name": "x"})
    )  # fmt: skip
    assert tools == LOOK
    assert strategies["strategies"][0]["name"] == "probe"
    assert "fit" in refused
    assert list(tmp_path.iterdir()) == []
