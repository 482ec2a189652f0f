"""Pretrain a shipped network anew: from the weights that ship today, taught by EfficientNet-Lite.

    nice -n 19 .venv/bin/python pretraining/distill.py googlenet runs/distill [--threads 2] [--images 1500000]

What `regraft fit --strategy distill` does, made to measure for a corpus of 68 thousand images on a machine that may end
at any time: a checkpoint every few minutes within an epoch, and every quarter of an hour the moving average of the
weights as files that `regraft` opens (`FOLDER/NAME/export/NAME.safetensors`). The same command goes on where the last
one was ended; SIGTERM and Ctrl-C write a checkpoint first. Networks share the corpus and the teacher's features, which
lie beside them in FOLDER: each example is seen in VIEWS crops, and the teacher looks once at each of them.
"""

import argparse
import io
import json
import math
import platform
import signal
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from ship import CORPUS, EXPORT, rounded, thinned
from torch import Tensor, nn
from torch.nn import functional

from regraft.activations.disk import Memo
from regraft.activations.runner import Prefixes
from regraft.backbones.backbone import Backbone
from regraft.backbones.opening import open_backbone
from regraft.bundle_format import write_tensors
from regraft.contracts.modality import MODALITIES
from regraft.files import write_json
from regraft.strategies._steps import has_bfloat16
from regraft.values import drained

VIEWS = 4
"""Crops of each example; an epoch sees one of them, two epochs the same: at first the teacher is the slower one."""
TEACHER, TEACHER_PX = "efficientnet_lite2@package", 192
SEED = 0
MEASURED = 2048
"""Examples whose features give means and standard deviations."""
CHECKPOINT_S, EXPORT_S = 240.0, 900.0
"""Wall seconds between two checkpoints, and two exports."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one network is trained."""

    sides: tuple[int, ...]
    """Sides of its inputs in pixels; every step draws one of them, so that features serve images of other scales."""
    lr: float
    """Peak of AdamW's learning rate."""
    bf16: bool
    """Whether passes run in bfloat16 where the processor has instructions for it (emulated, they take ten times as
    long): wide convolutions gain time by it, depthwise ones lose it."""
    weight_decay: float = 0.05
    batch: int = 128
    ema: float = 0.999
    """Share that the average keeps at each step."""
    features: float = 10.0
    """Weight of the mean squared error from the teacher's standardised features (Romero et al. 2015)."""
    classes: float = 1.0
    """Weight of the divergence between the classes that the teacher's own classifier sees in its features and in ours
    (Hinton et al. 2015; the reused classifier is that of Chen et al. 2022, arXiv:2203.14001)."""
    labels: float = 0.0
    """Weight of the labels' loss on the features; the head that is kept learns in any case."""


RECIPES = {
    "googlenet": Recipe(sides=(64, 96, 128), lr=5e-4, bf16=True),
    "mobilenet_v3_small": Recipe(sides=(64, 96, 128), lr=1e-3, bf16=False),
}
LOG = "log.jsonl"
WARMUP, COOL = 0.02, 0.3
"""Shares of all images over which the learning rate rises at first, and falls to zero at last."""


class Corpus:
    """The corpus, decoded once into one file."""

    def __init__(self, archives: Path, folder: Path) -> None:
        if not (folder / "index.npz").is_file():
            _pack(archives, folder)
        with np.load(folder / "index.npz") as index:
            self.offset, self.h, self.w = index["offset"], index["h"], index["w"]
            self.labels, val = index["label"], index["val"]
        self.train, self.val = np.flatnonzero(~val), np.flatnonzero(val)
        self.pixels = np.memmap(folder / "pixels.u8", np.uint8, "r")

    def crop(self, example: int, view: int) -> tuple[Image.Image, tuple[float, float, float, float]]:
        """The image, and the part of it that the view shows: a random resized crop."""
        h, w, start = int(self.h[example]), int(self.w[example]), int(self.offset[example])
        image = Image.fromarray(np.asarray(self.pixels[start : start + h * w * 3]).reshape(h, w, 3))
        random = np.random.default_rng([SEED, example, view])
        for _ in range(10):
            area, ratio = h * w * random.uniform(0.35, 1.0), math.exp(random.uniform(-1, 1) * math.log(4 / 3))
            crop_w, crop_h = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if crop_w <= w and crop_h <= h:
                left, top = random.uniform(0, w - crop_w), random.uniform(0, h - crop_h)
                return image, (left, top, left + crop_w, top + crop_h)
        side = min(h, w)
        return image, ((w - side) / 2, (h - side) / 2, (w + side) / 2, (h + side) / 2)

    def seen(self, examples: np.ndarray, view: int, side: int, filter_: Image.Resampling) -> np.ndarray:
        """These examples in this view, resized: pixels (n side side 3)."""
        made = []
        for example in examples.tolist():
            image, box = self.crop(example, view)
            made.append(np.asarray(image.resize((side, side), filter_, box=box)))
        return np.stack(made)


