"""A plain PyTorch loop that fine-tunes the upper part of GoogLeNet and runs the frozen stages again on every batch:
partial fine-tuning without an activation store.

    python benchmarks/recompute.py FOLDER --cut 4e [--threads 2]

One epoch over `train`, after one batch that is not counted. Both parts in channels-last memory order, the frozen one
without gradients and in evaluation mode: the honest baseline of PERFORMANCE section 6. Crops, batch size, optimiser,
clipping and frozen batch-norm statistics are those of `regraft fit --strategy partial`. Weights are random.

Prints one line of JSON: images, seconds in all (wall and CPU), and the wall seconds of them that went into decoding.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from tutorial import MEAN, STD, cpu_seconds, datasets, models, transforms

STAGES = {
    "stem": ("conv1", "maxpool1", "conv2", "conv3", "maxpool2"),
    "3a": ("inception3a",),
    "3b": ("inception3b", "maxpool3"),
    "4a": ("inception4a",),
    "4b": ("inception4b",),
    "4c": ("inception4c",),
    "4d": ("inception4d",),
    "4e": ("inception4e", "maxpool4"),
    "5a": ("inception5a",),
    "5b": ("inception5b",),
}


def split(cut: str, num_classes: int) -> tuple[nn.Module, nn.Module]:
    """The frozen part up to `cut` (`input`: nothing), and the trained part with a new last layer."""
    model = models.googlenet(weights=None, aux_logits=False, transform_input=False, init_weights=False)
    names = list(STAGES)
    below = names[: names.index(cut) + 1] if cut != "input" else []
    lower = [getattr(model, part) for name in below for part in STAGES[name]]
    upper = [getattr(model, part) for name in names if name not in below for part in STAGES[name]]
    head = nn.Linear(model.fc.in_features, num_classes)
    frozen = nn.Sequential(*lower).eval().requires_grad_(False)
    tail = nn.Sequential(*upper, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return (part.to(memory_format=torch.channels_last) for part in (frozen, tail))


def step(frozen: nn.Module, tail: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    """One optimizer step."""
    with torch.no_grad():
        states = frozen(inputs.contiguous(memory_format=torch.channels_last))
    loss = nn.functional.cross_entropy(tail(states), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(tail.parameters(), 1.0)
    optimiser.step()


def main() -> None:
    """Train for one epoch and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cut", default="4e", choices=("input", *STAGES))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    views = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.35, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = datasets.ImageFolder(str(given.data / "train"), views)
    frozen, tail = split(given.cut, len(images.classes))
    for module in tail.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    optimiser = torch.optim.AdamW(tail.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    size = min(32, len(images))
    step(frozen, tail, optimiser, torch.zeros(size, 3, 224, 224), torch.zeros(size, dtype=torch.long))
    batches = iter(torch.utils.data.DataLoader(images, batch_size=32, shuffle=True))
    began, cpu, decoding = time.perf_counter(), cpu_seconds(), 0.0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        decoding += time.perf_counter() - asked
        if batch is None:
            break
        step(frozen, tail, optimiser, *batch)
    found = {"wall": time.perf_counter() - began, "cpu": cpu_seconds() - cpu, "decoding": decoding}
    print(json.dumps({"images": len(images), **found}))


if __name__ == "__main__":
    main()
