"""PyTorch's own transfer-learning tutorial ("ConvNet as fixed feature extractor") with GoogLeNet: what we are
measured against.

    python benchmarks/tutorial.py FOLDER [--epochs 25] [--threads 2] [--workers 4]

Written anew after pytorch.org/tutorials/beginner/transfer_learning_tutorial.html, keeping what decides its cost and its
result: ImageFolder; random resized crops of 224 and flips to train on, shorter side to 256 and the centre 224 to
validate on; batches of 4; every parameter frozen but a new last layer; SGD with rate 0.001 and momentum 0.9, times 0.1
every 7 epochs; 25 epochs, each with a pass over `train` in training mode (batch norm follows the batches) and one over
`val`; the best weights kept in a file. Weights are random: they cost the same. torchvision's eager network, in the
memory order that it comes in.

Prints one line of JSON: seconds of each epoch, wall and CPU.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from regraft.nn.torchvision import torchvision_models

models = torchvision_models()  # where torchvision's operators do not load, its import needs help

from torchvision import datasets, transforms  # noqa: E402

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TRANSFORMS = {
    "train": transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    ),
    "val": transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    ),
}


def loaders(data: Path, workers: int) -> dict[str, torch.utils.data.DataLoader]:
    """Shuffled batches of 4 of both parts."""
    return {
        part: torch.utils.data.DataLoader(
            datasets.ImageFolder(str(data / part), TRANSFORMS[part]), batch_size=4, shuffle=True, num_workers=workers
        )
        for part in ("train", "val")
    }


def frozen_googlenet(num_classes: int) -> nn.Module:
    """torchvision's GoogLeNet, everything frozen but a new last layer."""
    model = models.googlenet(weights=None, aux_logits=False, transform_input=True, init_weights=False)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    return model


def epoch(model: nn.Module, batches: dict, criterion: nn.Module, optimiser: optim.Optimizer, schedule) -> float:
    """One pass over `train`, one over `val`; the accuracy on `val`."""
    accuracy = 0.0
    for part in ("train", "val"):
        model.train(part == "train")
        loss_sum, right, count = 0.0, 0, 0
        for inputs, labels in batches[part]:
            optimiser.zero_grad()
            with torch.set_grad_enabled(part == "train"):
                outputs = model(inputs)
                predicted = outputs.argmax(1)
                loss = criterion(outputs, labels)
                if part == "train":
                    loss.backward()
                    optimiser.step()
            loss_sum += loss.item() * len(inputs)
            right += int((predicted == labels).sum())
            count += len(inputs)
        if part == "train":
            schedule.step()
        accuracy = right / count
    return accuracy


def main() -> None:
    """Train and print what each epoch took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    batches = loaders(given.data, given.workers)
    model = frozen_googlenet(len(batches["train"].dataset.classes))
    optimiser = optim.SGD(model.fc.parameters(), lr=0.001, momentum=0.9)
    schedule = lr_scheduler.StepLR(optimiser, step_size=7, gamma=0.1)
    best, taken, criterion = -1.0, [], nn.CrossEntropyLoss()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.epochs):
            began, cpu = time.perf_counter(), cpu_seconds()
            accuracy = epoch(model, batches, criterion, optimiser, schedule)
            if accuracy > best:
                best = accuracy
                torch.save(model.state_dict(), Path(folder) / "best.pt")
            taken.append({"wall": time.perf_counter() - began, "cpu": cpu_seconds() - cpu})
    print(json.dumps({"epochs": taken, "best_val_accuracy": best}))


def cpu_seconds() -> float:
    """CPU seconds of this process and of the loader processes that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
