"""Bundles: trained models saved as `model.safetensors`, `bundle.json` and a README.

Loading verifies all digests and replays the golden inputs. A bundle contains no executable code.

Letters: n inputs, c outputs, d features, g golden inputs, h and w height and width in pixels, k channels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from regraft.activations.disk import Memo
from regraft.activations.runner import BATCH, Prefixes
from regraft.activations.slots import averaged, masked, stacked
from regraft.activations.stored import ahead
from regraft.backbones.shipped import digests_in, saved_backbone
from regraft.bundle_format import FACTS, TENSORS, bundle_folder, check_tensors, read_facts, read_tensors
from regraft.bundles._model import GOLDEN_SEED, Model, golden_digests, prefixes_of, with_changes, write_bundle
from regraft.contracts.backbone import TAP
from regraft.contracts.example import File
from regraft.contracts.family import Card
from regraft.contracts.modality import MODALITIES, Modality, Placement, Record
from regraft.contracts.task import TASKS
from regraft.data.sources.table import listed
from regraft.errors import BadRequest, BundleError, Undecodable
from regraft.evaluation.ood import OODReference
from regraft.tasks.linear import LinearTask
from regraft.values import Notice, Prediction

__all__ = ["Bundle", "Model", "golden_logits", "load", "prefixes_of", "with_changes", "withheld", "write_bundle"]

AT_ONCE = 16
"""Rows to generate texts for at a time: an hour has many."""
MOST_GOLDEN = 1 << 14
"""Maximum number of stored values of the golden inputs' structured outputs."""
TOLERANCE = 1e-4
"""Maximum difference of the golden logits from the recorded ones, relative to the largest."""


def _name(given: Any, number: int) -> str:
    """Return the name of an input: its path, or its position."""
    if isinstance(given, Mapping):
        given = next((content.path for content in given.values() if isinstance(content, File)), None)
    return str(given) if isinstance(given, str | Path) else str(number)


