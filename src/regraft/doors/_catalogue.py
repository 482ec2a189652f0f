"""The commands that train nothing that is kept: what is wrong with data, what to do with them, what there is to choose
from, what a network is made of, what is stored; what hands a model over: export it, time it, explain what it predicts;
and the server."""

from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.doors._errors import FOUND
from regraft.doors._flags import RECIPE, Json, Quiet, Target, between_commas, flag, given, seconds, with_flags
from regraft.doors.screen import print_found, print_report, result_of, wrapped

catalogue = typer.Typer()
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a run or of a model.")]
Threads = Annotated[int, flag("CPU threads; 0: all cores.")]


@catalogue.command()
def export(
    model: Model,
    to: Annotated[str, flag("onnx, onnx-fp16, onnx-int8 or openvino.")] = "onnx",
    out: Annotated[Path | None, given("Folder of the export. Default: exports/FORMAT in MODEL.")] = None,
    data: Annotated[Path | None, given("Where the run's data lie now. Default: where they lay.")] = None,
    max_loss: Annotated[
        float, flag("How much of the main metric a format that rounds may lose on the validation split.")
    ] = 0.02,
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for ONNX Runtime or OpenVINO, checked.

    A predict.py that needs nothing of regraft goes with it.

    \b
    regraft export runs/ants --to onnx
    """
    from regraft.workbench.export import Exported
    from regraft.workbench.export import export as verb

    done = result_of(
        verb(model, to, out=out, data=data, max_loss=max_loss, threads=threads), Exported, quiet=quiet
    )  # fmt: skip
    print_found(done, lambda one: f"{wrapped(one.told())}\n\nexport  {one.path}", json=json)


@catalogue.command()
def bench(
    model: Model,
    to: Annotated[str, flag("Formats, with commas between them. Default: every one.")] = "",
    rounds: Annotated[int, flag("How often every format is timed.")] = 20,
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time a model in every format on this machine.

    Latency of one input, inputs a second in batches of 16, size on the disk.

    \b
    regraft bench runs/ants
    """
    from regraft.doors._listings import of_bench
    from regraft.workbench.bench import Benched
    from regraft.workbench.bench import bench as verb

    events = verb(model, to=between_commas(to), rounds=rounds, threads=threads)
    print_found(result_of(events, Benched, quiet=quiet), of_bench, json=json)


@catalogue.command()
def explain(
    model: Model,
    inputs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, folders of them.")],
    out: Annotated[Path, flag("Folder for the page with the maps.")],
    label: Annotated[str, given("Class, label or value to explain. Default: the predicted one.")] = "",
    neighbours: Annotated[int, flag("How many of the nearest training examples are shown.")] = 5,
    data: Annotated[Path | None, given("Where the run's data lie now. Default: where they lay.")] = None,
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a prediction rests on.

    Maps by Grad-CAM and integrated gradients, and the nearest training examples.

    \b
    regraft explain runs/ants some.jpg --out explained
    """
    from regraft.doors._listings import of_explanations
    from regraft.workbench.explain import Explained
    from regraft.workbench.explain import explain as verb

    events = verb(model, inputs, out=out, label=label, neighbours=neighbours, data=data, threads=threads)
    print_found(result_of(events, Explained, quiet=quiet), of_explanations, json=json)


@catalogue.command()
@with_flags(
    *(path for path in RECIPE if path not in ("strategy", "cut", "views", "augmentation", "source.allow_leaks"))
)
def audit(
    target: Target,
    settings: dict[str, Any],
    checks: Annotated[str, given("Only these, with commas between them: exact_copies,groups.")] = "",
    fix_split: Annotated[Path | None, given("Write a table (CSV) with a clean split here, for regraft fit.")] = None,
    fail_on: Annotated[str, flag("Exit with 10 where a finding is this severe: stop, warn, or never.")] = "stop",
    out: Annotated[Path | None, given("Folder for the page, with previews of what was found.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for what is wrong with labelled data, before training.

    Copies across splits, likely label errors, patients in names, classes that a border or a format gives away …

    \b
    regraft audit photos/ --out audits/photos --fix-split clean.csv
    """
    from regraft.doors._listings import of_audit
    from regraft.errors import UnknownName
    from regraft.workbench.audit import Audited
    from regraft.workbench.audit import audit as verb
    from regraft.workbench.recipes import recipe_for

    failing = {"never": (), "stop": ("stop",), "warn": ("stop", "warn")}
    if fail_on not in failing:
        raise UnknownName("severity", fail_on, failing)
    events = verb(recipe_for(target, settings), out=out, checks=between_commas(checks), fix_split=fix_split)
    done = result_of(events, Audited, quiet=quiet)
    print_found(done.to_json(), lambda _: of_audit(done.report, out), json=json)
    if any(map(done.report.number, failing[fail_on])):
        raise typer.Exit(FOUND)


@catalogue.command()
@with_flags(*(path for path in RECIPE if path not in ("backbone", "strategy", "cut", "views")))
def advise(
    target: Target,
    settings: dict[str, Any],
    backbones: Annotated[str, flag("Backbones to choose from, with commas between them.")] = "googlenet",
    strategies: Annotated[str, flag("Strategies to choose from.")] = "probe,partial,full",
    budget: Annotated[str, flag("Wall time for the advice, such as 90s, 10m.")] = "10m",
    out: Annotated[Path | None, given("Folder of the advice. Default: runs/DATA-advice.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say which backbone to reuse and how much of it to retrain.

    First what the test can resolve at all; then probes, scores and a short pilot. No test label is read.

    \b
    regraft advise photos/ --backbones googlenet,mobilenet_v3_small --budget 10m
    """
    from regraft.doors._listings import of_advice
    from regraft.reports.advice import verdict
    from regraft.workbench.advise import Advised
    from regraft.workbench.advise import advise as verb
    from regraft.workbench.recipes import RUNS, recipe_for

    folder = out or RUNS / f"{Path(target).stem}-advice"
    events = verb(recipe_for(target, settings), folder, backbones=between_commas(backbones),
                  strategies=between_commas(strategies), budget_s=seconds(budget))  # fmt: skip
    report = result_of(events, Advised, quiet=quiet).report
    print_report(report, folder, verdict(report), [of_advice(report)], json=json)


@catalogue.command()
def backbones(
    name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False)] = "", json: Json = False
) -> None:
    """List pretrained networks and their weights.

    Their cuts, the terms of the weights, and when to prefer which.
    """
    from regraft.doors._listings import of_backbones
    from regraft.workbench.backbones import backbones as verb

    found = verb(name)
    print_found({"backbones": found}, lambda _: of_backbones(found), json=json)


@catalogue.command()
def describe(
    names: Annotated[
        list[str], typer.Argument(metavar="BACKBONE...", help="NAME[:VARIANT][@WEIGHTS], or a model's folder.")
    ],
    input_px: Annotated[int | None, flag("Side of the square input, in pixels. Default: the network's own.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Every layer, not stages alone.")] = False,
    svg: Annotated[Path | None, given("Write a drawing of the network here.")] = None,
    html: Annotated[Path | None, given("Write a page with drawing and tables here.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="One line a network; so with several anyway.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Compare, and measure examples a second on this machine.")
    ] = False,
    batch: Annotated[int, flag("With --measure: batch size.")] = 8,
    rounds: Annotated[int, flag("With --measure: how often each network is measured.")] = 3,
    threads: Annotated[int, flag("With --measure: CPU threads; 0 for all cores.")] = 0,
    device: Annotated[str, flag("With --measure: cpu, cuda, mps or auto.")] = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look into a network: what every stage costs and sees.

    No weights are needed, and nothing is fetched. With several, one line each.

    \b
    regraft describe googlenet:paper --html googlenet.html
    regraft describe googlenet alexnet vgg16 resnet50 --measure
    """
    from regraft.doors._listings import of_network, of_networks
    from regraft.errors import BadRequest
    from regraft.workbench.describe import SideBySide, side_by_side, timing_of
    from regraft.workbench.describe import describe as verb

    if len(names) > 1 or compare or measure:
        if layers or svg or html:
            raise BadRequest("--layers, --svg and --html are of one network.", fix="describe the networks one by one.")
        timing = timing_of(batch=batch, rounds=rounds, threads=threads, device=device) if measure else None
        several = result_of(side_by_side(names, input_px=input_px, timing=timing), SideBySide, quiet=quiet)
        print_found(several.to_json(), of_networks, json=json)
        return

    from regraft.files import write_text
    from regraft.reports.architecture_page import draw, render

    described = verb(names[0], input_px=input_px).to_json()
    if svg is not None:
        write_text(svg, draw(described))
    if html is not None:
        write_text(html, render(described))
    print_found(described, lambda one: of_network(one, layers=layers), json=json)


@catalogue.command()
def strategies(
    name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False)] = "", json: Json = False
) -> None:
    """List ways to train; with NAME, all its options."""
    from regraft.doors._listings import of_options, of_strategies
    from regraft.workbench.strategies import strategies as verb

    found = verb(name)
    print_found({"strategies": found}, lambda _: (of_options if name else of_strategies)(found), json=json)


@catalogue.command()
def cache(
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Delete stored activations and archives that no process uses, and scans' memory."),
    ] = False,
    backbone: Annotated[str, given("With --clear: those of this backbone only.")] = "",
    older_than: Annotated[str | None, given("With --clear: only those unused for this long, such as 30d.")] = None,
    json: Json = False,
) -> None:
    """Look at what is stored for later runs, or clear it.

    All of it can be made or fetched again. Weights and downloads are never cleared here.
    """
    from regraft.doors._listings import of_cache, of_cleared
    from regraft.errors import BadRequest
    from regraft.workbench.cache import clear as clear_cache
    from regraft.workbench.cache import look

    if clear:
        days = None if older_than is None else seconds(older_than) / 86_400
        print_found(clear_cache(backbone=backbone, older_than_days=days), of_cleared, json=json)
    elif backbone or older_than:
        raise BadRequest("--backbone and --older-than say what to clear.", fix="add --clear.")
    else:
        print_found(look(), of_cache, json=json)


@catalogue.command()
def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Folder of a run or of a model, or NAME=FOLDER.")
    ],
    host: Annotated[str, flag("Address to listen on; 0.0.0.0: all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, flag("Port to listen on; 0: one that is free.")] = 8000,
    workers: Annotated[int, flag("Processes; each holds every model.")] = 1,
    threads: Annotated[int, flag("CPU threads of a worker; 0: its share of the cores.")] = 0,
    device: Annotated[str, flag("cpu, cuda, mps or auto.")] = "auto",
    batch: Annotated[int, flag("Inputs that are predicted together at most; 1: each alone.")] = 16,
    wait_ms: Annotated[float, flag("How long an input waits for others to join it.")] = 5.0,
    queue: Annotated[int, flag("Inputs that a worker accepts ahead; beyond it says 503.")] = 128,
    max_inputs: Annotated[int, flag("Inputs of one request.")] = 64,
    max_body_mb: Annotated[float, flag("Size of one request, in MiB.")] = 32.0,
    token_file: Annotated[Path | None, given("Ask for the bearer token in this file's first line.")] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A further name of this server, as of a proxy before it. Repeatable.",
            show_default=False,
        ),
    ] = None,
    allow_urls: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX", help="Fetch inputs from addresses that begin so. Repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve models over HTTP, until Ctrl-C or SIGTERM.

    Predictions are those of predict. The page /docs on the server shows every address with an example.

    \b
    regraft serve runs/ants
    regraft serve ants=runs/ants runs/leaves --host 0.0.0.0 --token-file token --workers 2
    """
    from regraft.activations.runner import usable_cores
    from regraft.doors.http.settings import MIB, Settings, check_installed, named_models, read_token, url_prefixes

    check_installed()
    settings = Settings(
        models=named_models(models), threads=threads or max(1, usable_cores() // max(1, workers)), device=device,
        batch=batch, wait_s=wait_ms / 1000, queue=queue, max_inputs=max_inputs, max_body=int(max_body_mb * MIB),
        token=read_token(token_file), url_prefixes=url_prefixes(allow_urls or ()), hosts=tuple(allow_host or ()),
    )  # fmt: skip

    from regraft.doors.http.server import serve as run

    run(settings, host, port, workers=workers)


@catalogue.command()
def ui(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where data, runs and all else lie.", show_default=False)
    ] = Path(),
    host: Annotated[str, flag("Address to listen on; 0.0.0.0: all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, flag("Port to listen on; 0: one that is free.")] = 8001,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Work in a browser: data, audits, runs, mistakes, exports.

    Every click is a command of this program, run one at a time. The server can be ended and started again.

    \b
    regraft ui
    """
    from regraft.doors.http.settings import check_installed

    check_installed("regraft ui")
    from regraft.doors.ui.server import serve as run

    run(folder, host, port, open_=open_)


@catalogue.command()
def mcp(
    runs: Annotated[Path | None, given("Allow training; runs are written in this folder, and nowhere else.")] = None,
) -> None:
    """Offer the verbs as tools to an AI assistant (MCP).

    The Model Context Protocol. Without --runs the tools only look and predict.

    \b
    regraft mcp --runs runs
    """
    from regraft.doors.mcp import server

    server(runs).run("stdio")
