"""The command line: words to verbs, values to text. Everything heavy is loaded by the verbs, when one is called."""

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
    help="Reuse a trained network on your own labelled data, and see the proof that it was worth it.",
)

Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
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
    """Reuse a trained network on your own labelled data, and see the proof that it was worth it."""


@app.command()
@with_flags(*RECIPE)
def fit(
    target: Target,
    settings: dict[str, Any],
    max_time: Annotated[str | None, flag("Maximum training time, such as 90s, 10m or 1h30m.")] = None,
    out: Annotated[Path | None, given("Folder of the run. Default: runs/DATA-STRATEGY.")] = None,
    resume: Resume = False,
    log_to: Annotated[
        list[str] | None,
        typer.Option(help="Write losses and figures for tensorboard or mlflow too. Repeatable.", show_default=False),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on labelled data, prove the result, save the model.

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

    with if_interrupted(f"To go on, start the same command again with: --out {folder} --resume"):
        fitting = verb(recipe, folder, resume=resume)
        events = chain(moved(recipe, target), tracked(fitting, log_to, folder) if log_to else fitting)
        done = result_of(events, RunDone, quiet=quiet)
    print_run(done.report, done.path, json=json, model=True)


@app.command()
@with_flags(*RECIPE)
def show(target: Target, settings: dict[str, Any], json: Json = False) -> None:
    """Print the recipe that fit would run, defaults filled in.

    Every setting stands under a sentence that explains it.

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
    data: Annotated[Path, flag("Labelled examples that the model has not seen.")],
    settings: dict[str, Any],
    out: Annotated[Path | None, given("Folder to keep the test in: a page, plots, all numbers.")] = None,
    abstain: Abstain = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test a model on labelled data it has not seen.

    \b
    regraft evaluate runs/ants --data photos/test --out tests/ants
    """
    from regraft.recipe import Recipe, with_settings
    from regraft.workbench.evaluate import Evaluated
    from regraft.workbench.evaluate import evaluate as verb

    source = with_settings(Recipe(data=str(data)), settings).source
    done = result_of(verb(run, data, out=out, source=source, abstain=abstain), Evaluated, quiet=quiet)
    print_run(done.report, out, json=json)


@app.command()
@with_flags(*COLUMNS)
def extend(
    run: RunFolder,
    data: Annotated[Path, flag("Labelled examples of the new classes, of old ones too if you like.")],
    out: Annotated[Path, flag("Folder for the new model and its report.")],
    settings: dict[str, Any],
    old: Annotated[Path | None, given("Examples of the old classes. Default: what the run was made of.")] = None,
    max_loss: Annotated[float, flag("Maximum loss of accuracy on the old classes.")] = 0.02,
    seed: Annotated[int, flag("Random seed.")] = 0,
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add classes to a model, leaving all else as it is.

    The network and the old classes' weights stay bit for bit. Old examples are tested before and after.

    \b
    regraft extend runs/leaves --data new_disease/ --out runs/leaves-7
    """
    from regraft.workbench.fit import fit as verb
    from regraft.workbench.recipes import extension_for
    from regraft.workbench.run import RunDone

    recipe = extension_for(run, data, old=old, max_loss=max_loss, settings={"seed": seed, **settings})
    with if_interrupted(f"To go on, start the same command again with: --out {out} --resume"):
        done = result_of(verb(recipe, out, resume=resume), RunDone, quiet=quiet)
    print_run(done.report, done.path, json=json, model=True)


@app.command()
@with_flags("source.path_column", "source.text_columns")
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a run or of a model.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS...", help="Files, folders of them, tables.")],
    settings: dict[str, Any],
    out: Annotated[Path | None, given("Write a table (CSV) here.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, to stdout or --out.")] = False,
    draw: Annotated[Path | None, given("Folder for masks as PNG, alone and over the inputs.")] = None,
    abstain: Abstain = None,
    quiet: Quiet = False,
) -> None:
    """Predict labels of files.

    Without --out or --json: path, label and probability, between tabs.

    \b
    regraft predict runs/ants some.jpg folder/ --out table.csv
    """
    from regraft.doors._predictions import write_predictions
    from regraft.recipe import Recipe, with_settings
    from regraft.values import Prediction
    from regraft.workbench.predict import predict as verb

    source = with_settings(Recipe(data=str(model)), settings).source
    found = watched(verb(model, inputs, source=source, abstain=abstain, draw=draw), quiet=quiet)
    write_predictions((one for one in found if isinstance(one, Prediction)), out=out, json_lines=json)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B")],
    metric: Annotated[str, given("accuracy, log_loss, mae, r2 …; that of the kind of task.")] = "",
    json: Json = False,
) -> None:
    """Is one run really better than another?

    Paired, on the same examples, by bootstrap, and for accuracy McNemar's exact test.

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
    strategies: Annotated[str, flag("Strategies, each with a cut if you like: probe,partial@4e,full.")],
    backbones: Annotated[str, flag("Backbones to compare, with commas between them.")] = "googlenet",
    sizes: Annotated[str, flag("Shares of the training examples in percent, for learning curves.")] = "100%",
    seeds: Annotated[int, flag("Seeds that each candidate is trained from.")] = 3,
    metric: Annotated[str, given("accuracy, log_loss, mae, r2 …; that of the kind of task.")] = "",
    max_time: Annotated[str | None, flag("No run is begun that would end later, such as 90s, 10m.")] = None,
    out: Annotated[Path | None, given("Folder of the sweep. Default: runs/DATA-sweep.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a sweep that was stopped.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train several candidates; say which is best.

    All are trained on the same splits and seeds and share what the frozen stages compute.

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
    with if_interrupted(f"To go on, start the same command again with: --out {folder} --resume"):
        report = result_of(events, SweepDone, quiet=quiet).report
    print_report(report, folder, verdict(report), [swept(report)], json=json)


@app.command()
@with_flags("device", "source.allow_leaks")
def lab(
    settings: dict[str, Any],
    study: Annotated[
        str, typer.Argument(metavar="[STUDY]", help="reductions, scales …; none: list all.", show_default=False)
    ] = "",
    data: Annotated[
        Path | None,
        given(
            "Folder of labelled images, a sub-folder per class. Default: data/source-images in the folder that "
            "REGRAFT_SHARED names."
        ),
    ] = None,
    long: Annotated[bool, typer.Option("--long", help="Six times the training, for hours in the background.")] = False,
    seeds: Annotated[int, flag("Seeds of every arm; 0: 5, and 3 of long.")] = 0,
    max_time: Annotated[str | None, flag("No run is begun that would end later, such as 90s, 10m.")] = None,
    out: Annotated[Path | None, given("Folder of the study. Default: runs/lab/STUDY.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that was stopped.")] = False,
    publish: Annotated[Path | None, given("Write the page and its plots here too, as lab_STUDY.md.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Re-measure what is claimed about GoogLeNet.

    Each study is a sweep over variants of the network. Without STUDY: what there is.

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
    with if_interrupted(f"To go on, start the same command again with: --out {folder} --resume"):
        report = result_of(events, StudyDone, quiet=quiet).report
    print_report(report, folder, f"{report.outcome}: {report.verdict}", [swept(report.sweep)], json=json)


app.registered_commands += catalogue.registered_commands


@app.command()
def push(
    model: Model,
    to: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository; it is made if need be.")],
    private: Annotated[bool, typer.Option("--private", help="Make it for its owner alone.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send a model to the Hugging Face hub: tensors, facts and card.

    No file of the data, no prediction and nothing else of the run is sent. `hf auth login` says who you are.

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