class Bundle:
    """A loaded model for prediction. Thread-safe."""

    def __init__(self, model: Model, facts: Mapping[str, Any], prefixes: Prefixes, workers: int) -> None:
        """`facts` is the content of `bundle.json`; `workers` is the number of decoding threads."""
        self.model, self.facts = model, facts
        self._prefixes, self._workers = prefixes, workers

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, labels or targets, in output order."""
        return self.model.task.classes

    @property
    def backend_name(self) -> str:
        """Runtime of the network, with version and precision."""
        return self._prefixes.backend_name()

    @property
    def notices(self) -> Sequence[Notice]:
        """Notices about how the network is run; more may be added with the first inputs."""
        return self._prefixes.notices

    @property
    def card(self) -> Card:
        """Card of the network."""
        return self.model.backbone.card

    @cached_property
    def modality(self) -> Modality:
        """Modality of the inputs."""
        return MODALITIES.get(self.card.modality)

    def prepare(self, given: Any) -> Record:
        """Prepare one input, given as anything the modality accepts, or as an example's contents.

        Raises:
            Undecodable: the input cannot be read.
        """
        return self.prepare_pieces(given)[0][0]

    def prepare_pieces(self, given: Any) -> list[tuple[Record, Placement]]:
        """Prepare one input as rows for the network, one per piece, with their placements.

        Raises:
            Undecodable: the input cannot be read.
        """
        contents = given if isinstance(given, Mapping) else self.modality.given(given)
        preparation = self.card.preparation
        count = self.modality.pieces(contents, preparation)
        return [self.modality.load(contents, preparation, None, piece) for piece in range(count)]

    def read(self, prepared: Sequence[Record]) -> dict[str, np.ndarray]:
        """Return the head's inputs for prepared rows, by readout and tap; ragged ones are padded, with a mask."""
        states, lengths = self._prefixes.states(("output",), prepared)
        return {name.removeprefix(TAP): array for name, array in masked(states["output"], lengths).items()}

    def features(self, prepared: Sequence[Record]) -> Float[np.ndarray, "n d"]:
        """Return the head's readout of prepared rows."""
        return self.read(prepared)[self.model.task.reads.readout]

    def of_inputs(self, pieces: Sequence[Sequence[tuple[Record, Placement]]]) -> Float[np.ndarray, "n d"]:
        """Return the readout of inputs prepared by `prepare_pieces`, averaged over the pieces of each."""
        rows = self.features([record for one in pieces for record, _ in one])
        return averaged(rows, np.array([len(one) for one in pieces], dtype=np.int64))

    def logits(self, prepared: Sequence[Record]) -> Float[np.ndarray, "n c"]:
        """Return uncalibrated logits of prepared rows; for heads that are not linear, all outputs flattened per row,
        without those that select."""
        output = self.model.output(self.read(prepared))
        if isinstance(output, Mapping):
            names = sorted(set(output).difference(self.model.task.selects))
            return np.concatenate([output[name].astype(np.float32).ravel() for name in names])[None]
        return output if self.model.task.answers != "structured" else output.reshape(1, -1)

    def raw(self, pieces: Sequence[Sequence[tuple[Record, Placement]]]) -> np.ndarray:
        """Return raw outputs of inputs prepared by `prepare_pieces`, as the argument of the task's `outputs`."""
        task, rows = self.model.task, [row for one in pieces for row in one]
        records = [record for record, _ in rows]
        made = (
            [self.model.generated(stacked(records[at : at + AT_ONCE])) for at in range(0, len(records), AT_ONCE)]
            if task.generates
            else [self.model.output(self.read(records))]
        )
        placements = stacked([placement for _, placement in rows]) if task.moves else {}
        return task.gathered(made, np.repeat(np.arange(len(pieces)), [len(one) for one in pieces]), placements)

    def predict(self, inputs: Any, *, abstain: float | None = None) -> list[Prediction]:
        """Return predictions in the order of the inputs; see `stream`."""
        return list(self.stream(inputs, abstain=abstain))

    def stream(self, inputs: Any, *, abstain: float | None = None, complete: bool = True) -> Iterator[Prediction]:
        """Yield predictions for one input or many, in constant memory.

        Many inputs may be images, a list, an array or a column of paths, a data frame (its column `path`, or its only
        one), or the path of a table.

        With `abstain` in [0, 1], the label is withheld for inputs farther from the training classes than this share of
        the training examples. An input that cannot be read yields a prediction with `error` set. `complete` as in
        `predict_prepared`.

        Raises:
            BadRequest: `abstain` is out of range, or the model has no OOD reference; or there are no inputs.
            UnknownName, BadData: the data frame or table has no column of paths, or its files do not exist.
        """
        self.check_abstain(abstain)
        inputs = listed(inputs, self.modality)
        one = isinstance(inputs, Mapping) or self.modality.is_one(inputs)
        if not one and not isinstance(inputs, Iterable):
            raise BadRequest(
                f"The inputs are a {type(inputs).__name__}; expected one or more {self.modality.many}.",
                fix="pass paths, arrays or a data frame.",
            )
        return self._stream([inputs] if one else inputs, abstain, complete)

    def check_abstain(self, abstain: float | None) -> None:
        """Check the value of `abstain`.

        Raises:
            BadRequest: it is out of range, or the model has no OOD reference.
        """
        if abstain is not None and not 0 <= abstain <= 1:
            raise BadRequest(f"abstain is {abstain}; it must be between 0 and 1.", fix="use 0.99, for example.")
        if abstain is not None and self.model.ood is None:
            raise BadRequest(
                "This model has no out-of-distribution score (it was trained on too few examples).",
                fix="leave out abstain.",
            )

    def _stream(self, inputs: Iterable[Any], abstain: float | None, complete: bool) -> Iterator[Prediction]:
        numbered = enumerate(inputs)
        for batch, prepared in ahead(self._try, numbered, size=BATCH, workers=self._workers):
            good = [pieces for pieces in prepared if not isinstance(pieces, str)]
            rows = iter(self.predict_prepared(good, complete=complete)) if good else iter(())
            for (number, given), pieces in zip(batch, prepared, strict=True):
                name = _name(given, number)
                if isinstance(pieces, str):
                    yield Prediction(id=name, label=None, probabilities={}, error=pieces)
                else:
                    yield replace(withheld(next(rows), abstain), id=name)

    def _try(self, numbered: tuple[int, Any]) -> list[tuple[Record, Placement]] | str:
        try:
            return self.prepare_pieces(numbered[1])
        except Undecodable as error:
            return error.message

    def predict_prepared(
        self, pieces: Sequence[Sequence[tuple[Record, Placement]]], *, complete: bool = True
    ) -> list[Prediction]:
        """Predict inputs prepared by `prepare_pieces`, named by position, without abstaining. `complete=False` leaves
        out what metrics do not need (`Task.completed`).

        Results do not depend on the other inputs, apart from the padding of ragged ones.
        """
        task, reference = self.model.task, self.model.ood
        if task.answers == "structured":
            outputs = task.outputs(self.raw(pieces), self.model.temperature)
            said = task.predictions(outputs)
            records = [None] * len(said) if task.taught else task.recorded(outputs)
            said = [replace(one, record=record) for one, record in zip(said, records, strict=True)]
            return [self._completed(*one) for one in zip(said, pieces, strict=True)] if complete else said
        features = self.of_inputs(pieces)
        said = task.predictions(task.outputs(self.model.logits(features), self.model.temperature))
        if reference is None:
            return said
        return [replace(one, ood_score=float(far)) for one, far in zip(said, reference.score(features), strict=True)]

    def _completed(self, prediction: Prediction, pieces: Sequence[tuple[Record, Placement]]) -> Prediction:
        return self.model.task.completed(
            prediction, [record for record, _ in pieces], lambda record: self.model.generated(stacked([record]))[0]
        )


