"""Export: write a trained model for other runtimes, after comparing the export with the model.

The comparison tests the exported files themselves: the folder's own `predict.py` reads and prepares files of the
validation split, and runs the exported network on them.

Letters: n examples, c outputs of the head, k classes or values.
"""

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from regraft.activations.openvino import processor
from regraft.activations.runner import BATCH
from regraft.activations.slots import stacked
from regraft.bundle_format import bundle_folder
from regraft.bundles.bundle import Bundle, load
from regraft.bundles.exporting import continuous, fed, head_outputs, size_of, write_export
from regraft.bundles.graph import inputs_of
from regraft.contracts.example import Example, File
from regraft.contracts.export import EXPORTS, ExportFormat
from regraft.contracts.metric import main_metric, metric
from regraft.contracts.modality import Record
from regraft.errors import BadRequest, ExportDiffers, RunError
from regraft.evaluation.differences import PairedDifference, compare
from regraft.files import atomic_folder, write_json, write_text
from regraft.identity import derive_seed
from regraft.records import to_json
from regraft.values import Event, Notice, Progress
from regraft.words import counted, joined, size
from regraft.workbench._machine import num_threads
from regraft.workbench._training import open_data
from regraft.workbench.recipes import recipe_for
from regraft.workbench.session import Session

MAX_COMPARED = 1000
"""Maximum number of examples to compare. Our choice."""
CALIBRATION = 128
"""Maximum number of training examples for calibrating activation ranges. Our choice."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Exported(Event):
    """The last event of `export`: location, and comparison with the model."""

    path: Path
    """Folder of the export."""
    to: str
    """Name of the format."""
    bytes: int
    """Size of the network's files in bytes."""
    golden: int
    """Number of golden inputs compared."""
    golden_difference: float
    """Maximum difference of their logits from the model's, relative to the largest."""
    examples: int = 0
    """Number of examples of the data compared, read from their files."""
    split: str = ""
    """Description of these: `45 validation examples`."""
    difference: float | None = None
    """Maximum difference of their logits, relative to the largest; None if none were compared."""
    same_labels: int | None = None
    """Number of them with the same label as from the model; None if labels are numeric, or none were compared."""
    paired: PairedDifference | None = None
    """Difference of the main metric, model minus export, for formats that round."""
    max_loss: float | None = None
    """Maximum permitted loss of that metric."""
    processor: str = ""
    """Processor of the comparison."""
    notes: Sequence[str] = field(default=())
    """Caveats of the comparison."""

    def told(self) -> str:
        """Summarise the comparison in a few sentences."""
        golden = f"The golden inputs ({self.golden}) differ from the model's by at most {self.golden_difference:.1e} "
        said = [golden + "of the largest logit."]
        if self.examples:
            same = "" if self.same_labels is None else f"same top label on {self.same_labels:,} of {self.examples:,}, "
            said.append(f"On {self.split}, read from their files: {same}largest difference {self.difference:.1e}.")
        if self.paired is not None:
            said.append(f"{metric(self.paired.metric).title} {self.paired.a:.4g} before, {self.paired.b:.4g} after.")
            if self.paired.only_a_right is not None:
                lost, won = self.paired.only_a_right, self.paired.only_b_right
                said.append(f"Right before and wrong after: {lost}; the reverse: {won}.")
        return " ".join([*said, *self.notes])


def export(
    model: Path, to: str, *, out: Path | None = None, data: Path | None = None, max_loss: float = 0.02, threads: int = 0
) -> Iterator[Event]:
    """Export the model in `model` (a run or its model) to the format `to`; yields events, the last one an `Exported`.

    Writes to the folder `out`, or by default to `exports/TO` in the model's folder. `data` is the current location of
    the run's data. For formats that round, the main metric may drop by at most `max_loss` on the validation split
    (relative, for errors in the unit of the target).

    Raises:
        ExportDiffers: the export predicts differently from the model; nothing is written.
        BadRequest: the model does not support this format, or the format needs data that are not available.
        MissingExtra: the format needs a package that is not installed.
        RunError: `out` is not empty.
    """
    made, cores = EXPORTS.get(to), num_threads(threads)
    out = out or model / "exports" / to
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(
            f"{out} already exists.", fix="choose another --out, or delete it; existing files are not overwritten."
        )
    if not max_loss >= 0:
        raise BadRequest(f"max_loss is {max_loss}.", fix="use a value of 0 or more, such as 0.02.")
    bundle = load(model, threads=cores, workers=cores)
    yield from bundle.notices
    session, why = yield from data_of(model, data, cores)
    if session is None and made.rounds:
        raise BadRequest(
            f"{to} reduces the precision, but the effect on accuracy cannot be measured: {why}.",
            fix="give the location of the run's data with --data, or export --to onnx.",
        )
    if session is None:
        yield Notice(text=f"Only the golden inputs are compared: {why}.", topic="data")
    with atomic_folder(out) as folder:
        calibrate, positions, split = _chosen(session, calibrates=made.calibrates)
        contents = [session.dataset.examples[at].contents for at in calibrate] if session is not None else []
        examples = [fed(bundle, one, bundle.prepare_pieces(one)) for one in contents]
        ready = write_export(bundle, made, folder, examples, cores)
        facts = {"path": out, "to": to, "bytes": size_of(folder, made.file), "processor": processor()[0]}
        done = _golden(bundle, made, ready, facts)
        if session is not None:
            done = yield from _on_data(bundle, made, ready, session, positions, split, max_loss, done)
        ready.spec["compared"] = {name: value for name, value in to_json(done).items() if name != "path"}
        write_json(folder / "spec.json", ready.spec)
        write_text(folder / "README.md", _page(bundle, made, done))
    yield done


