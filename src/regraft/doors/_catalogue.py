"""Commands besides training: audit, advise, lists of backbones and strategies, describe, cache, export, bench, explain,
and the servers."""

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
    out: Annotated[Path | None, given("Output folder. Default: exports/FORMAT in MODEL.")] = None,
    data: Annotated[Path | None, given("Current location of the run's data. Default: the original one.")] = None,
    max_loss: Annotated[
        float, flag("Maximum loss of the main metric on the validation split, for formats that round.")
    ] = 0.02,
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Export a model to ONNX or OpenVINO, and check it.

    Includes a predict.py that does not need regraft.

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
    to: Annotated[str, flag("Comma-separated formats. Default: all.")] = "",
    rounds: Annotated[int, flag("Number of timing rounds.")] = 20,
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time a model in every format on this machine.

    Reports latency of one input, throughput in batches of 16, and size on disk.

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
    inputs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files or folders.")],
    out: Annotated[Path, flag("Output folder for the report.")],
    label: Annotated[str, given("Class, label or value to explain. Default: the predicted one.")] = "",
    neighbours: Annotated[int, flag("Number of nearest training examples to show.")] = 5,
    data: Annotated[Path | None, given("Current location of the run's data. Default: the original one.")] = None,
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain predictions with attribution maps.

    Grad-CAM and integrated gradients, and the nearest training examples.

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
    checks: Annotated[str, given("Run only these comma-separated checks: exact_copies,groups.")] = "",
    fix_split: Annotated[
        Path | None, given("Write a CSV table with a clean split to this file, for regraft fit.")
    ] = None,
    fail_on: Annotated[str, flag("Exit with code 10 if a finding is this severe: stop, warn, or never.")] = "stop",
    out: Annotated[Path | None, given("Output folder for the report, with previews.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find problems in labelled data before training.

    Duplicates across splits, likely label errors, patient IDs in file names, classes leaked by borders or formats …

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
    backbones: Annotated[str, flag("Comma-separated backbones to choose from.")] = "googlenet",
    strategies: Annotated[str, flag("Comma-separated strategies to choose from.")] = "probe,partial,full",
    budget: Annotated[str, flag("Time limit (wall-clock), such as 90s, 10m.")] = "10m",
    out: Annotated[Path | None, given("Output folder. Default: runs/DATA-advice.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Recommend a backbone and how much of it to retrain.

    Estimates the detectable difference, then runs probes, transferability scores and a short pilot. Test labels are not
    used.

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

    With cuts, licences, and when to prefer which.
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
    input_px: Annotated[int | None, flag("Side of the square input in pixels. Default: the network's own.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List every layer, not only stages.")] = False,
    svg: Annotated[Path | None, given("Write a diagram of the network to this file.")] = None,
    html: Annotated[Path | None, given("Write an HTML page with diagram and tables to this file.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Print one line per network (default for several).")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Compare, and measure the throughput on this machine.")
    ] = False,
    batch: Annotated[int, flag("With --measure: batch size.")] = 8,
    rounds: Annotated[int, flag("With --measure: number of rounds.")] = 3,
    threads: Annotated[int, flag("With --measure: CPU threads; 0 for all cores.")] = 0,
    device: Annotated[str, flag("With --measure: cpu, cuda, mps or auto.")] = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Describe a network: cost and receptive field by stage.

    Needs no weights and downloads nothing. Prints one line each for several networks.

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
            raise BadRequest(
                "--layers, --svg and --html accept a single network.", fix="describe the networks individually."
            )
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
    """List strategies; with NAME, all its options."""
    from regraft.doors._listings import of_options, of_strategies
    from regraft.workbench.strategies import strategies as verb

    found = verb(name)
    print_found({"strategies": found}, lambda _: (of_options if name else of_strategies)(found), json=json)


@catalogue.command()
def cache(
    clear: Annotated[
        bool,
        typer.Option(
            "--clear", help="Delete stored activations, unpacked archives and scan results that are not in use."
        ),
    ] = False,
    backbone: Annotated[str, given("With --clear: only for this backbone.")] = "",
    older_than: Annotated[str | None, given("With --clear: only those unused for this long, such as 30d.")] = None,
    json: Json = False,
) -> None:
    """List or clear cached data.

    Everything can be recomputed. Weights and downloads are never cleared.
    """
    from regraft.doors._listings import of_cache, of_cleared
    from regraft.errors import BadRequest
    from regraft.workbench.cache import clear as clear_cache
    from regraft.workbench.cache import look

    if clear:
        days = None if older_than is None else seconds(older_than) / 86_400
        print_found(clear_cache(backbone=backbone, older_than_days=days), of_cleared, json=json)
    elif backbone or older_than:
        raise BadRequest("--backbone and --older-than require --clear.", fix="add --clear.")
    else:
        print_found(look(), of_cache, json=json)


@catalogue.command()
def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Folder of a run or of a model, or NAME=FOLDER.")
    ],
    host: Annotated[str, flag("Address to listen on; 0.0.0.0: all interfaces.")] = "127.0.0.1",
    port: Annotated[int, flag("Port to listen on; 0: any free port.")] = 8000,
    workers: Annotated[int, flag("Number of processes; each loads every model.")] = 1,
    threads: Annotated[int, flag("CPU threads per worker; 0: an equal share of the cores.")] = 0,
    device: Annotated[str, flag("cpu, cuda, mps or auto.")] = "auto",
    batch: Annotated[int, flag("Maximum batch size; 1: no batching.")] = 16,
    wait_ms: Annotated[float, flag("Maximum time in milliseconds that an input waits for a batch to fill.")] = 5.0,
    queue: Annotated[int, flag("Maximum queued inputs per worker; beyond that, requests get status 503.")] = 128,
    max_inputs: Annotated[int, flag("Maximum inputs per request.")] = 64,
    max_body_mb: Annotated[float, flag("Maximum size of a request in MiB.")] = 32.0,
    token_file: Annotated[Path | None, given("Require the bearer token in the first line of this file.")] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Additional host name of this server (of a proxy, say). Repeatable.",
            show_default=False,
        ),
    ] = None,
    allow_urls: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Allow inputs by URL with this prefix. Repeatable.", show_default=False),
    ] = None,
) -> None:
    """Serve models over HTTP, until Ctrl-C or SIGTERM.

    Predictions are the same as from predict. The server documents every endpoint at /docs.

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
        Path, typer.Argument(metavar="[FOLDER]", help="Folder with data and runs.", show_default=False)
    ] = Path(),
    host: Annotated[str, flag("Address to listen on; 0.0.0.0: all interfaces.")] = "127.0.0.1",
    port: Annotated[int, flag("Port to listen on; 0: any free port.")] = 8001,
    open_: Annotated[bool, typer.Option("--open", help="Open the browser.")] = False,
) -> None:
    """Start the web UI: data, audits, runs, mistakes, exports.

    Every action is a regraft command, run one at a time. The server can be restarted at any time.

    \b
    regraft ui
    """
    from regraft.doors.http.settings import check_installed

    check_installed("regraft ui")
    from regraft.doors.ui.server import serve as run

    run(folder, host, port, open_=open_)


@catalogue.command()
def mcp(
    runs: Annotated[Path | None, given("Allow training, with runs in this folder only.")] = None,
) -> None:
    """Offer the commands as tools to AI assistants (MCP).

    The Model Context Protocol. Without --runs, tools only read and predict.

    \b
    regraft mcp --runs runs
    """
    from regraft.doors.mcp import server

    server(runs).run("stdio")
