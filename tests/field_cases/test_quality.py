"""The unit of the light: saturated and empty images"""

import logging
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from PIL import Image

from galaxy10.data import GalaxyData
from galaxy10.data.augment import Preprocessing
from galaxy10.data.pack import pack
from galaxy10.data.quality import TrainingImages, image_quality
from galaxy10.training.callbacks import InputQuality
from tests.galaxies import galaxy, sky, write_galaxies


@pytest.fixture
def said(monkeypatch, caplog):
    """The messages of galaxy10."""
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)
    caplog.set_level(logging.INFO)
    return lambda text: next((message for message in caplog.messages if text in message), "")


def in_counts(folder: Path) -> Path:
    """Class folders of FITS files in counts over a sky of 1000, with no word about it in their headers."""
    for number in range(6):
        (folder / f"c{number % 2}").mkdir(parents=True, exist_ok=True)
        fits.writeto(folder / f"c{number % 2}/{number}.fits", sky(number) * 5e4 + 1000)
    Image.fromarray(galaxy(0, (48, 48))).save(folder / "c0/fine.png")
    return folder


@pytest.mark.slow
def test_predicting_counts(run, galaxy10, tmp_path, says):
    """FITS in counts (sky 1000), no BUNIT, default stretch: galaxy10 predict"""
    done = galaxy10("predict", run, in_counts(tmp_path / "set"), "-o", "cat.csv", "--no-temperature")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "cat.csv")
    assert sorted(table["quality"]) == ["ok"] + ["saturated"] * 6
    lines = [line for line in done.err.splitlines() if "saturated" in line]
    says(*lines)
    assert "of 7 images 6 saturated" in lines[0]
    assert lines[0].endswith("if they are raw flux, stretch them with asinh (--stretch asinh)")
    done = galaxy10("predict", run, "set", "-o", "ok.csv", "--no-temperature", "--stretch", "asinh")
    assert set(pd.read_csv(tmp_path / "ok.csv")["quality"]) == {"ok"}
    assert "saturated" not in done.err


def test_packing_counts(tmp_path, said, says):
    """FITS in counts (sky 1000), no BUNIT, default stretch: galaxy10 pack, and training on the folder"""
    pack(in_counts(tmp_path / "set"), tmp_path / "p.h5")
    line = said("of 7 images 6 saturated")
    assert "(--stretch asinh)" in line
    says(line)


def test_training_on_white_images(tmp_path, says):
    """an HDF5 file in which a third of the images are white: training, evaluation"""
    path = write_galaxies(tmp_path / "g.h5", per_class=20)
    with h5py.File(path, "r+") as file:
        file["images"][:20, 5:] = 255
    data = GalaxyData(path=path, image_size=32)
    data.prepare_data()
    data.setup()
    (line,) = [note for note in data.split.notes if "saturated" in note]
    assert line.startswith("of 60 images 20 saturated")
    says(line)


def test_augmentation_that_makes_images_black(tmp_path, said, says):
    """augmentation of one's own returns values from 0 to 1 where 0 to 255 is expected: black training images"""
    data = GalaxyData(path=write_galaxies(tmp_path / "g.h5", per_class=20), image_size=32, batch_size=16)
    data.prepare_data()
    data.setup()
    for darker, spoilt in ((1, False), (255, True)):
        batch = next(iter(data.train_dataloader()))
        data.trainer = SimpleNamespace(training=True, current_epoch=0, is_global_zero=True, lightning_module=None)
        data.transform.custom = _Before(darker)
        data._first_images = TrainingImages()
        data.on_after_batch_transfer(batch, 0)
        data.trainer = None
        line = said("augmentation makes")
        assert bool(line) == spoilt
    assert "of the first 16 training images, augmentation makes 16 empty" in line
    says(line)


@pytest.mark.parametrize("known", [True, False])
def test_a_data_module_of_ones_own_that_feeds_black_images(known, said, says):
    """a custom data module divides pixels by 255 twice: nearly black inputs, with preprocessing or without"""
    galaxies = torch.rand(8, 3, 16, 16)
    right, wrong = galaxies * 2 - 1, galaxies / 255 * 2 - 1
    wrong[0] = right[0]  # so that the batch has a range
    preprocessing = Preprocessing(16, [0.5] * 3, [0.5] * 3) if known else None
    module, trainer = SimpleNamespace(preprocessing=preprocessing), SimpleNamespace(is_global_zero=True)
    for inputs in (right, wrong):
        InputQuality().on_train_batch_start(trainer, module, {"inputs": inputs}, 0)
        assert bool(said("training images")) == (inputs is wrong)
    line = said("training images")
    assert "of the first 8 training images, 7 empty" in line
    assert "check what the data module makes of them" in line
    says(line)


class _Before:
    """A module of one's own, before the built-in augmentation."""

    def __init__(self, darker: int):
        self.darker = darker

    def __contains__(self, when: str) -> bool:
        return when == "before"

    def apply(self, _when, pixels, *_about):
        return pixels / self.darker


def test_quality_is_by_pixels_and_real_galaxies_are_ok(real_galaxies):
    with h5py.File(real_galaxies) as file:
        assert {image_quality(image) for image in file["images"][:]} == {"ok"}
    pixels = galaxy(0, (40, 40))
    for share, quality in ((0.19, "ok"), (0.21, None)):
        for level, name in ((0, "empty"), (255, "saturated")):
            part = np.where(np.arange(1600) < share * 1600, True, False).reshape(40, 40)
            spoilt = np.where(part[..., None], level, np.clip(pixels, 1, 254)).astype(np.uint8)
            assert image_quality(spoilt) == (quality or name)
    assert image_quality(np.full((20, 20, 3), 90, np.uint8)) == "empty"
    assert image_quality(np.full((20, 20, 3), 255, np.uint8)) == "saturated"