def data_of(model: Path, data: Path | None, cores: int) -> Generator[Event, None, tuple[Session | None, str]]:
    """Open the data of the run that made the model, with the same splits; or return None, and why they are not
    available."""
    recipe_file = bundle_folder(model).resolve().parent / "recipe.toml"
    if not recipe_file.is_file():
        return None, f"{model} is a model without its run folder, so the data are unknown"
    recipe = recipe_for(recipe_file, {} if data is None else {"data": str(data)})
    if not Path(recipe.data).expanduser().exists():
        return None, f"the run's data are not at {recipe.data}"
    session = yield from open_data(recipe, workers=cores)
    if recipe.seen.data not in ("", session.dataset.fingerprint):
        return None, f"the data at {recipe.data} have changed since the run"
    return session, ""


def _chosen(session: Session | None, *, calibrates: bool) -> tuple[list[int], list[int], str]:
    """Return positions to calibrate with and to compare on, and a description of the latter.

    Test examples are not used, since nothing may be decided by them. Without a validation split, training examples that
    are not used for calibration are compared.
    """
    if session is None:
        return [], [], ""
    random = np.random.default_rng(derive_seed(session.recipe.seed, "export"))
    train, val = random.permutation(session.splits.train), session.splits.val
    calibrate = train[: min(CALIBRATION, len(train) if len(val) else len(train) // 2)] if calibrates else train[:0]
    every, kind = (val, "validation") if len(val) else (train[len(calibrate) :], "training")
    taken = np.sort(random.permutation(every)[:MAX_COMPARED])
    of = f" of {len(every):,}" if len(taken) < len(every) else ""
    split = f"{len(taken):,}{of} {kind} examples" + ("" if len(val) else " (the run has no validation split)")
    return calibrate.tolist(), taken.tolist(), split


def _golden(bundle: Bundle, made: ExportFormat, ready: Any, facts: dict[str, Any]) -> Exported:
    """Compare on golden inputs. Raises `ExportDiffers` if the difference is too large, or inputs are read
    differently."""
    golden, differences = bundle.modality.golden(0, bundle.card.preparation), list[float]()
    try:
        ready.check()
    except SystemExit as error:
        raise _differs(str(error)) from error
    for contents in golden:
        pieces = bundle.prepare_pieces(contents)
        found, wanted = ready.outputs([fed(bundle, contents, pieces)]), head_outputs(bundle, [pieces[0][0]])
        differences.append(_differences(made, found, continuous(bundle, wanted), "the golden inputs"))
    return Exported(golden=len(golden), golden_difference=max(differences), **facts)


def _on_data(
    bundle: Bundle, made: ExportFormat, ready: Any, session: Session, positions: list[int], split: str,
    max_loss: float, so_far: Exported,
) -> Generator[Event, None, Exported]:  # fmt: skip
    """Compare on examples of the data as well. Raises `ExportDiffers` if they are predicted differently."""
    task, of_model, of_export, notes = bundle.model.task, list[np.ndarray](), list[np.ndarray](), list[str]()
    unread, difference, labels = list[str](), 0.0, list[str]()
    for first in range(0, len(positions), BATCH):
        examples = [session.dataset.examples[at] for at in positions[first : first + BATCH]]
        rows = [bundle.prepare_pieces(one.contents) for one in examples]
        fitting = [fed(bundle, one.contents, pieces) for one, pieces in zip(examples, rows, strict=True)]
        records = [_read(ready, bundle, *one, unread) for one in zip(examples, fitting, strict=True)]
        found, heads = ready.outputs(records), head_outputs(bundle, [pieces[0][0] for pieces in rows])
        difference = max(difference, _differences(made, found, continuous(bundle, heads), split))
        placed = stacked([pieces[0][1] for pieces in rows])
        for one, outputs in ((heads, of_model), (found, of_export)):
            raw = task.gathered([one.get("logits", one)], np.arange(len(rows)), placed)
            outputs.append(task.outputs(raw, bundle.model.temperature))
        if "outputs" in found:  # what the graph itself makes of its logits is what is handed over
            of_export[-1] = found["outputs"].astype(np.float64)
            _differences(made, found, {"outputs": of_model[-1]}, f"the outputs of {split}")
        told = [ready.said(found, at) for at in range(len(rows))]
        labels += [one.get("label", joined(one.get("labels", ()))) for one in told]
        yield Progress(phase="comparing", done=first + len(examples), total=len(positions))
    if unread:
        notes.append(f"`predict.py` cannot read {counted(len(unread), 'file')} of them ({unread[0]}).")
    wanted, said = np.concatenate(of_model), np.concatenate(of_export)
    decoded = task.decode(wanted)
    same = None
    if task.answers != "values" and any(decoded):
        same = sum(one == other for one, other in zip(decoded, labels, strict=True))
    done = replace(so_far, examples=len(positions), split=split, difference=difference, same_labels=same, notes=notes)
    if not made.rounds:
        return done
    paired = _paired(bundle, session, positions, wanted, said)
    done = replace(done, paired=paired, max_loss=max_loss)
    if not (fell := _fell(paired)) <= max_loss:
        raise _differs(f"{done.told()} That is a loss of {fell:.4g}; at most {max_loss} is allowed (--max-loss)")
    return done


def _read(ready: Any, bundle: Bundle, example: Example, record: Record, unread: list[str]) -> Record:
    """Read an example with `predict.py` from its file, or from one written with the content of its table cells.

    Raises:
        ExportDiffers: the result differs from the model's own prepared input.
    """
    with tempfile.TemporaryDirectory() as folder:
        if len(example.contents) == 1 and isinstance(example.content, File):
            path = example.path
        else:
            ending, data = bundle.modality.filed(example.contents, bundle.card.preparation)
            path = Path(folder) / f"input{ending}"
            path.write_bytes(data)
        try:
            (given,) = ready.inputs(path)
            found: Record = ready.prepare(given)
        except (OSError, ValueError, SyntaxError, RuntimeError) as error:  # a kind of file that only regraft reads
            unread.append(f"{example.id}: {error}")
            return record
    same = (np.array_equal(found[name], one, equal_nan=one.dtype.kind == "f") for name, one in record.items())
    if not all(same):
        raise _differs(f"{example.id} is read or resized differently outside regraft")
    return found


def _differences(
    made: ExportFormat, found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], where: str
) -> float:
    """Return the maximum difference, relative to the largest value of that output. Raises `ExportDiffers` if it is too
    large, or not finite."""
    offs = []
    for name, array in wanted.items():
        scale = float(np.abs(array).max(initial=0.0)) or 1.0
        offs.append(float(np.abs(found[name].astype(np.float64) - array).max(initial=0.0)) / scale)
    off = max(offs)
    if not off <= (np.finfo(np.float64).max if made.rounds else made.tolerance):
        raise _differs(f"on {where} it differs by {off:.1e} of the largest value (limit {made.tolerance:.0e})")
    return off


def _paired(
    bundle: Bundle, session: Session, positions: list[int], wanted: Shaped[np.ndarray, "n ..."],
    said: Shaped[np.ndarray, "n ..."],
) -> PairedDifference:  # fmt: skip
    task = bundle.model.task
    targets = task.encode([session.dataset.examples[at].label for at in positions])
    return compare(
        targets, wanted, said, groups=session.user_groups(np.array(positions)), metric=main_metric(task.kind).name,
        names=("the model", "the export"), outputs=task.classes,
    )  # fmt: skip


def _fell(paired: PairedDifference) -> float:
    """Return how much worse the export is; relative, for errors in the unit of the target."""
    chosen = metric(paired.metric)
    fell = paired.a - paired.b if chosen.higher_is_better else paired.b - paired.a
    return fell / paired.a if chosen.in_unit_of_target and paired.a else fell


def _differs(what: str) -> ExportDiffers:
    return ExportDiffers(
        f"The export was not written: {what.rstrip('.')}.",
        fix="export --to onnx, which keeps full precision; if that was refused, report a bug.",
    )


def _page(bundle: Bundle, made: ExportFormat, done: Exported) -> str:
    """Return the README of the export's folder."""
    words, needs = bundle.model.task.words(), [*made.engine_packages, "numpy", *bundle.modality.standalone_packages]
    return f"""# {made.title}

{words.purpose}: one input gives {words.given}. Exported from a model trained with regraft; {made.file} and its files
take {size(done.bytes)}.

    pip install {" ".join(needs)}
    python predict.py --check
    python predict.py FILE...

{done.told()} Compared on {done.processor}. The export does not include the out-of-distribution score.

Inputs are {", ".join(inputs_of(bundle))}, as returned by `prepare` in `predict.py`; the rest is inside the graph.
Names, temperature, preparation and golden inputs: `spec.json`.
"""
