"""Explain: attribution maps of predictions, and the training examples nearest to an input in the model's feature space.

Letters: n training examples, d features.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from regraft.bundles.bundle import Bundle, load
from regraft.contracts.example import Example, File
from regraft.contracts.page import Block, Table
from regraft.errors import BadData, BadRequest, RunError, nearest
from regraft.files import atomic_folder
from regraft.reports.page import write_page
from regraft.reports.panels import panels
from regraft.values import Event, Notice, Prediction, Progress
from regraft.workbench._machine import num_threads
from regraft.workbench.export import data_of
from regraft.workbench.features import Extracted, features
from regraft.workbench.predict import files_of

MAX_TRAINING = 5000
"""Maximum number of training examples to search. Our choice."""
LIMITS = (
    "A map shows which regions affect the prediction, not whether for a good reason; two methods that disagree are "
    "a warning. Nearest means the highest cosine similarity of the features that the head reads."
)


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A training example near an input."""

    id: str
    """Its id in the data."""
    label: str
    """Its label."""
    similarity: float
    """Cosine similarity of the feature vectors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Explanation of one input."""

    prediction: Prediction
    """The model's prediction."""
    explained: str
    """The class, label or value that the maps explain."""
    methods: Sequence[str]
    """Names of the attribution methods."""
    nearest: Sequence[Neighbour]
    """The nearest training examples, nearest first; empty if they are not available."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained(Event):
    """The last event of `explain`."""

    path: Path
    """Folder of the report."""
    explanations: Sequence[Explanation]
    """One for each readable input."""


def explain(
    model: Path,
    inputs: Sequence[Path],
    *,
    out: Path,
    label: str = "",
    neighbours: int = 5,
    data: Path | None = None,
    threads: int = 0,
) -> Iterator[Event]:
    """Explain the predictions of the model in `model` for files; yields events, the last one an `Explained`.

    Writes explained.html and explained.md with attribution maps of each input, and explained.json, to the folder `out`.
    The maps explain the predicted class, or `label`. `data` is the current location of the run's data.

    Raises:
        MissingExtra: captum is not installed.
        UnknownName, BadRequest: the model has no such label, or its task has no logits.
        BadData: there are no inputs.
        RunError: `out` is not empty.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise RunError(
            f"{out} already exists.", fix="choose another --out, or delete it; existing files are not overwritten."
        )
    from regraft.bundles.attribution import attributions, captum_library

    captum_library()
    cores = num_threads(threads)
    bundle = load(model, threads=cores, workers=cores)
    yield from bundle.notices
    if (task := bundle.model.task).answers == "structured":
        raise BadRequest(f"A {task.kind} model has no outputs per class or target to map.",
                         fix="use a classification, multilabel, ordinal or regression model.")  # fmt: skip
    if label and label not in bundle.classes:
        raise BadRequest(f"The model has no class or target {label!r}.", fix=nearest(label, list(bundle.classes)))
    paths = list[Path]()
    for given in inputs:
        more, notes = files_of(given, bundle.modality.name)
        paths += more
        yield from notes
    examples, known = yield from _training(bundle, model, data, neighbours, cores)
    found, plots, blocks = list[Explanation](), dict[str, str](), list[Block]()
    with atomic_folder(out) as folder:
        for at, path in enumerate(paths):
            (said,) = bundle.predict(path)
            if said.error is not None:
                yield Notice(text=said.error, topic="data")
                continue
            (record, _), *others = bundle.prepare_pieces(path)
            if others:
                yield Notice(text=f"{path} has {len(others) + 1} pieces; the first is explained.", topic="data")
            name = label or _leading(said)
            maps = attributions(bundle, record, bundle.classes.index(name))
            near = _nearest(bundle.features([record])[0], known, neighbours)
            close = [Neighbour(id=examples[row].id, label=examples[row].label, similarity=much) for row, much in near]
            one = Explanation(prediction=said, explained=name, methods=tuple(maps), nearest=tuple(close))
            show = [("input", bundle.modality.preview(next(iter(bundle.modality.given(path).values()))))]
            show += [(method, bundle.modality.explained(record, weights)) for method, weights in maps.items()]
            show += [
                (f"near: {examples[row].label}", bundle.modality.preview(examples[row].content)) for row, _ in near
            ]
            if not any(drawn for caption, drawn in show if caption in maps):
                yield Notice(text=f"Maps for {bundle.modality.many} are not supported yet.", topic="explain")
            images = [(caption, drawn) for caption, drawn in show if isinstance(drawn, bytes)]
            if images:
                plots[f"input-{at}"] = panels(images)
            texts = [f"{caption}: {drawn}" for caption, drawn in show if drawn and isinstance(drawn, str)]
            found.append(one)
            blocks.append(_block(one, texts, (f"input-{at}",)))
            yield Progress(phase="explaining", done=at + 1, total=len(paths))
        if not found:
            raise BadData("None of the inputs could be read.", fix=f"pass {bundle.modality.many} that can be read.")
        title = f"Explanation of {model.resolve().name}"
        write_page(folder, found, title, [LIMITS], blocks, plots, stem="explained")
    yield Explained(path=out, explanations=tuple(found))


def _leading(said: Prediction) -> str:
    """Return the class or label to explain by default: the most probable; of several values the first."""
    numbers = said.probabilities
    return max(numbers, key=lambda name: numbers[name]) if numbers else next(iter(said.values))


def _training(
    bundle: Bundle, model: Path, data: Path | None, neighbours: int, cores: int
) -> Generator[Event, None, tuple[Sequence[Example], Float[np.ndarray, "n d"]]]:
    """Return the training examples with their features, from the store or computed and stored.

    None if they are not available or not wanted, with a notice.
    """
    nobody = np.zeros((0, bundle.card.width), dtype=np.float32)
    if not neighbours:
        return (), nobody
    session, why = yield from data_of(model, data, cores)
    if session is None:
        yield Notice(text=f"The nearest training examples cannot be shown: {why}.", topic="data")
        return (), nobody
    train = session.learnable[:: -(-len(session.learnable) // MAX_TRAINING)].tolist()
    if len(train) < len(session.learnable):
        yield Notice(
            text=f"Only {len(train):,} of {len(session.learnable):,} training examples are searched for the nearest.",
            topic="data",
        )
    examples = [session.dataset.examples[at] for at in train]
    given = [one.content.path if isinstance(one.content, File) else one.content.value for one in examples]
    for event in features(given, bundle.model.backbone, device="cpu", threads=cores):
        if isinstance(event, Extracted):
            return examples, event.array
        yield event
    raise AssertionError("an extraction ends with the features")


def _nearest(one: Float[np.ndarray, " d"], known: Float[np.ndarray, "n d"], count: int) -> list[tuple[int, float]]:
    """Return positions and similarities of the nearest examples."""
    lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(one)
    similarity = known @ one / np.where(lengths > 0, lengths, 1.0)
    rows = np.argsort(-similarity, kind="stable")[:count]
    return [(int(row), float(similarity[row])) for row in rows]


def _block(one: Explanation, texts: Sequence[str], plots: Sequence[str]) -> Block:
    """Return the report section of one input."""
    said = one.prediction
    stated = said.probabilities.get(one.explained)
    first = f"Predicted: {said.label or '(no label)'}. The maps explain {one.explained}"
    first += "." if stated is None else f", which has a probability of {stated:.3f}."
    table = Table(
        ("nearest training examples", "label", "similarity"),
        [(near.id, near.label, f"{near.similarity:.3f}") for near in one.nearest],
        left=2,
    )
    return Block(said.id, (first, *texts, table if one.nearest else None), plots)