def withheld(prediction: Prediction, abstain: float | None) -> Prediction:
    """Withhold the label of a prediction if its OOD score is above `abstain`; None withholds nothing."""
    if abstain is None or (prediction.ood_score or 0.0) <= abstain:
        return prediction
    return replace(prediction, label=None, labels=None, abstained=True)


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    backend: str = "auto",
    threads: int | None = None,
    workers: int = 2,
    verify: bool = True,
) -> Bundle:
    """Load the model in the folder `path` (a bundle, or a run).

    With `verify`, check digests and replay the golden inputs; see `Bundle.notices` for messages.

    Raises:
        BundleError: a file is missing, damaged or changed, the format is newer, or this machine predicts differently.
        UnknownName: the network's family or the task is not installed.
    """
    folder = bundle_folder(Path(path).expanduser())
    facts = read_facts(folder)
    own = ("head/", "ood/")
    tensors = read_tensors(folder / TENSORS, beginning="" if verify else own)
    if verify:
        check_tensors(tensors, digests_in(facts, folder), folder / TENSORS)
    model = _model(facts, tensors, folder)
    prefixes = prefixes_of(model.backbone, model.task.reads, device=device, backend=backend, threads=threads)
    bundle = Bundle(model, facts, prefixes, workers)
    if verify:
        _replay(bundle, folder)
    return bundle


def golden_logits(bundle: Bundle, memo: Memo | None = None) -> Float[np.ndarray, "g c"]:
    """Return the logits of the golden inputs, including decoding.

    With `memo` their features are cached under everything they depend on, so that a run whose activations are all
    stored need not load a network.
    """
    if memo is None or bundle.model.task.answers == "structured":
        return _thinned(bundle.logits(_golden_rows(bundle, GOLDEN_SEED)))
    key = [
        "golden features",
        1,
        bundle.model.backbone.digest(),
        bundle.model.task.reads.readout,
        bundle.card.preparation.digest_fields(),
        bundle.modality.reader(),
        bundle.backend_name,
        golden_digests(bundle.card, memo),
    ]
    known: Any = memo.get(key)
    if not isinstance(known, list):
        known = bundle.features(_golden_rows(bundle, GOLDEN_SEED)).tolist()
        memo.put(key, known)
    return bundle.model.logits(np.array(known, dtype=np.float32))


def _thinned(output: Float[np.ndarray, "g k"]) -> Float[np.ndarray, "g p"]:
    """Return an evenly spaced subset of many numbers: a map for every class would make a large file."""
    return output[:, :: -(-output.shape[1] // MOST_GOLDEN)]


def _golden_rows(bundle: Bundle, seed: int) -> list[Record]:
    return [bundle.prepare(one) for one in bundle.modality.golden(seed, bundle.card.preparation)]


def _model(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray], folder: Path) -> Model:
    backbone = saved_backbone(facts, folder)
    try:
        task = TASKS.get(facts["task"]["kind"])(facts["task"]["classes"], facts["task"])
        task = task.for_preparation(backbone.card.preparation)
        head = {name.removeprefix("head/"): one for name, one in tensors.items() if name.startswith("head/")}
        reference = None
        if "ood/means" in tensors:
            reference = OODReference(class_means=tensors["ood/means"], distances=tensors["ood/distances"])
        model = Model(
            backbone=backbone, task=task, head=head, temperature=float(facts["temperature"]), ood=reference
        )  # fmt: skip
        if isinstance(task, LinearTask):
            # Facts that do not fit end it here.
            task.outputs(np.zeros((1, task.num_outputs), dtype=np.float32))
            _check_head(model, task, folder)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder} lacks {error}, so Regraft did not save this model.",
            fix="pass the folder that `regraft fit` wrote.",
        ) from error
    return model


def _check_head(model: Model, task: LinearTask, folder: Path) -> None:
    width = model.backbone.card.width
    if model.weight.shape != (task.num_outputs, width) or model.bias.shape != model.weight.shape[:1]:
        raise BundleError(
            f"The head in {folder / TENSORS} has shape {model.weight.shape}; {FACTS} requires {task.num_outputs} "
            f"outputs on {width} features.",
            fix="copy the whole folder again from its original location.",
        )


def _replay(bundle: Bundle, folder: Path) -> None:
    try:
        golden = bundle.facts["golden"]
        seed, inputs, expected = int(golden["seed"]), golden["inputs"], np.array(golden["logits"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder / FACTS} lacks its golden inputs ({error}).", fix="train the model again."
        ) from error
    if bundle.modality.golden_digests(seed, bundle.card.preparation) != inputs:
        raise BundleError(f"The golden inputs of {folder} cannot be reproduced on this machine.",
                          fix="report this as a bug: the way golden inputs are generated must not change.")  # fmt: skip
    found = bundle.logits(_golden_rows(bundle, seed))
    found = _thinned(found) if bundle.model.task.answers == "structured" else found
    same = found.shape == expected.shape
    off = float(np.abs(found - expected).max()) / (float(np.abs(expected).max()) or 1.0) if same else np.inf
    if not off <= TOLERANCE:
        raise BundleError(
            f"The model in {folder} predicts differently on this machine: the golden logits differ by {off:.1e} of the "
            f"largest (limit {TOLERANCE}); they were computed with {golden.get('backend', 'an unknown backend')}.",
            fix="load it with backend='torch'; if that differs too, the installed libraries are the cause.",
        )
