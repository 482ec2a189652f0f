"""The examples of a study: classes chosen, scanned, divided, and ready to be shown to any network of one input size."""

import os
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from regraft.activations.stored import DeviceStates, FreshStates
from regraft.contracts.task import TASKS
from regraft.data.dataset import Dataset
from regraft.data.scan import Scanned
from regraft.data.splits import draw, whole
from regraft.errors import BadData
from regraft.folds import split
from regraft.identity import derive_seed
from regraft.lab.setting import Examples, Others, Setting
from regraft.recipe import Source, Target
from regraft.values import Event, Notice
from regraft.workbench.session import inputs_of, opening, scanning

CORPUS = Path("data") / "source-images"
"""Where the corpus lies in the folder of shared data."""
MIN_OTHERS = 2
"""Fewer classes than this are not worth a probe."""
PROBE_PER_CLASS = 50
"""Examples of an untrained class that a probe is solved on, at most."""


def corpus() -> Path:
    """The corpus that studies use where no data are named: `source-images` in the folder of shared data.

    That folder is `REGRAFT_SHARED`, else `shared` beside the current folder.

    Raises:
        BadData: it is not there.
    """
    shared = Path(os.environ.get("REGRAFT_SHARED", Path("..") / "shared"))
    if not (shared / CORPUS).is_dir():
        raise BadData(
            f"No data are named, and the corpus of the published studies is not at {shared / CORPUS}.",
            fix="name a folder of your own images, one folder for every class: --data FOLDER; or set REGRAFT_SHARED.",
        )
    return shared / CORPUS


_Divided = tuple[Int[np.ndarray, "p"], Int[np.ndarray, "t"], Int[np.ndarray, "n"]]
"""Positions that are learned from, positions that are tested, and the group of every example."""


def open_examples(
    data: Path | None, setting: Setting, *, threads: int, allow_leaks: bool = False, views_on: str = ""
) -> Generator[Event, None, Examples]:
    """Open, choose classes, scan, divide; yields events, returns the examples.

    `views_on` is a device on which the images that arms learn from are held and their views made; without one, views
    are made of one image at a time as they are asked for.

    Classes are drawn once for all seeds. Splits that data come with are kept; the corpus is split again, for its own
    validation split has fifteen examples of a class.

    Raises:
        RegraftError: whatever is wrong with the data.
    """
    dataset = yield from opening(data or corpus(), Source(), task="classification", target=Target())
    if data is not None:
        yield from dataset.notes
    else:  # what there is to say of the corpus stands in its own description
        undivided = tuple(replace(example, split=None) for example in dataset.examples)
        dataset = replace(dataset, examples=undivided)
    trained, others = _classes(dataset, setting)
    chosen = [at for at, example in enumerate(dataset.examples) if example.label in {*trained, *others}]
    dataset = replace(dataset.select(chosen), classes=tuple(sorted((*trained, *others))))
    scanned = yield from scanning(dataset, Source(), workers=threads)
    dataset = scanned.dataset
    share = setting.test_per_class / (setting.test_per_class + setting.sizes[0])
    divided = yield from _divided(dataset, scanned, share, allow_leaks)
    reads, contents = dataset.reads, [example.contents for example in dataset.examples]
    preparation = reads.Preparation(input_px=(setting.input_px, setting.input_px), resize_px=setting.input_px)
    augmentation = reads.augmentation("default", {})
    inputs = inputs_of(
        reads, contents, scanned.content, preparation, reader=scanned.reader, augmentation=augmentation, workers=threads
    )
    plain = FreshStates(inputs.load, None, threads)
    found = _examples(dataset, divided, trained, others, setting, plain)
    found = replace(found, facts={**found.facts, "given": data is not None, "views_on": views_on})
    if not views_on:
        return found
    drawn = np.unique(np.concatenate([found.drawn(found.sizes[0], seed) for seed in range(setting.seeds)]))
    views = yield from reads.on_device(
        contents, scanned.content, preparation, augmentation,
        examples=drawn.tolist(), seed=0, device=views_on, workers=threads,
    )  # fmt: skip
    return replace(found, states=DeviceStates(plain, views))


