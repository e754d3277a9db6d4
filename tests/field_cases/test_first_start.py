"""Files that a first start makes, and files that an older start left"""

import os

import h5py
import numpy as np
import pytest
from PIL import Image

import galaxy10.data.folder_layout as layout
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.source import check_source, obtain_source, source_path
from galaxy10.errors import Galaxy10Error
from galaxy10.simulation.survey import class_counts
from tests.galaxies import write_galaxies


@pytest.fixture
def folder(tmp_path):
    """A folder of 12 images in two class folders."""
    for number in range(12):
        place = tmp_path / "set" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "set"


def settings_of(folder):
    return GalaxyData("hdf5", path=folder, store_dir=folder.parent / "stores").settings


def test_listed_once(folder, monkeypatch, says):
    """A new folder of images: the check before training lists it, and the conversion uses that list."""
    listed = []
    below = layout.images_below
    monkeypatch.setattr(layout, "images_below", lambda at, *more: listed.append(at.name) or below(at, *more))
    check_source(settings_of(folder))
    assert obtain_source(settings_of(folder)).num_images == 12
    assert listed == ["a", "b"]
    says(f"listed: {listed}")


def test_changed_in_between(folder, says):
    """An image comes into the folder between the check and the conversion."""
    check_source(settings_of(folder))
    before = os.stat(folder / "a").st_mtime_ns
    (folder / "a" / "new.png").write_bytes((folder / "a" / "0.png").read_bytes())
    os.utime(folder / "a", ns=(before + 10**9, before + 10**9))  # on file systems with coarse times
    number = obtain_source(settings_of(folder)).num_images
    assert number == 13
    says(f"{number} images")


def test_placeholder_scale(tmp_path, says):
    """A placeholder of 99999 in pxscale makes all galaxies one group."""
    path = write_galaxies(tmp_path / "g.h5", coordinates=True)
    with h5py.File(path, "r+") as file:
        file["pxscale"] = np.full(36, 99999.0)
    data = GalaxyData("hdf5", path=path)
    data.prepare_data()
    with pytest.raises(Galaxy10Error, match=r"in 1 group, .* type data\.group_radius_arcsec=67") as caught:
        data.setup()
    says(str(caught.value))


def test_old_simulation(tmp_path, says):
    """A small survey that an older version simulated lies in data.dir, with other numbers of galaxies per class."""
    old = write_galaxies(tmp_path / "simulated-60x16px-seed0.h5")
    settings = GalaxyData("simulated", dir=tmp_path, num_images=60, image_px=16).settings
    assert source_path(settings) is None
    source = obtain_source(settings)
    assert source.path != old
    assert np.bincount(source.table["label"]).tolist() == class_counts(60).tolist()
    says(f"{source.path.name} is made anew")
