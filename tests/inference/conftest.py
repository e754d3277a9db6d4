"""A trained run, and files of the kinds that users bring."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from tests.conftest import ROOT, ended, write_galaxies


@pytest.fixture(scope="session")
def trained(warm, tmp_path_factory) -> Callable[..., Path]:
    """A function that trains a small network on small galaxies, once per seed, and gives its run directory."""
    folder = tmp_path_factory.mktemp("trained")
    write_galaxies(folder / "g.h5", per_class=40, names=["Spiral", "In-between", "Edge-on"], coordinates=True)
    runs: dict[int, Path] = {}

    def train(seed: int = 0) -> Path:
        if seed not in runs:
            words = (
                *("data=hdf5", f"data.path={folder / 'g.h5'}", "model.image_size=32", "trainer.max_epochs=2"),
                *(
                    "model.tta_views=2",
                    "data.batch_size=8",
                    f"seed={seed}",
                    f"run.dir={folder / f'r{seed}'}",
                    "logger=csv",
                ),
            )
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = ended(warm.start([str(ROOT / "train.py"), *words], folder, environment), 240)
            assert done.code == 0, done.err
            runs[seed] = folder / f"r{seed}"
        return runs[seed]

    return train


@pytest.fixture(scope="session")
def run(trained) -> Path:
    """A run directory of three classes: 84 training, 12 validation and 24 test galaxies."""
    return trained(0)


def galaxy(seed: int = 0, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A bright spot on noise, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    pixels[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3, seed % 3] += np.uint8(80)
    return pixels


def write_folder(folder: Path, number: int) -> Path:
    """A folder of pictures: plain ones, one of every awkward kind, and five that are none."""
    folder.mkdir(parents=True)
    for seed in range(number):
        Image.fromarray(galaxy(seed)).save(folder / f"g{seed:04d}.jpg", quality=95)
    (folder / "bad_empty.jpg").touch()
    (folder / "bad_text.jpg").write_text("not a picture")
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
    (folder / "notes.txt").write_text("no picture's suffix: passed over")
    return folder


BAD = {"bad_empty.jpg", "bad_text.jpg", "bad_truncated.jpg", "bad_tiny.png", "bad_link.jpg"}
