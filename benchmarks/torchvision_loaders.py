"""The alternative input pipeline: a Dataset over an array in memory, torchvision's transforms and workers."""

import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2


class Galaxies(Dataset):
    """Images (N, H, W, 3) uint8 in memory with labels (N,); pil: whether the transform takes Pillow images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], torch.Tensor], pil: bool):
        self.images, self.labels, self.transform, self.pil = images, labels, transform, pil

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        return self.transform(Image.fromarray(image) if self.pil else to_planes(image)), int(self.labels[index])


def to_planes(image: np.ndarray) -> torch.Tensor:
    """Convert (H, W, 3) to (3, H, W)."""
    return torch.from_numpy(image).permute(2, 0, 1)


def quarter_turn(image: Any) -> Any:
    """Rotate an image by 0, 90, 180 or 270 degrees at random."""
    turns = random.randrange(4)
    if isinstance(image, torch.Tensor):
        return torch.rot90(image, turns, (1, 2))
    return image.rotate(90 * turns)


class Noise:
    """Add Gaussian noise of β in units of each channel's σ, on the 0–1 scale."""

    def __init__(self, beta: float, std: Sequence[float]):
        self.sigma = beta * torch.tensor(std)[:, None, None]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.sigma * torch.randn_like(image)


def baseline_cnn(
    version: str, size_px: int, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Any], torch.Tensor]:
    """Return the augmentation of the published baseline's CNN, with torchvision's transforms v1 or v2."""
    if version == "v1":
        steps = [
            v1.Resize((size_px, size_px)), v1.RandomHorizontalFlip(), v1.RandomVerticalFlip(), quarter_turn,
            v1.ToTensor(), Noise(0.2, std), v1.Normalize(mean, std),
        ]  # fmt: skip
        return v1.Compose(steps)
    steps = [
        v2.Resize((size_px, size_px), antialias=True), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), quarter_turn,
        v2.ToDtype(torch.float32, scale=True), Noise(0.2, std), v2.Normalize(mean, std),
    ]  # fmt: skip
    return v2.Compose(steps)


def baseline_transfer(size_px: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[Any], torch.Tensor]:
    """Return the augmentation of the published baseline's transfer networks."""
    steps = [v1.RandomResizedCrop(size_px), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(mean, std)]
    return v1.Compose(steps)


def plain(size_px: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[Any], torch.Tensor]:
    """Return a transform that only resizes."""
    return v1.Compose([v1.Resize((size_px, size_px)), v1.ToTensor(), v1.Normalize(mean, std)])


def loader(dataset: Galaxies, batch_size: int = 32) -> DataLoader:
    """Return shuffled batches from one worker per core."""
    return DataLoader(
        dataset, batch_size, shuffle=True, num_workers=os.cpu_count() or 1, drop_last=True, persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def warm_images_per_s(batches: Iterable[Any], step: Callable[[torch.Tensor, torch.Tensor], None], number: int) -> float:
    """Return the images/s of a number of training steps after a first one, which is for warming up."""
    source, seen = iter(batches), 0
    step(*next(source))
    start = time.perf_counter()
    for inputs, labels in islice(source, number):
        step(inputs, labels)
        seen += len(labels)
    return seen / (time.perf_counter() - start)
