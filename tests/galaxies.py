"""Small galaxies of the tests: labelled HDF5 files, single images, and folders of files as users bring them."""

from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits
from PIL import Image


def write_galaxies(
    path: Path,
    per_class: int = 12,
    num_classes: int = 3,
    size: tuple[int, int] = (32, 32),
    names: list[str] | None = None,
    chunks: tuple[int, ...] | None = None,
    coordinates: bool = False,
    seed: int = 0,
) -> Path:
    """A small labelled file whose classes can be told apart: class k is brighter in one channel and position."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    images = rng.integers(0, 60, (len(labels), *size, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3, label % 3] += np.uint8(60 + 10 * label)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=chunks, compression="gzip" if chunks else None)
        file["ans"] = labels.astype(np.uint8)
        if names:
            file["ans"].attrs["class_names"] = names
        if coordinates:
            file["ra"] = np.linspace(10, 200, len(labels))
            file["dec"] = np.linspace(-5, 30, len(labels))
    return path


def write_labels(path: Path, values: object, names: object = None) -> Path:
    """36 small galaxies, 12 of each of these three labels, with names of classes as the given array."""
    write_galaxies(path)
    with h5py.File(path, "r+") as file:
        del file["ans"]
        file["ans"] = np.repeat(values, 12)
        if names is not None:
            file["ans"].attrs["class_names"] = names
    return path


def add_votes(path: Path, voters: int | None = None, seed: int = 0) -> Path:
    """Give a file votes of people who mostly agree with its labels: counts of so many voters, or fractions of 40."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "r+") as file:
        labels = file["ans"][:]
        chances = np.full((len(labels), labels.max() + 1), 0.1)
        chances[np.arange(len(labels)), labels] += rng.uniform(0.3, 2, len(labels))
        number = voters or 40
        votes = np.stack([rng.multinomial(number, row / row.sum()) for row in chances])
        votes[np.arange(len(labels)), labels] = votes.max(axis=1) + 1
        names = dict(file["ans"].attrs)
        del file["ans"]
        file["votes"] = votes if voters else votes / votes.sum(axis=1, keepdims=True)
        file["votes"].attrs.update(names)
    return path


def galaxy(seed: int = 0, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A bright spot on noise, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    pixels[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3, seed % 3] += np.uint8(80)
    return pixels


def sky(seed: int, size: int = 48) -> np.ndarray:
    """Return flux (3, size, size) float32 in nanomaggies: noise, and a galaxy in the middle."""
    y, x = np.indices((size, size)) - size / 2
    light = np.array([0.4, 0.8, 1.0])[:, None, None] * np.exp(-np.hypot(x, y) / 4)
    noise = np.random.default_rng(seed).normal(0.0, 0.01, light.shape)
    return (light + noise).astype(np.float32)


def write_folder(folder: Path, number: int) -> Path:
    """A folder of images: plain ones, one of every awkward kind, and five that are none."""
    folder.mkdir(parents=True)
    for seed in range(number):
        Image.fromarray(galaxy(seed)).save(folder / f"g{seed:04d}.jpg", quality=95)
    (folder / "bad_empty.jpg").touch()
    (folder / "bad_text.jpg").write_text("not an image")
    whole = (folder / "g0000.jpg").read_bytes()
    (folder / "bad_truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(folder / "bad_tiny.png")
    (folder / "bad_link.jpg").symlink_to(folder / "nowhere.jpg")
    grey = galaxy(1).mean(axis=2)
    Image.fromarray((grey * 257).astype(np.uint16)).save(folder / "good_16bit.png")
    Image.fromarray(np.dstack([galaxy(2), np.full((32, 32), 255, np.uint8)])).save(folder / "good_rgba.png")
    light = np.random.default_rng(0).normal(0.02, 0.01, (3, 40, 50)).astype(np.float32)
    fits.writeto(folder / "good_three_bands.fits", light)
    light[1, :10, :5] = np.nan
    fits.writeto(folder / "good_one_band.fits", light[1])
    (folder / "notes.txt").write_text("not the suffix of an image: skipped")
    return folder


BAD = {"bad_empty.jpg", "bad_text.jpg", "bad_truncated.jpg", "bad_tiny.png", "bad_link.jpg"}
