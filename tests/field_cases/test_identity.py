"""Files taken for another data set"""

import h5py
import numpy as np
import pytest

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES
from galaxy10.data import GalaxyData
from galaxy10.data.source import check_source
from galaxy10.errors import Galaxy10Error
from tests.galaxies import write_galaxies


def test_other_files_are_not_taken_for_galaxy10(tmp_path, says):
    """A file of three classes, or of 69 px, as `data=galaxy10 data.path=…`."""
    for path in (write_galaxies(tmp_path / "Galaxy10_DECals.h5"), write_galaxies(tmp_path / "s.h5", num_classes=10)):
        with pytest.raises(Galaxy10Error, match=r"is not Galaxy10 DECaLS .*type data=hdf5 data.path=") as caught:
            check_source(GalaxyData("galaxy10", path=path).settings)
        assert "\n" not in str(caught.value)
    says(str(caught.value))


@pytest.mark.parametrize("counts", [GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES], ids=["full", "no duplicates"])
def test_the_published_files_are_recognised_by_size_and_counts(tmp_path, counts, says):
    """The published file under another name, and the same with one label changed."""
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (sum(counts), 256, 256, 3), np.uint8, chunks=(64, 256, 256, 3))  # nothing written
        file["ans"] = np.repeat(np.arange(10), counts).astype(np.uint8)
    settings = GalaxyData("galaxy10", path=path).settings
    assert check_source(settings).names == GALAXY10_CLASSES
    with h5py.File(path, "r+") as file:
        file["ans"][0] = 9
    with pytest.raises(Galaxy10Error, match="is not Galaxy10 DECaLS") as refused:
        check_source(settings)
    says(f"recognised; with another label: {refused.value}")


def test_a_simulated_survey_is_galaxy10(tmp_path, says):
    """A simulated survey as `data=galaxy10 data.path=…`."""
    path = write_galaxies(tmp_path / "s.h5", num_classes=10, names=list(GALAXY10_CLASSES))
    assert check_source(GalaxyData("galaxy10", path=path).settings).names == GALAXY10_CLASSES
    says("taken: its names of classes are those of Galaxy10")
