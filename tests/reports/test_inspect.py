"""A page about a file: everything that has spoiled results before is on it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxy10.data.dataset_stats import pixel_stats
from galaxy10.errors import Galaxy10Error
from galaxy10.reports.inspect import inspect_file
from tests.reports.conftest import run_without_torch

pytestmark = pytest.mark.usefixtures("undrawn")


def write_file(path: Path, positions: bool = True, **columns: np.ndarray) -> Path:
    """Sixty images of three classes, with a conflicting duplicate, a repeat, a neighbour and two blanks."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 32, 32, 3), dtype=np.uint8)
    images[[7, 40]] = 32  # blank, under two labels
    images[25] = images[3]  # the same pixels under two labels
    ra, dec = np.linspace(10, 200, 60), np.linspace(-5, 60, 60)
    ra[[50, 51]], dec[50], dec[51] = 120.0, 10.0, 10.0 + 0.3 / 3600  # the same galaxy twice, one label
    dec[[20, 21]], ra[20], ra[21] = 0.0, 50.0, 50.0 + 30 / 3600  # half a field apart
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(20, 8, 8, 1))
        file["ans"] = np.repeat(np.arange(3), 20).astype(np.uint8)
        file["ans"].attrs["class_names"] = ["smooth", "<b>spiral</b>", "edge-on & $thin"]
        if positions:
            file["ra"], file["dec"] = ra, dec
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.mark.long
def test_duplicates_blanks_and_overlaps_are_found_without_torch(tmp_path):
    redshift = np.where(np.arange(60) < 4, np.nan, 0.1)
    file = write_file(tmp_path / "galaxies.h5", redshift=redshift, pxscale=np.full(60, 67.072 / 32))
    program = "from galaxy10.reports.inspect import inspect_file; print(inspect_file(*paths))"
    page = run_without_torch(program, file, tmp_path / "out").strip()
    assert page == str(tmp_path / "out/index.html")
    text = (tmp_path / "out/index.html").read_text()
    assert "1 galaxy is in the file more than once" in text
    assert "<td>3, 25</td>" in text
    assert "1 pair of rows shows one galaxy under the same label" in text
    assert "2 images are blank" in text
    assert "4 galaxies have another within one field" in text
    assert "sorted by class" in text
    assert "48 chunks" in text
    assert "Missing for 4 of 60 galaxies." in text
    assert "<b>spiral" not in text
    names = {path.stem for path in (tmp_path / "out/figures").iterdir()}
    assert names == {"class_counts", "channels", "redshift", "pxscale", "samples"}


def test_a_file_of_pixels_and_labels_alone(tmp_path):
    file = write_file(tmp_path / "galaxies.h5", positions=False)
    with h5py.File(file, "a") as opened:
        opened["images"][3, 5:] = 255
    text = inspect_file(file, tmp_path / "out").read_text()
    assert "1 saturated" in text
    assert "holds no positions" in text
    assert "The file holds neither." in text
    assert ">nan<" not in text
    assert ">None<" not in text


def test_only_the_published_file_gets_its_class_names(tmp_path, monkeypatch):
    file = write_file(tmp_path / "Galaxy10_DECals.h5")
    with h5py.File(file, "a") as opened:
        del opened["ans"].attrs["class_names"]
    assert "Round Smooth" not in inspect_file(file, tmp_path / "out").read_text()
    monkeypatch.setattr("galaxy10.data.published.VARIANTS", {"full": (20, 20, 20)})
    monkeypatch.setattr("galaxy10.data.published.GALAXY10_CLASSES", ("Round Smooth", "b", "c"))
    monkeypatch.setattr("galaxy10.data.published.PUBLISHED_PX", 32)
    assert "Round Smooth" in inspect_file(file, tmp_path / "out").read_text()


def test_channel_statistics_are_those_of_all_pixels():
    images = np.random.default_rng(1).integers(0, 256, (700, 9, 8, 3), dtype=np.uint8)
    pixels = pixel_stats(images)
    np.testing.assert_allclose(pixels.mean, images.mean(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(pixels.std, images.std(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(pixels.saturated, (images == 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(pixels.brightness, images.mean(axis=(1, 2, 3)) / 255)


def test_a_wrong_file_is_one_line(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    for path in (tmp_path / "text.h5", tmp_path / "gone.h5"):
        with pytest.raises(Galaxy10Error) as caught:
            inspect_file(path, tmp_path / "out")
        assert "\n" not in str(caught.value)