class Teacher:
    """The teacher's features of every example and view, computed when they are first asked for, then kept."""

    def __init__(self, corpus: Corpus, folder: Path, threads: int) -> None:
        backbone = opened(TEACHER, TEACHER_PX)
        shapes = MODALITIES.get("image").shapes(backbone.card.preparation)
        self._prefixes = Prefixes(backbone, shapes, view="pooled", memo=Memo(folder / "exported"), threads=threads)
        self.side, card, last = TEACHER_PX, backbone.card, backbone.tensors()
        self.facts = {"name": card.name, "trained_on": card.trained_on, "licence": card.licence}
        self.classifier = torch.from_numpy(last["source/weight"]), torch.from_numpy(last["source/bias"])
        self.corpus, shape = corpus, (VIEWS, len(corpus.labels))
        folder.mkdir(parents=True, exist_ok=True)
        self._known = _kept(folder / "known.npy", np.bool_, shape)
        self._features = _kept(folder / "features.npy", np.float16, (*shape, backbone.card.width))

    def features(self, examples: np.ndarray, view: int) -> np.ndarray:
        """Its pooled features (n d)."""
        missing = examples[~self._known[view, examples]]
        for some in np.array_split(missing, -(-len(missing) // 32)) if len(missing) else []:
            pixels = self.corpus.seen(some, view, TEACHER_PX, Image.Resampling.BICUBIC)
            states, _ = self._prefixes.states(("output",), [{"pixels": one} for one in pixels])
            self._features[view, some] = states["output"]["pooled"]
            self._known[view, some] = True  # after the features: a row that is known is whole
        found: np.ndarray = self._features[view, examples].astype(np.float32)
        return found


class Student(nn.Module):
    """The network, its head, and the projector that is thrown away."""

    mean: Tensor
    std: Tensor
    last_weight: Tensor
    last_bias: Tensor

    def __init__(
        self, backbone: Backbone, mean: np.ndarray, std: np.ndarray, classifier: tuple[Tensor, Tensor]
    ) -> None:
        super().__init__()
        self.network = backbone.fresh_network()
        assert self.network.source_head is not None
        self.start, self.stages = self.network.start, nn.ModuleList(self.network.stages.values())
        self.head, self.projector = self.network.source_head, nn.Linear(backbone.card.width, len(mean))
        self.requires_grad_(True)
        nn.init.zeros_(self.projector.bias)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("std", torch.from_numpy(std))
        self.register_buffer("last_weight", classifier[0])
        self.register_buffer("last_bias", classifier[1])

    def losses(self, pixels: Tensor, taught: Tensor, labels: Tensor, recipe: Recipe) -> dict[str, Tensor]:
        """What is minimised, by name; weighted."""
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16 and has_bfloat16(torch.device("cpu"))):
            state = self.start({"pixels": pixels})
            state["hidden"] = state["hidden"].contiguous(memory_format=torch.channels_last)
            for stage in self.stages:
                state = stage(state)
            features = self.network.readouts(state)["pooled"]
        features = features.float()
        wanted = (taught - self.mean) / self.std
        made = self.projector(features)
        found = {"features": recipe.features * functional.mse_loss(made, wanted)}
        if recipe.classes:
            own = functional.linear(made * self.std + self.mean, self.last_weight, self.last_bias)
            true = functional.linear(taught, self.last_weight, self.last_bias)
            found["classes"] = recipe.classes * functional.kl_div(
                own.log_softmax(1), true.log_softmax(1), reduction="batchmean", log_target=True
            )
        if recipe.labels:
            found["labels"] = recipe.labels * functional.cross_entropy(self.head(features), labels)
        else:
            found["labels"] = functional.cross_entropy(self.head(features.detach()), labels)
        return found


def main() -> None:
    """Train until the images are seen or somebody ends it."""
    asked = _asked()
    torch.set_num_threads(asked.threads)
    recipe = RECIPES[asked.name]
    if asked.set:
        recipe = replace(recipe, **json.loads(asked.set))
    corpus = Corpus(asked.corpus, asked.folder / "corpus")
    teacher = Teacher(corpus, asked.folder / "teacher", asked.threads)
    folder = asked.folder / (asked.run or asked.name)
    folder.mkdir(parents=True, exist_ok=True)
    pool = np.random.default_rng(SEED).permutation(corpus.train)[: asked.examples or None]
    some = teacher.features(pool[:MEASURED], 0)
    std = np.maximum(some.std(0), 0.1 * math.sqrt(some.var(0).mean()))  # as the strategy does
    backbone = opened(asked.start or asked.name)
    student = Student(backbone, some.mean(0), std, teacher.classifier)
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups: list[dict[str, Any]] = [{"params": [], "weight_decay": decay} for decay in (recipe.weight_decay, 0.0)]
    for parameter in student.parameters():
        groups[parameter.ndim <= 1]["params"].append(parameter)
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    kept = Kept(folder, student, optimiser)
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: ended.append(received))
    student.train()
    saved = exported = told = time.monotonic()
    spent, sums, steps = time.process_time(), dict[str, float](), 0
    for seen, examples, view, side, batch in _batches(corpus, pool, recipe, kept.seen):
        if ended or seen >= asked.images:
            break
        random = np.random.default_rng([SEED, 1, seen])
        pixels = _varied(batch.result(), random)
        taught = torch.from_numpy(teacher.features(examples, view))
        share = seen / asked.images
        rate = min(1.0, (share + 1e-9) / WARMUP, (1 - share) / COOL)
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * rate
        losses = student.losses(torch.from_numpy(pixels), taught, torch.from_numpy(corpus.labels[examples]), recipe)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        optimiser.step()
        kept.stepped(recipe.ema, len(examples))
        steps += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item()
        now = time.monotonic()
        if now - told > 60 or (asked.until and kept.seen >= asked.until):
            record = {
                "seen": kept.seen,
                "side": side,
                **{name: round(value / steps, 4) for name, value in sums.items()},
            }
            record |= {"cpu_s": round(time.process_time() - spent), "wall_s": round(now - told)}
            with (folder / LOG).open("a") as log:
                log.write(json.dumps(record) + "\n")
            print(record, flush=True)
            told, spent, sums, steps = now, time.process_time(), {}, 0
        if now - saved > CHECKPOINT_S:
            kept.save()
            saved = now
        if now - exported > EXPORT_S:
            kept.export(backbone, teacher, recipe)
            exported = now
        if asked.until and kept.seen >= asked.until:
            break
    kept.save()
    kept.export(backbone, teacher, recipe)


