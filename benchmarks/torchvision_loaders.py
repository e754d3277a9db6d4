"""What a user would write instead: a Dataset over an array in memory, torchvision's transforms, workers."""

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2


class Galaxies(Dataset):
    """images: (N, H, W, 3) uint8; labels: (N,)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Any], torch.Tensor], pil: bool):
        self.images, self.labels, self.transform, self.pil = images, labels, transform, pil

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        return self.transform(Image.fromarray(image) if self.pil else to_planes(image)), int(self.labels[index])


def to_planes(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) → (3, H, W)."""
    return torch.from_numpy(image).permute(2, 0, 1)


def quarter_turn(image: Any) -> Any:
    """By 0, 90, 180 or 270 degrees."""
    turns = random.randrange(4)
    if isinstance(image, torch.Tensor):
        return torch.rot90(image, turns, (1, 2))
    return image.rotate(90 * turns)


class Noise:
    """Gaussian, β in units of each channel's σ, on the 0–1 scale."""

    def __init__(self, beta: float, std: Sequence[float]):
        self.sigma = beta * torch.tensor(std)[:, None, None]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.sigma * torch.randn_like(image)


def baseline_cnn(
    version: str, size_px: int, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Any], torch.Tensor]:
    """The study's variations for its CNN in torchvision's first or second transforms."""
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
    """The study's variations for its transfer networks, as every tutorial has them."""
    steps = [v1.RandomResizedCrop(size_px), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(mean, std)]
    return v1.Compose(steps)


def plain(size_px: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[Any], torch.Tensor]:
    """Resized, nothing else."""
    return v1.Compose([v1.Resize((size_px, size_px)), v1.ToTensor(), v1.Normalize(mean, std)])


def loader(dataset: Galaxies, batch_size: int = 32) -> DataLoader:
    """Shuffled batches from as many workers as the machine has cores."""
    return DataLoader(
        dataset, batch_size, shuffle=True, num_workers=os.cpu_count() or 1, drop_last=True, persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
