"""The command line: words to verbs, values to text. Everything heavy is loaded by the verbs, when one is called."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.doors._describe import describe
from regraft.doors._errors import guarded, if_interrupted
from regraft.doors._lab import lab
from regraft.doors._parse import label_columns, seconds, settings
from regraft.doors._terminal import watched
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

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress; errors and results remain.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Any field of the recipe, such as options.lr=1e-4. Repeatable."),
]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of a table that holds the labels. Several: tags (0 or 1) or numbers.", show_default=False
    ),
]
LabelDelimiter = Annotated[
    str | None, typer.Option(help="What stands between the tags of a label such as cat;dog.", show_default=False)
]
PathColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the paths.", show_default=False)]
Abstain = Annotated[
    float | None,
    typer.Option(help="Withhold the label of inputs farther from the training data than this share of them, say 0.99."),
]


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"regraft {VERSION}")
        raise typer.Exit


@app.callback()
def regraft(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Reuse a trained network on your own labelled data, and see the proof that it was worth it."""


@app.command()
def fit(
    target: Annotated[str, typer.Argument(metavar="DATA_OR_RECIPE", help="Folder, table or recipe.toml.")],
    backbone: Annotated[
        str | None,
        typer.Option(help="NAME[:VARIANT][@WEIGHTS] or a model's folder. Default: googlenet.", show_default=False),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification, multilabel, regression or ordinal. Default: what the label columns say.",
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="probe, partial, full, gradual, lora … `regraft strategies` lists all. Default: probe.",
            show_default=False,
        ),
    ] = None,
    cut: Annotated[str | None, typer.Option(help="Last frozen stage, `input` or `output`.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. Default: runs/DATA-STRATEGY.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.", show_default=False)] = None,
    input_px: Annotated[int | None, typer.Option(help="Side of the square input, in pixels.")] = None,
    views: Annotated[int | None, typer.Option(help="Views kept of each example; 0: new ones each epoch.")] = None,
    augmentation: Annotated[
        str | None, typer.Option(help="default, colour, flips, strong or none.", show_default=False)
    ] = None,
    max_time: Annotated[str | None, typer.Option(help="Most time to train, such as 90s, 10m or 1h30m.")] = None,
    side_heads: Annotated[
        bool, typer.Option("--side-heads", help="Train the backbone's auxiliary classifiers along.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps or auto.", show_default=False)] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    label_delimiter: LabelDelimiter = None,
    split_column: Annotated[str | None, typer.Option(help="Column that holds train, val or test.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column that says which examples belong together.")] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="Regular expression; its first group in the path says what belongs together.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Of two classes the one that examples are flagged for.", show_default=False)
    ] = None,
    allow_leaks: Annotated[bool, typer.Option("--allow-leaks", help="Run although parts share content.")] = False,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file again, trust no digest kept.")] = False,
    set_: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train on labelled data, prove the result, save the model.

    \b
    regraft fit photos/ --strategy partial --cut 4e --out runs/ants
    regraft fit recipe.toml
    """
    from regraft.doors._tables import figures
    from regraft.reports.verdict import verdict
    from regraft.workbench.recipes import folder_for, recipe_for

    flags = {
        "backbone": backbone, "task": task, "strategy": strategy, "cut": cut, "seed": seed,
        "input_px": input_px, "views": views, "augmentation": augmentation, "device": device,
        "max_seconds": None if max_time is None else seconds(max_time),
        "source.path_column": path_column, **label_columns(label_column), "source.label_delimiter": label_delimiter,
        "source.split_column": split_column,
        "source.group_column": group_column, "source.group_pattern": group_pattern,
        "decision.positive": positive, "options.side_heads": side_heads or None,
        "source.allow_leaks": allow_leaks or None, "source.rehash": rehash or None,
    }  # fmt: skip
    recipe = recipe_for(target, settings(flags, set_ or []))
    folder = out or folder_for(recipe, resume=resume)

    from regraft.workbench.fit import RunDone
    from regraft.workbench.fit import fit as run

    with if_interrupted(f"To go on, start the same command again with: --out {folder} --resume"):
        done = list(watched(run(recipe, folder, resume=resume), quiet=quiet))
    for event in done:
        if isinstance(event, RunDone):
            _say(figures(event.report), verdict(event.report))
            print(f"report  {event.path / 'report.md'}\nmodel   {event.path / 'model'}")


@app.command()
def show(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE_OR_DATA", help="recipe.toml, or a folder, archive or table of data.")
    ],
    backbone: Annotated[str | None, typer.Option(show_default=False)] = None,
    strategy: Annotated[str | None, typer.Option(show_default=False)] = None,
    set_: Set = None,
) -> None:
    """Print a recipe, defaults filled in.

    Every setting stands under a sentence that explains it.

    \b
    regraft show photos/ --strategy partial > recipe.toml
    """
    from regraft.workbench import show as verb
    from regraft.workbench.recipes import recipe_for

    print(verb(recipe_for(recipe, settings({"backbone": backbone, "strategy": strategy}, set_ or []))), end="")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or of a model.")],
    data: Annotated[Path, typer.Option(help="Labelled examples that the model has not seen.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to keep the test in: a page, plots, all numbers.", show_default=False)
    ] = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    label_delimiter: LabelDelimiter = None,
    group_column: Annotated[str | None, typer.Option(help="Column that says which examples belong together.")] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="Regular expression; its first group in the path says what belongs together.")
    ] = None,
    abstain: Abstain = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Test a model on labelled data it has not seen.

    \b
    regraft evaluate runs/ants --data photos/test --out tests/ants
    """
    from regraft.doors._tables import figures
    from regraft.recipe import Recipe, with_settings
    from regraft.reports.verdict import refused, verdict
    from regraft.workbench.evaluate import Evaluated
    from regraft.workbench.evaluate import evaluate as verb

    flags = {
        "source.path_column": path_column, **label_columns(label_column), "source.label_delimiter": label_delimiter,
        "source.group_column": group_column, "source.group_pattern": group_pattern,
    }  # fmt: skip
    source = with_settings(Recipe(data=str(data)), settings(flags, set_ or [])).source
    for event in list(watched(verb(run, data, out=out, source=source, abstain=abstain), quiet=quiet)):
        if isinstance(event, Evaluated):
            _say(figures(event.report), verdict(event.report), refused(event.report))
            if out is not None:
                print(f"report  {out / 'report.md'}")