class Kept:
    """What a run goes on from: weights, optimiser, the average, and how many images were seen."""

    def __init__(self, folder: Path, student: Student, optimiser: torch.optim.Optimizer) -> None:
        self.path, self.student, self.optimiser = folder / "state.pt", student, optimiser
        self.seen = self.steps = 0
        self.ema = {name: tensor.detach().clone() for name, tensor in student.network.tensors().items()}
        if self.path.is_file():
            state = torch.load(self.path, weights_only=True)
            student.load_state_dict(state["student"])
            optimiser.load_state_dict(state["optimiser"])
            self.ema, self.seen, self.steps = state["ema"], state["seen"], state["steps"]

    def stepped(self, decay: float, rows: int) -> None:
        """Count a step and move the average."""
        self.steps, self.seen = self.steps + 1, self.seen + rows
        share = 1 - min(decay, self.steps / (9 + self.steps))
        with torch.no_grad():
            for name, tensor in self.student.network.tensors().items():
                self.ema[name].lerp_(tensor.detach(), share)

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        part = self.path.with_suffix(".part")
        torch.save({"student": self.student.state_dict(), "optimiser": self.optimiser.state_dict(), "ema": self.ema,
                    "seen": self.seen, "steps": self.steps}, part)  # fmt: skip
        part.replace(self.path)

    def export(self, backbone: Backbone, teacher: Teacher, recipe: Recipe) -> None:
        """The average as a file of weights, and how it came about, as `ship.py` wants it."""
        tensors = {name: tensor.contiguous().numpy() for name, tensor in self.ema.items()}
        folder, card, name = self.path.parent / EXPORT, backbone.card, backbone.card.family
        folder.mkdir(exist_ok=True)
        lines = (self.path.parent / LOG).read_text().splitlines() if (self.path.parent / LOG).is_file() else []
        log = [json.loads(line) for line in lines]
        examples = len(teacher.corpus.train)
        curve = [{"epoch": one["seen"] / examples, "loss": one["features"] + one.get("classes", 0.0)} for one in log]
        settings = {**asdict(recipe), "warmup": WARMUP, "cool": COOL, "views": VIEWS, "teacher_side": teacher.side}
        written = {
            "card": card.to_json(), "teacher": teacher.facts, "settings": settings, "examples": examples,
            "command": f"python pretraining/distill.py {name} RUNS", "seen": self.seen,
            "epochs": round(self.seen / examples, 2), "best_epoch": round(self.seen / examples, 2),
            "seconds": round(sum(one["cpu_s"] for one in log)), "curve": thinned(curve) if curve else [],
            "environment": {"python": platform.python_version(), "torch": torch.__version__,
                            "machine": f"{platform.machine()} cpu; seconds are those of its cores"},
            "regraft": version("regraft"),
        }  # fmt: skip
        write_tensors(folder / f"{name}.safetensors", rounded(card, tensors, len(card.source_classes)))
        write_json(folder / f"{name}.json", written)


