"""The commands as tools of the Model Context Protocol, over stdin and stdout: `regraft mcp`. Needs the extra `mcp`.

Read-only tools are always available. Training tools are available only if the user names a folder for runs, and write
nowhere else. Progress is reported if the client supports it.
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from regraft.errors import BadRequest, MissingExtra, RegraftError
from regraft.records import to_json
from regraft.values import Notice, Prediction, Progress
from regraft.version import VERSION

MOST = 500
"""Maximum number of predictions per call."""
ABOUT = (
    "Measured transfer learning. Inspect the data with show_recipe, fit the probe first (it is the default and "
    "fast), then compare a partial fit with it using compare_runs: if the interval of the difference contains 0, there "
    "is no evidence of a difference. Report intervals with all figures. Never use test data to choose anything."
)


def server(runs: Path | None) -> Any:
    """Return the server; with `runs`, training tools write to that folder.

    Raises:
        MissingExtra: the SDK is not installed.
    """
    if find_spec("mcp") is None or find_spec("mcp.server.mcpserver") is None:
        raise MissingExtra("mcp", "mcp", "`regraft mcp`")
    import anyio.from_thread
    import anyio.to_thread
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    app = MCPServer("regraft", version=VERSION, instructions=ABOUT, log_level="WARNING")

    async def worked(context: Any, verb: Callable[[], Iterable[Any]]) -> tuple[list[Any], list[str]]:
        """Return everything that a command yields except progress, which is reported; and its notices."""
        found, notes = list[Any](), list[str]()

        def run() -> None:
            for event in verb():
                if isinstance(event, Progress):
                    anyio.from_thread.run(context.report_progress, float(event.done), float(event.total), event.phase)
                elif isinstance(event, Notice):
                    notes.append(event.text)
                else:
                    found.append(event)

        try:
            await anyio.to_thread.run_sync(run)
        except RegraftError as error:
            raise ToolError(str(error)) from error
        return found, notes

    async def looked(verb: Callable[[], Any]) -> Any:
        """Return the result of a command without events, as JSON."""
        try:
            return to_json(await anyio.to_thread.run_sync(verb))
        except RegraftError as error:
            raise ToolError(str(error)) from error

    async def list_backbones(name: str = "") -> dict[str, Any]:
        """List pretrained networks with their weights, licences and when to prefer which; with a name, one of them."""
        from regraft.workbench.backbones import backbones

        return {"backbones": await looked(lambda: backbones(name))}

    async def describe_network(name: str) -> dict[str, Any]:
        """Describe a network (NAME[:VARIANT] or a model's folder): cost and receptive field of every stage, and its
        cuts."""
        from regraft.workbench.describe import describe

        return dict(await looked(lambda: describe(name).to_json()))

    async def list_strategies(name: str = "") -> dict[str, Any]:
        """List strategies, with all options."""
        from regraft.workbench.strategies import strategies

        return {"strategies": await looked(lambda: strategies(name))}

    async def show_recipe(data: str, settings: dict[str, Any] | None = None) -> str:
        """Show the recipe that `fit` would run on these data (a folder, archive, table or recipe.toml), with every
        setting documented. `settings` are fields of the recipe, such as {"strategy": "partial", "options.lr":
        0.001}."""
        from regraft.workbench.recipes import recipe_for
        from regraft.workbench.show import show

        return str(await looked(lambda: show(recipe_for(data, settings or {}))))

    async def read_report(run: str) -> str:
        """Read the report of a finished run as Markdown: verdict, metrics with intervals, warnings."""
        from regraft.workbench.run import open_run

        return str(await looked(lambda: open_run(run).page.read_text(encoding="utf-8")))

    async def compare_runs(run_a: str, run_b: str, metric: str = "") -> dict[str, Any]:
        """Test whether one run is better than another on the same examples, with an interval and a verdict."""
        from regraft.workbench.compare import compare

        return dict(await looked(lambda: compare(Path(run_a), Path(run_b), metric=metric or None)))

    async def predict(context: Context, model: str, inputs: list[str], abstain: float | None = None) -> dict[str, Any]:
        """Predict files, folders and tables with a model, with probabilities and OOD scores. `abstain` (0.99, say)
        withholds labels of inputs farther from the training data than this share of the training examples."""
        from regraft.workbench.predict import predict as verb

        found, notes = await worked(context, lambda: verb(Path(model), list(map(Path, inputs)), abstain=abstain))
        said = [one for one in found if isinstance(one, Prediction)]
        if len(said) > MOST:
            notes.append(
                f"Only the first {MOST} of {len(said)} predictions are returned; `regraft predict --out` writes all."
            )
        return {"predictions": to_json(said[:MOST]), "notes": notes}

    async def evaluate(context: Context, run: str, data: str) -> dict[str, Any]:
        """Evaluate a model on new labelled data; nothing is written."""
        from regraft.workbench.evaluate import evaluate as verb

        return told(*await worked(context, lambda: verb(Path(run), Path(data))))

    async def fit(
        context: Context, data: str, name: str, settings: dict[str, Any] | None = None, max_minutes: float = 10.0
    ) -> dict[str, Any]:
        """Train on labelled data, evaluate and save the model as the run `name`. `settings` are fields of the recipe:
        {"strategy": "partial", "cut": "4e", "backbone": "googlenet"}."""
        from regraft.workbench.fit import fit as verb
        from regraft.workbench.recipes import recipe_for

        own = {"max_seconds": 60 * max_minutes, **(settings or {})}
        return told(*await worked(context, lambda: verb(recipe_for(data, own), folder(name))))

    async def extend(context: Context, run: str, data: str, name: str, max_loss: float = 0.02) -> dict[str, Any]:
        """Add classes to a finished model without changing the rest, and save it as the run `name`."""
        from regraft.workbench.fit import fit as verb
        from regraft.workbench.recipes import extension_for

        def events() -> Iterable[Any]:
            recipe = extension_for(Path(run), Path(data), old=None, max_loss=max_loss, settings={"seed": 0})
            return verb(recipe, folder(name))

        return told(*await worked(context, events))

    def folder(name: str) -> Path:
        """Return the folder of a new run."""
        from regraft.doors.http.settings import NAME

        assert runs is not None, "without it, no tool can write"
        if not NAME.fullmatch(name):
            raise BadRequest(
                f"{name!r} is not a valid run name; use letters, digits and . _ - only.", fix="use a plain name."
            )
        return runs / name

    def told(found: list[Any], notes: list[str]) -> dict[str, Any]:
        """Return the result of a command that writes a report."""
        from regraft.reports.verdict import verdict

        last = found[-1]
        section = last.report.section
        return {
            "verdict": verdict(last.report),
            "run": str(getattr(last, "path", "") or ""),
            "metrics": {} if section is None else to_json(section.metrics),
            "notes": notes,
        }

    look = (
        list_backbones,
        describe_network,
        list_strategies,
        show_recipe,
        read_report,
        compare_runs,
        predict,
        evaluate,
    )
    for tool in (*look, *((fit, extend) if runs is not None else ())):
        app.add_tool(tool, structured_output=False)
    return app