def _classes(dataset: Dataset, setting: Setting) -> tuple[list[str], list[str]]:
    """The classes that are trained on and the others: drawn from those with examples enough, or else the largest."""
    counts = Counter(example.label for example in dataset.examples)
    enough = (setting.sizes[0] + setting.test_per_class) * 0.95
    names = sorted(counts, key=lambda name: (counts[name] < enough, -counts[name] * (counts[name] < enough), name))
    num_enough = sum(counts[name] >= enough for name in names)
    order = np.random.default_rng(derive_seed(0, "lab", "classes")).permutation(num_enough).tolist()
    ordered = [*(names[at] for at in order), *names[num_enough:]]
    num_others = min(setting.num_others, len(ordered) // 3)
    num_trained = min(setting.num_classes, len(ordered) - num_others)
    others = ordered[num_trained : num_trained + num_others]
    return sorted(ordered[:num_trained]), sorted(others) if len(others) >= MIN_OTHERS else []


def _divided(
    dataset: Dataset, scanned: Scanned, test_share: float, allow_leaks: bool
) -> Generator[Event, None, _Divided]:
    if len(dataset.splits) > 1 and "train" in dataset.splits:
        splits = draw(dataset, scanned, seed=0, allow_leaks=allow_leaks)
        yield from splits.notes
        return np.sort(np.concatenate([splits.train, splits.val])), splits.test, splits.groups
    splits = whole(dataset, scanned, seed=0, val_share=0.0)
    usable = np.sort(np.concatenate([splits.train, splits.val]))
    held = split(dataset.targets[usable], splits.groups[usable], test_share, derive_seed(0, "lab", "test"))
    yield Notice(
        text="The data come without splits: the studies' own test split is drawn, the same for all.", topic="split"
    )
    return usable[~held], usable[held], splits.groups


def _examples(
    dataset: Dataset, divided: _Divided, trained: list[str], others: list[str], setting: Setting, states: FreshStates
) -> Examples:
    labels = np.array([example.label for example in dataset.examples])
    learned, tried, groups = divided

    def of(names: list[str], positions: np.ndarray, most: int) -> np.ndarray:
        order = np.random.default_rng(derive_seed(0, "lab", "part")).permutation(positions)
        return np.sort(np.concatenate([order[labels[order] == name][:most] for name in names]))

    task = TASKS.get("classification")(tuple(trained), {})
    pool, test = of(trained, learned, len(labels)), of(trained, tried, setting.test_per_class)
    largest = max(int((labels[pool] == name).sum()) for name in trained)
    sizes = tuple(sorted({min(size, largest) for size in setting.sizes}, reverse=True))
    beside = None
    if others:
        beside = Others(
            task=TASKS.get("classification")(tuple(others), {}),
            targets=_targets(labels, others),
            train=of(others, learned, PROBE_PER_CLASS),
            test=of(others, tried, setting.test_per_class),
        )
    given = dataset.groups
    return Examples(
        states=states,
        task=task,
        targets=_targets(labels, trained),
        groups=groups,
        pool=pool,
        test=test,
        units=None if given is None else given[test],
        others=beside,
        sizes=sizes,
        facts={
            "name": dataset.root.name,
            "classes": trained,
            "other_classes": others,
            "pool": len(pool),
            "test": len(test),
            "probe_train": len(beside.train) if beside else 0,
            "probe_test": len(beside.test) if beside else 0,
            "fingerprint": dataset.fingerprint,
        },
    )


def _targets(labels: np.ndarray, names: list[str]) -> Int[np.ndarray, "n"]:
    number = {name: code for code, name in enumerate(names)}
    return np.array([number.get(label, 0) for label in labels.tolist()], dtype=np.int64)
