"""The images that a run keeps for its report."""

import numpy as np
import pytest

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.hdf5 import open_source
from galaxy10.data.split import make_split
from galaxy10.data.store import open_store
from galaxy10.evaluation.samples import save_demonstrations
from galaxy10.runs.files import RunFiles
from tests.galaxies import write_galaxies

SIGMA = 0.1


def demonstrations(tmp_path, balance="none", **augmentation):
    source = open_source(write_galaxies(tmp_path / "g.h5", per_class=20))
    store = open_store(source, tmp_path)
    split = make_split(store.table, store.content, source.names)
    data = GalaxyData.from_store(
        store, split, source.names, batch_size=8, balance=balance, augmentation=Augmentation.from_config(augmentation)
    )
    data.preprocessing = Preprocessing(32, [0.2] * 3, [0.1] * 3, [SIGMA] * 3)
    save_demonstrations(data, RunFiles(tmp_path))
    found = {}
    for path in (tmp_path / "samples").glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            found[path.stem] = {name: arrays[name] for name in arrays.files}
    return found, store


def test_noise_is_shown_at_growing_strength_from_none(tmp_path):
    found, store = demonstrations(tmp_path)
    noise = found["noise"]
    assert noise["images"].shape == (15, 32, 32, 3)
    assert noise["beta"][:5] == pytest.approx(np.array([0, 0.1, 0.2, 0.5, 1]) * SIGMA)
    assert len(set(noise["rows"].tolist())) == 3
    original = store.images[noise["rows"][0]].astype(float)
    # Brightness is cut off at black: only where nothing is cut does the spread equal β.
    bright = original > 100
    spread = [(image.astype(float) - original)[bright].std() / 255 for image in noise["images"][:5]]
    assert spread[0] == 0
    assert spread == pytest.approx(noise["beta"][:5].tolist(), rel=0.3, abs=0.003)


def test_augmentation_is_shown_beside_the_galaxy_as_it_is(tmp_path):
    found, store = demonstrations(tmp_path, dihedral="all")
    shown = found["augmentation"]
    assert shown["variant"].tolist() == [0, 1, 2, 3, 4] * 3
    for image, row, variant in zip(shown["images"], shown["rows"], shown["variant"], strict=True):
        assert variant or (image == store.images[row]).all()
    assert any((shown["images"][0] != image).any() for image in shown["images"][1:5])


def test_without_augmentation_there_is_nothing_to_show(tmp_path):
    as_configured = {"crop_area": [1.0, 1.0], "crop_aspect": [1.0, 1.0], "zoom": [1.0, 1.0]}
    assert set(demonstrations(tmp_path, **as_configured)[0]) == {"noise"}