@app.command()
def extend(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run or of a model.")],
    data: Annotated[Path, typer.Option(help="Labelled examples of the new classes, of old ones too if you like.")],
    out: Annotated[Path, typer.Option(help="Folder for the new model and its report.")],
    old: Annotated[
        Path | None,
        typer.Option(help="Examples of the old classes. Default: what the run was made of.", show_default=False),
    ] = None,
    max_loss: Annotated[float, typer.Option(help="Accuracy on old classes that may be lost at most.")] = 0.02,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: Annotated[str | None, typer.Option(help="Column that says which examples belong together.")] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help="Regular expression; its first group in the path says what belongs together.")
    ] = None,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Add classes to a model, leaving all else as it is.

    The network and the old classes' weights stay bit for bit. Old examples are asked before and after.

    \b
    regraft extend runs/leaves --data new_disease/ --out runs/leaves-7
    """
    from regraft.doors._tables import figures
    from regraft.recipe import Recipe, with_settings
    from regraft.reports.verdict import verdict
    from regraft.workbench.extend import extend as verb
    from regraft.workbench.fit import RunDone

    flags = {
        "source.path_column": path_column, "source.label_column": label_column,
        "source.group_column": group_column, "source.group_pattern": group_pattern,
    }  # fmt: skip
    source = with_settings(Recipe(data=str(data)), settings(flags, set_ or [])).source
    events = verb(run, data, out=out, old=old, source=source, max_loss=max_loss, seed=seed)
    for event in list(watched(events, quiet=quiet)):
        if isinstance(event, RunDone):
            _say(figures(event.report), verdict(event.report))
            print(f"report  {event.path / 'report.md'}\nmodel   {event.path / 'model'}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a run or of a model.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS...", help="Files, and folders of them.")],
    out: Annotated[Path | None, typer.Option(help="Write a table (CSV) here.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, to stdout or --out.")] = False,
    abstain: Abstain = None,
    quiet: Quiet = False,
) -> None:
    """Ask a model about files.

    Without --out or --json: path, label and probability, between tabs.

    \b
    regraft predict runs/ants some.jpg folder/ --out table.csv
    """
    from regraft.doors._answers import write_answers
    from regraft.values import Prediction
    from regraft.workbench.predict import predict as verb

    answers = (one for one in watched(verb(model, inputs, abstain=abstain), quiet=quiet) if isinstance(one, Prediction))
    write_answers(answers, out=out, json_lines=json)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B")],
    metric: Annotated[
        str, typer.Option(help="accuracy, log_loss, mae, r2 …; that of the kind of task.", show_default=False)
    ] = "",
) -> None:
    """Is one run really better than another?

    Paired, on the same examples, by bootstrap, and for accuracy McNemar's exact test.

    \b
    regraft compare runs/ants runs/ants-full
    """
    from regraft.doors._tables import compared
    from regraft.workbench import compare as verb

    print(compared(verb(run_a, run_b, metric=metric or None)))


@app.command()
def backbones(name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False)] = "") -> None:
    """List pretrained networks and their weights.

    Their cuts, the terms of the weights, and when to prefer which.
    """
    from regraft.doors._listings import of_backbones
    from regraft.workbench import backbones as verb

    print(of_backbones(verb(name)))


app.command()(describe)


@app.command()
def strategies(name: Annotated[str, typer.Argument(metavar="[NAME]", show_default=False)] = "") -> None:
    """List ways to train; with NAME, all its options."""
    from regraft.doors._listings import of_strategies
    from regraft.workbench import strategies as verb

    print(of_strategies(verb(name), options=bool(name)))


app.command()(lab)


@app.command()
def cache(
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Delete stored activations and archives that no process uses, and scans' memory."),
    ] = False,
    backbone: Annotated[str, typer.Option(help="With --clear: those of this backbone only.", show_default=False)] = "",
    older_than: Annotated[
        str | None, typer.Option(help="With --clear: not used for so long, such as 30d.", show_default=False)
    ] = None,
) -> None:
    """Look at what is stored for later runs, or clear it.

    All of it can be made or fetched again. Weights and downloads are never cleared here.
    """
    from regraft.doors._listings import of_cache, of_cleared
    from regraft.errors import BadRequest
    from regraft.workbench.cache import clear as clear_cache
    from regraft.workbench.cache import look

    if not clear:
        if backbone or older_than:
            raise BadRequest("--backbone and --older-than say what to clear.", fix="add --clear.")
        print(of_cache(look()))
        return
    days = None if older_than is None else seconds(older_than) / 86_400
    print(of_cleared(clear_cache(backbone=backbone, older_than_days=days)))


def main() -> None:
    """The entry point `regraft`."""
    command: Any = typer.main.get_command(app)
    sys.exit(guarded(lambda: command(prog_name="regraft")))


def _say(table: str, *sentences: str) -> None:
    from textwrap import fill

    from regraft.doors._tables import WIDTH

    parts = [table, *(fill(one, WIDTH, break_long_words=False, break_on_hyphens=False) for one in sentences)]
    print("\n" + "\n\n".join(filter(None, parts)) + "\n")
