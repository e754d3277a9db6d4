"""Data of one's own: readers, a LightningDataModule, and variations of training images."""

from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, random_split

from galaxy10.data import GalaxyData

NAMES = ["edge-on", "spiral", "elliptical"]


def draw(label: int, rng: np.random.Generator, size: int = 32) -> np.ndarray:
    """Draw an image (size, size, 3) uint8 whose class shows in its brightest channel."""
    image = rng.integers(0, 60, (size, size, 3), dtype=np.uint8)
    third = slice(size // 3, 2 * size // 3)
    image[third, third, label] += np.uint8(90 + 10 * label)
    return image


def read(path: Path, brighter: int = 0):
    """Read a table of seeds and classes (CSV: seed, kind, ra, dec, night), one image after another."""
    table = pd.read_csv(path)
    labels = [NAMES.index(kind) for kind in table["kind"]]

    def images():
        for seed, label in zip(table["seed"], labels, strict=True):
            image = draw(label, np.random.default_rng(seed))
            yield np.minimum(image, 255 - brighter) + np.uint8(brighter)

    return images(), labels, NAMES, {"ra": table["ra"], "dec": table["dec"], "group": table["night"]}


def read_array(path: Path):
    """Read an .npz file of images and class names, all at once."""
    with np.load(path) as arrays:
        return arrays["images"], arrays["kinds"], None


class Invert(nn.Module):
    """Now and then a negative of the whole batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 1 - images if torch.rand(()) < 0.5 else images


class Jitter(nn.Module):
    """Noise from each of the generators that Python has."""

    def __init__(self, strength: float = 0.1):
        super().__init__()
        self.strength = strength

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        import random

        shared = random.random() + np.random.rand()  # noqa: NPY002 - as other people's code does
        return inputs + self.strength * (torch.randn_like(inputs) + shared)


class DictSet(torch.utils.data.Dataset):
    """Images and labels as somebody else's data set has them."""

    def __init__(self, seeds: range, size: int = 32):
        rng = np.random.default_rng(seeds.start)
        self.labels = [seed % len(NAMES) for seed in seeds]
        self.images = [draw(label, rng, size) for label in self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, object]:
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float() / 255
        return {"inputs": (image - 0.2) / 0.2, "labels": self.labels[index]}


class TheirData(L.LightningDataModule):
    """A LightningDataModule of one's own: batches {"inputs", "labels"} and class names."""

    class_names = NAMES

    def __init__(self, batch_size: int = 8, train: int = 48, image_px: int = 32):
        super().__init__()
        self.batch_size, self.train, self.image_px = batch_size, train, image_px

    def setup(self, stage: str | None = None) -> None:
        starts = {"train": range(self.train), "val": range(1000, 1015), "test": range(2000, 2018)}
        self.sets = {name: DictSet(seeds, self.image_px) for name, seeds in starts.items()}

    def train_dataloader(self):
        return DataLoader(self.sets["train"], self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.sets["val"], self.batch_size)

    def test_dataloader(self):
        return DataLoader(self.sets["test"], self.batch_size)


class RandomlySplit(TheirData):
    """One that draws its split in `setup`, without a seed, as many do."""

    def setup(self, stage: str | None = None) -> None:
        parts = random_split(DictSet(range(60), self.image_px), [40, 10, 10])
        self.sets = dict(zip(("train", "val", "test"), parts, strict=True))


class OurFileTheirWay(GalaxyData):
    """The framework's own data module with another default."""

    def __init__(self, batch_size: int = 16, **settings):
        super().__init__(batch_size=batch_size, **settings)