def _batches(corpus: Corpus, pool: np.ndarray, recipe: Recipe, seen: int) -> Iterator[Any]:
    """Images seen before, examples, view, side, pixels to come; from the `seen`-th image on."""
    per_epoch = len(pool) // recipe.batch
    ahead, waiting = ThreadPoolExecutor(1), []
    step = seen // recipe.batch
    while True:
        epoch, at = divmod(step, per_epoch)
        order = np.random.default_rng([SEED, 2, epoch]).permutation(pool)
        for batch in range(at, per_epoch):
            examples, view = order[batch * recipe.batch : (batch + 1) * recipe.batch], epoch // 2 % VIEWS
            side = int(np.random.default_rng([SEED, 3, step]).choice(recipe.sides))
            pixels = ahead.submit(corpus.seen, examples, view, side, Image.Resampling.BILINEAR)
            waiting.append((step * recipe.batch, examples, view, side, pixels))
            step += 1
            if len(waiting) > 2:
                yield waiting.pop(0)


def _varied(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Flipped left to right, and brighter or of more contrast, by chance: the teacher does not see these."""
    flipped = random.random(len(pixels)) < 0.5
    pixels[flipped] = pixels[flipped, :, ::-1]
    light, contrast = random.uniform(0.8, 1.2, (2, len(pixels), 1, 1, 1)).astype(np.float32)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    changed: np.ndarray = np.clip((pixels - mean) * contrast + mean * light, 0, 255)
    return changed


def opened(spec: str, input_px: int | None = None) -> Backbone:
    """The backbone that `spec` names."""
    return drained(open_backbone(spec, input_px=input_px))


def _kept(path: Path, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array that is kept at `path`, zeros at first; what is written into it is kept."""
    if path.is_file():
        return np.lib.format.open_memmap(path, "r+")
    return np.lib.format.open_memmap(path, "w+", kind, shape)


def _pack(archives: Path, folder: Path) -> None:
    """Decode the corpus into one file of pixels and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = {name: at for at, name in enumerate((archives / "classes.txt").read_text().split())}
    rows, place = [], 0
    with (folder / "pixels.u8").open("wb") as pixels:
        for shard in ("train-0", "train-1", "train-2", "train-3", "val"):
            with tarfile.open(archives / f"{shard}.tar.gz") as archive:
                for member in archive:
                    if (content := archive.extractfile(member)) is None:
                        continue
                    image = np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB"))
                    rows.append((place, *image.shape[:2], classes[member.name.split("/")[-2]], shard == "val"))
                    place += pixels.write(image.tobytes())
    offset, h, w, label, val = map(np.array, zip(*rows, strict=True))
    np.savez(folder / "index.npz", offset=offset, h=h, w=w, label=label, val=val)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(RECIPES), help="the network")
    parser.add_argument("folder", type=Path, help="where runs, corpus and the teacher's features lie")
    parser.add_argument("--start", help="what opens the first weights; default: those that ship")
    parser.add_argument("--run", help="name of the run's folder; default: the network's")
    parser.add_argument("--images", type=int, default=1_500_000, help="images to see, along which the rates fall")
    parser.add_argument("--until", type=int, default=0, help="stop after so many of them; 0: all")
    parser.add_argument("--examples", type=int, default=0, help="train on so many of the corpus alone, for a pilot")
    parser.add_argument("--set", default="", help="fields of the recipe as JSON, for a pilot")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
