"""Batch prediction: our model against torchvision's eager network with the same weights and the same numbers."""

import os
import time
from collections.abc import Callable
from typing import Any

from _measure import Context, Cost, Line, fitted, ratio_line
from _pictures import pictures

TITLE = "Batch prediction"
BATCH = 16
IMAGES, QUICK_IMAGES = 64, 16
MORE_ROUNDS = 2
TOLERANCE = 1e-4
GMACS = 1.497
"""Multiply-adds of GoogLeNet (torchvision's) without a classifier on one image of 224 pixels, in thousand millions."""
SIDE = 2048
"""Rows and columns of the matrices whose product says what the processor can do."""


def estimate(context: Context, image_s: float) -> float:
    """Seconds, given the seconds of one image in torchvision's eager network."""
    passes = (context.rounds + MORE_ROUNDS) * len(counts(context)) * 5.2
    return 30 + passes * (QUICK_IMAGES if context.quick else IMAGES) * image_s


def counts(context: Context) -> tuple[int, ...]:
    """Numbers of threads to try."""
    return (1, 2) if (os.cpu_count() or 1) > 1 and not context.quick else (1,)


def measure(context: Context) -> list[Line]:
    """In turn: eager, eager channels-last, ours, on prepared arrays; then eager and ours on files."""
    cache = context.fresh_cache("prediction")
    fitted(context, "probe-to-predict", "--strategy", "probe", cache=cache)
    os.environ["REGRAFT_CACHE"] = str(cache)
    lines = []
    for threads in counts(context):
        lines += _lines(context, threads)
    return lines


def _lines(context: Context, threads: int) -> list[Line]:
    import numpy as np
    import torch

    from regraft.bundles.bundle import load

    torch.set_num_threads(threads)
    bundle = load(context.work / "runs" / "probe-to-predict", threads=threads, workers=threads)
    files = pictures(context.data / "val")[: QUICK_IMAGES if context.quick else IMAGES]
    prepared = [bundle.prepare(path) for path in files]
    plain, last = same_network(bundle), same_network(bundle).to(memory_format=torch.channels_last)
    card = bundle.card
    tensors = torch.from_numpy(np.stack([one["pixels"] for one in prepared])).permute(0, 3, 1, 2).float() / 255
    tensors = (tensors - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(3, 1, 1)
    rows = tensors.contiguous()
    interleaved = tensors.contiguous(memory_format=torch.channels_last)
    square = torch.ones(SIDE, SIDE)
    ways: dict[str, Callable[[], Any]] = {
        "nchw": lambda: in_batches(plain, rows),
        "channels-last": lambda: in_batches(last, interleaved),
        "ours": lambda: bundle.logits(prepared),
        "product": lambda: torch.mm(square, square),
        "files": lambda: of_files(plain, files, card),
        "files, channels-last": lambda: of_files(last, files, card),
        "files, ours": lambda: bundle.predict(files),
    }
    expected, found = in_batches(plain, rows), bundle.logits(prepared)
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    bundle.predict(files[:BATCH])
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(context.rounds + MORE_ROUNDS):
        for name, way in ways.items():
            began, cpu = time.perf_counter(), time.process_time()
            way()
            spent = time.perf_counter() - began
            costs[name].append(Cost(wall=spent, cpu=time.process_time() - cpu, printed=""))
    on = f"{threads} thread{'s' if threads > 1 else ''}, {len(files)} images in batches of {BATCH}"
    speeds = [GMACS * len(files) / cost.wall for cost in costs["ours"]]
    most = SIDE**3 / 1e9 / min(cost.wall for cost in costs["product"])
    same = f"Maximum difference of the logits {error:.0e} of the largest, " + (
        "so numerically equal" if error <= TOLERANCE else f"MORE than {TOLERANCE:.0e}: not numerically equal"
    )
    return [
        ratio_line(f"`Bundle.logits` on prepared arrays, {on}", "torchvision eager, NCHW", costs["nchw"], costs["ours"],
                   bar=2.7, beyond=3.2, detail=same),
        ratio_line(f"`Bundle.logits` on prepared arrays, {on}", "torchvision eager, channels-last",
                   costs["channels-last"], costs["ours"], bar=1.5),
        Line(what=f"`Bundle.logits`, {on}: multiply-adds", against="", values=tuple(speeds), unit="G/s",
             detail=f"A {SIDE} × {SIDE} matrix product reaches {most:.0f} G/s on the same threads here: "
                    "the gap to our result is what a better backend could still gain on this processor."),
        ratio_line(f"`Bundle.predict` on files, {on}", "torchvision's transforms, eager, NCHW", costs["files"],
                   costs["files, ours"], detail="Ours includes decoding, temperature and OOD score"),
        ratio_line(f"`Bundle.predict` on files, {on}", "torchvision's transforms, eager, channels-last",
                   costs["files, channels-last"], costs["files, ours"]),
    ]  # fmt: skip


def same_network(bundle: Any) -> Any:
    """torchvision's GoogLeNet with the weights of a model that we saved, its head included."""
    import torch

    from regraft.backbones.backbone import BACKBONES
    from regraft.nn.initialise import Undrawn
    from regraft.nn.torchvision import torchvision_models

    with Undrawn():
        built = BACKBONES.get(bundle.card.family).build(bundle.card)
    stored = bundle.model.backbone.tensors()
    with torch.no_grad():
        for name, tensor in built.network.tensors().items():
            if name in stored:
                tensor.copy_(torch.from_numpy(stored[name]))
    model = torchvision_models().googlenet(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    weights = {name: tensor for name, tensor in built.original.state_dict().items() if not name.startswith("fc.")}
    missing = model.load_state_dict(weights, strict=False)
    assert set(missing.missing_keys) <= {"fc.weight", "fc.bias"}, missing
    assert not missing.unexpected_keys, missing
    outputs, width = bundle.model.weight.shape
    model.fc = torch.nn.Linear(width, outputs)
    with torch.no_grad():
        model.fc.weight.copy_(torch.from_numpy(bundle.model.weight))
        model.fc.bias.copy_(torch.from_numpy(bundle.model.bias))
    return model.eval()


def in_batches(model: Any, tensors: Any) -> Any:
    """Logits of prepared tensors."""
    import torch

    with torch.inference_mode():
        return torch.cat([model(batch) for batch in tensors.split(BATCH)]).numpy()


def of_files(model: Any, files: list, card: Any) -> Any:
    """Probabilities of image files, the way torchvision's documentation has it."""
    import torch
    from PIL import Image
    from torchvision import transforms

    side, shorter = card.preparation.input_px[0], card.preparation.resize_px
    prepare = transforms.Compose(
        [
            transforms.Resize(shorter),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(card.mean, card.std),
        ]
    )
    found = []
    with torch.inference_mode():
        for first in range(0, len(files), BATCH):
            pictures_ = [prepare(Image.open(path).convert("RGB")) for path in files[first : first + BATCH]]
            found.append(model(torch.stack(pictures_)).softmax(1))
    return torch.cat(found).numpy()
