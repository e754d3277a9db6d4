"""The two loops that a user would write around a pretrained EfficientNet-Lite0: plain PyTorch, and timm's parts.

python benchmarks/accuracy/rivals.py plain|timm FILE.h5 SPLIT.csv --seed 0 --epochs 5      (started by run.py)

Both train on the rows that the split table calls train, choose nothing, and are tested after the last epoch. `plain`
has flips and quarter turns, SGD and a one-cycle rate. `timm` has the defaults of timm's training script: random resized
crops and horizontal flips, colour jitter, label smoothing, and a cosine rate with warm-up, by timm's own functions.
Prints accuracy, macro-F1, and the seconds of training and of one epoch as JSON.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import h5py
import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score
from timm.data import create_transform
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn
from torchvision.transforms import v2

from galaxy10.models.weights import find_weights, load_pretrained

BACKBONE = "tf_efficientnet_lite0"
BATCH = 32
Step = Callable[[int, int], None]  # (epoch from 0, steps made): set the learning rate


class Galaxies(torch.utils.data.Dataset):
    """The rows of one subset of a split table, from the HDF5 file's images in memory."""

    def __init__(self, path: str, table: pd.DataFrame, subset: str, transform: Callable[[Image.Image], torch.Tensor]):
        rows = np.sort(table.loc[table["subset"] == subset, "row"].to_numpy())
        with h5py.File(path) as file:
            self.images, labels = file["images"][:][rows], np.asarray(file["ans"])
        # Class numbers from 0, as both losses want them.
        self.labels = np.unique(labels, return_inverse=True)[1][rows]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain(given: argparse.Namespace, table: pd.DataFrame, source: Any) -> dict[str, float]:
    """Train the plain loop, and return its results."""
    prepare = [v2.PILToTensor(), v2.Resize(given.image_px, antialias=True), v2.ToDtype(torch.float32, scale=True)]
    normalise = v2.Normalize(source.mean, source.std)
    turns = v2.RandomChoice([v2.RandomRotation((angle, angle)) for angle in (0, 90, 180, 270)])
    train = Galaxies(given.file, table, "train", v2.Compose([*prepare, v2.RandomHorizontalFlip(), turns, normalise]))
    test = Galaxies(given.file, table, "test", v2.Compose([*prepare, normalise]))
    model = network(int(train.labels.max()) + 1, source)
    batches = torch.utils.data.DataLoader(train, BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=given.epochs * len(batches))
    timing = fit(model, batches, optimizer, nn.CrossEntropyLoss(), given.epochs, lambda epoch, steps: schedule.step())
    return timing | score(model, torch.utils.data.DataLoader(test, 128))


def with_timm(given: argparse.Namespace, table: pd.DataFrame, source: Any) -> dict[str, float]:
    """Train with timm's transforms, optimizer and schedule, and return the results."""
    size = {"input_size": (3, given.image_px, given.image_px), "mean": source.mean, "std": source.std}
    train = Galaxies(given.file, table, "train", create_transform(**size, is_training=True))
    test = Galaxies(given.file, table, "test", create_transform(**size))
    model = network(int(train.labels.max()) + 1, source)
    batches = torch.utils.data.DataLoader(train, BATCH, shuffle=True, drop_last=True)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, momentum=0.9, weight_decay=2e-5)
    schedule, _ = create_scheduler_v2(
        optimizer, "cosine", num_epochs=given.epochs, warmup_epochs=1, warmup_lr=1e-3, step_on_epochs=False,
        updates_per_epoch=len(batches),
    )  # fmt: skip
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    timing = fit(model, batches, optimizer, loss, given.epochs, lambda epoch, steps: schedule.step_update(steps))
    return timing | score(model, torch.utils.data.DataLoader(test, 128))


def network(classes: int, source: Any) -> nn.Module:
    """Return EfficientNet-Lite0 with ImageNet weights and a new head."""
    model = timm.create_model(BACKBONE, num_classes=classes)
    load_pretrained(model, source, [model.get_classifier()])
    nn.init.normal_(model.get_classifier().weight, std=0.01)
    nn.init.zeros_(model.get_classifier().bias)
    return model


def fit(
    model: nn.Module,
    batches: torch.utils.data.DataLoader,
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    epochs: int,
    after_step: Step,
) -> dict[str, float]:
    """Train, and return the seconds of training and of one epoch."""
    start, steps = time.perf_counter(), 0
    for epoch in range(epochs):
        model.train()
        for inputs, labels in batches:
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()
            steps += 1
            after_step(epoch, steps)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "epoch_seconds": seconds / epochs}


@torch.no_grad()
def score(model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
    """Return accuracy and macro-F1."""
    model.eval()
    found = [(model(inputs).argmax(dim=1), labels) for inputs, labels in batches]
    predicted, labels = (torch.cat(part) for part in zip(*found, strict=True))
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro")),
    }


def main() -> None:
    """Train one rival."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rival", choices=("plain", "timm"))
    parser.add_argument("file")
    parser.add_argument("split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--image-px", type=int, default=128)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    np.random.seed(given.seed)  # noqa: NPY002  (timm's transforms draw from it and from random)
    random.seed(given.seed)
    train = plain if given.rival == "plain" else with_timm
    print(json.dumps(train(given, pd.read_csv(given.split), find_weights(BACKBONE, None))))


if __name__ == "__main__":
    main()
