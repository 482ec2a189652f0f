"""The command line. Parses arguments, calls the commands and prints results; heavy packages are imported on use."""

import tomllib
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.doors._catalogue import Model, catalogue
from regraft.doors._errors import guarded, if_interrupted
from regraft.doors._flags import (
    COLUMNS,
    RECIPE,
    Abstain,
    Json,
    Quiet,
    Target,
    between_commas,
    flag,
    given,
    percent,
    seconds,
    with_flags,
)
from regraft.doors.screen import compared, print_found, print_report, print_run, result_of, swept, watched
from regraft.version import VERSION

app = typer.Typer(
    name="regraft",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Transfer learning on your own labelled data, with evidence of whether it was worth it.",
)

Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or of a model.")]


def _print_version(asked: bool | None) -> None:
    if asked:
        print(f"regraft {VERSION}")
        raise typer.Exit


@app.callback()
def regraft(
    version: Annotated[
        bool | None,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version),
    ] = None,
) -> None:
    """Transfer learning on your own labelled data, with evidence of whether it was worth it."""


@app.command()
@with_flags(*RECIPE)
def fit(
    target: Target,
    settings: dict[str, Any],
    max_time: Annotated[str | None, flag("Maximum training time, such as 90s, 10m or 1h30m.")] = None,
    out: Annotated[Path | None, given("Output folder. Default: runs/DATA-STRATEGY.")] = None,
    resume: Resume = False,
    log_to: Annotated[
        list[str] | None,
        typer.Option(help="Also log metrics to tensorboard or mlflow. Repeatable.", show_default=False),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on labelled data, evaluate and save the model.

    \b
    regraft fit photos/ --strategy partial --cut 4e --out runs/ants
    regraft fit recipe.toml
    """
    from regraft.workbench.recipes import folder_for, moved, recipe_for

    own = {} if max_time is None else {"max_seconds": seconds(max_time)}
    recipe = recipe_for(target, own | settings)
    folder = out or folder_for(recipe, resume=resume)

    from regraft.workbench.fit import fit as verb
    from regraft.workbench.run import RunDone, tracked

    with if_interrupted(f"To resume, run the same command with: --out {folder} --resume"):
        fitting = verb(recipe, folder, resume=resume)
        events = chain(moved(recipe, target), tracked(fitting, log_to, folder) if log_to else fitting)
        done = result_of(events, RunDone, quiet=quiet)
    print_run(done.report, done.path, json=json, model=True)


@app.command()
@with_flags(*RECIPE)
def show(target: Target, settings: dict[str, Any], json: Json = False) -> None:
    """Print the recipe that fit would run, with all defaults.

    Every setting is preceded by a description.

    \b
    regraft show photos/ --strategy partial > recipe.toml
    """
    from regraft.workbench.recipes import recipe_for
    from regraft.workbench.show import show as verb

    text = verb(recipe_for(target, settings))
    print_found(tomllib.loads(text), lambda _: text.rstrip("\n"), json=json)


@app.command()
@with_flags(*COLUMNS)
def evaluate(
    run: RunFolder,
    data: Annotated[Path, flag("Labelled examples that the model was not trained on.")],
    settings: dict[str, Any],
    out: Annotated[Path | None, given("Output folder for the report, plots and predictions.")] = None,
    abstain: Abstain = None,
    previews: Annotated[int, flag("Number of largest mistakes to show in the report, with masks and boxes drawn.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model on new labelled data.

    \b
    regraft evaluate runs/ants --data photos/test --out tests/ants
    """
    from regraft.recipe import Recipe, with_settings
    from regraft.workbench.evaluate import Evaluated
    from regraft.workbench.evaluate import evaluate as verb

    source = with_settings(Recipe(data=str(data)), settings).source
    done = result_of(
        verb(run, data, out=out, source=source, abstain=abstain, previews=previews), Evaluated, quiet=quiet
    )
    print_run(done.report, out, json=json)


@app.command()
@with_flags(*COLUMNS)
def extend(
    run: RunFolder,
    data: Annotated[Path, flag("Labelled examples of the new classes (and optionally of old ones).")],
    out: Annotated[Path, flag("Output folder for the new model and its report.")],
    settings: dict[str, Any],
    old: Annotated[Path | None, given("Examples of the old classes. Default: the original training data.")] = None,
    max_loss: Annotated[float, flag("Maximum loss of accuracy on the old classes.")] = 0.02,
    seed: Annotated[int, flag("Random seed.")] = 0,
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add classes to a model without changing the rest.

    The network and the old classes' weights stay bit for bit the same. Old examples are evaluated before and after.

    \b
    regraft extend runs/leaves --data new_disease/ --out runs/leaves-7
    """
    from regraft.workbench.fit import fit as verb
    from regraft.workbench.recipes import extension_for
    from regraft.workbench.run import RunDone

    recipe = extension_for(run, data, old=old, max_loss=max_loss, settings={"seed": seed, **settings})
    with if_interrupted(f"To resume, run the same command with: --out {out} --resume"):
        done = result_of(verb(recipe, out, resume=resume), RunDone, quiet=quiet)
    print_run(done.report, done.path, json=json, model=True)


@app.command()
@with_flags("source.path_column", "source.text_columns")
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a run or of a model.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS...", help="Files, folders or tables.")],
    settings: dict[str, Any],
    out: Annotated[Path | None, given("Write a CSV table to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object per line, to stdout or --out.")] = False,
    draw: Annotated[Path | None, given("Folder for PNG files with masks or boxes over the inputs.")] = None,
    coco: Annotated[Path | None, given("Write the predicted boxes to this file, as COCO JSON.")] = None,
    gallery: Annotated[Path | None, given("Labelled examples of the identities to find, for verification.")] = None,
    abstain: Abstain = None,
    quiet: Quiet = False,
) -> None:
    """Predict the labels of files.

    Without --out or --json, prints path, label and probability, separated by tabs.

    \b
    regraft predict runs/ants some.jpg folder/ --out table.csv
    """
    from regraft.doors._predictions import write_predictions
    from regraft.recipe import Recipe, with_settings
    from regraft.values import Prediction
    from regraft.workbench.predict import predict as verb

    source = with_settings(Recipe(data=str(model)), settings).source
    found = watched(
        verb(model, inputs, source=source, abstain=abstain, draw=draw, coco=coco, gallery=gallery), quiet=quiet
    )
    write_predictions((one for one in found if isinstance(one, Prediction)), out=out, json_lines=json)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B")],
    metric: Annotated[str, given("accuracy, log_loss, mae, r2 …; that of the kind of task.")] = "",
    json: Json = False,
) -> None:
    """Test whether one run is better than another.

    Paired on the same examples, by bootstrap; for accuracy also McNemar's exact test.

    \b
    regraft compare runs/ants runs/ants-full
    """
    from regraft.workbench.compare import compare as verb

    print_found(verb(run_a, run_b, metric=metric or None), compared, json=json)


@app.command()
@with_flags(*(path for path in RECIPE if path not in ("backbone", "strategy", "cut")))
def sweep(
    target: Target,
    settings: dict[str, Any],
    strategies: Annotated[str, flag("Comma-separated strategies, optionally with a cut: probe,partial@4e,full.")],
    backbones: Annotated[str, flag("Comma-separated backbones to compare.")] = "googlenet",
    sizes: Annotated[str, flag("Comma-separated shares of the training examples, for learning curves.")] = "100%",
    seeds: Annotated[int, flag("Number of random seeds per candidate.")] = 3,
    metric: Annotated[str, given("accuracy, log_loss, mae, r2 …; that of the kind of task.")] = "",
    max_time: Annotated[str | None, flag("Do not start runs that would end later than this, such as 90s, 10m.")] = None,
    out: Annotated[Path | None, given("Output folder. Default: runs/DATA-sweep.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted sweep.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train and compare several candidates.

    All use the same splits and seeds, and share stored activations.

    \b
    regraft sweep photos/ --strategies probe,partial@4e,full --out sweeps/ants
    """
    from regraft.reports.sweep import verdict
    from regraft.workbench.recipes import RUNS, recipe_for
    from regraft.workbench.sweep import SweepDone
    from regraft.workbench.sweep import sweep as verb

    folder = out or RUNS / f"{Path(target).stem}-sweep"
    events = verb(
        recipe_for(target, settings), folder, backbones=between_commas(backbones),
        strategies=between_commas(strategies), sizes=[percent(one) for one in between_commas(sizes)],
        seeds=seeds, metric=metric or None,
        max_seconds=None if max_time is None else seconds(max_time), resume=resume,
    )  # fmt: skip
    with if_interrupted(f"To resume, run the same command with: --out {folder} --resume"):
        report = result_of(events, SweepDone, quiet=quiet).report
    print_report(report, folder, verdict(report), [swept(report)], json=json)


@app.command()
@with_flags("device", "source.allow_leaks")
def lab(
    settings: dict[str, Any],
    study: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="reductions, scales …; empty: list all.", show_default=False)
    ] = "",
    data: Annotated[
        Path | None,
        given(
            "Folder of labelled images with a subfolder per class. Default: data/source-images in the folder "
            "$REGRAFT_SHARED."
        ),
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="Train six times as long; takes hours.")] = False,
    seeds: Annotated[int, flag("Number of random seeds per arm; 0: 5, or 3 with --long.")] = 0,
    max_time: Annotated[str | None, flag("Do not start runs that would end later than this, such as 90s, 10m.")] = None,
    out: Annotated[Path | None, given("Output folder. Default: runs/lab/STUDY.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted study.")] = False,
    publish: Annotated[
        Path | None, given("Also write the report and its plots to this folder, as lab_STUDY.md.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Re-measure published claims about GoogLeNet.

    Each study is a sweep over variants of the network. Without STUDY, lists them.

    \b
    regraft lab reductions
    regraft lab pooling --data photos/ --max-time 30m
    """
    from regraft.doors._listings import of_studies
    from regraft.workbench.lab import StudyDone, studies
    from regraft.workbench.lab import lab as verb
    from regraft.workbench.recipes import RUNS

    if not study:
        found = studies()
        print_found({"studies": found}, lambda _: of_studies(found), json=json)
        return
    folder = out or RUNS / "lab" / f"{study}{'-long' if long else ''}"
    events = verb(
        study, out=folder, data=data, long=long, seeds=seeds, resume=resume, publish=publish, settings=settings,
        max_seconds=None if max_time is None else seconds(max_time),
    )  # fmt: skip
    with if_interrupted(f"To resume, run the same command with: --out {folder} --resume"):
        report = result_of(events, StudyDone, quiet=quiet).report
    print_report(report, folder, f"{report.outcome}: {report.verdict}", [swept(report.sweep)], json=json)


app.registered_commands += catalogue.registered_commands


@app.command()
def push(
    model: Model,
    to: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository; created if needed.")],
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Upload a model to the Hugging Face hub.

    Sends tensors, metadata and model card; no data, no predictions, nothing else of the run. Log in with `hf auth
    login`.

    \b
    regraft push runs/ants you/ants
    """
    from regraft.workbench.push import Pushed
    from regraft.workbench.push import push as verb

    done = result_of(verb(model, to, private=private), Pushed, quiet=quiet)
    print_found(done, lambda one: f"pushed  {one.url}: {', '.join(one.files)}", json=json)


def main() -> None:
    """The entry point `regraft`."""
    command: Any = typer.main.get_command(app)
    with guarded():
        command(prog_name="regraft")
