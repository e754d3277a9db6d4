import h5py
import numpy as np
import pytest

from galaxy10.data.hdf5 import open_source
from galaxy10.errors import Galaxy10Error
from tests.galaxies import write_galaxies


def test_names_come_from_the_user_then_the_file_then_are_numbers(tmp_path):
    named = write_galaxies(tmp_path / "named.h5", names=["spiral", "elliptical", "edge-on"])
    bare = write_galaxies(tmp_path / "bare.h5")
    assert open_source(named, ["a", "b", "c"]).names == ("a", "b", "c")
    assert open_source(named).names == ("spiral", "elliptical", "edge-on")
    assert open_source(bare).names == ("0", "1", "2")


def test_only_images_and_labels_are_required(galaxies):
    source = open_source(galaxies)
    assert source.table[["ra", "dec", "redshift", "pxscale"]].isna().all().all()
    assert (source.num_images, source.height, source.num_classes) == (36, 32, 3)


def test_placeholders_are_no_positions(galaxies):
    ra, dec = np.linspace(10, 40, 36), np.zeros(36)
    ra[:4], dec[:4] = [-999, 0, np.nan, 12], [-999, 0, 3, 91]
    with h5py.File(galaxies, "a") as file:
        file["ra"], file["dec"] = ra, dec
    table = open_source(galaxies).table
    assert table["ra"].isna().tolist() == [True] * 4 + [False] * 32
    assert table["dec"].isna().tolist() == [True, True, False, True] + [False] * 32


def remove(key):
    def change(file):
        del file[key]

    return change


def put(key, value):
    def change(file):
        del file[key]
        file[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("ans"), "has no dataset `ans`; it holds images"),
        (remove("images"), "has no dataset `images`"),
        (put("images", np.zeros((36, 32, 32), np.uint8)), r"shape \(36, 32, 32\); expected \(N, H, W, 3\) uint8"),
        (put("images", np.zeros((36, 3, 32, 32), np.uint8)), "expected"),
        (put("images", np.zeros((36, 32, 32, 3), np.float32)), "is float32; expected"),
        (put("images", np.zeros((0, 32, 32, 3), np.uint8)), "holds no image"),
        (put("images", np.zeros((36, 4, 4, 3), np.uint8)), "at least 8 px"),
        (put("ans", np.zeros(35, np.uint8)), r"`ans` has shape \(35,\); expected \(36,\)"),
        (put("ans", np.zeros((36, 3), np.uint8)), "one label per image"),
        (put("ans", np.zeros(36, np.float32)), "`ans` is float32; expected whole numbers"),
        (put("ans", np.full(36, -1)), "negative label -1"),
        (put("ans", np.zeros(36, np.uint8)), "at least two classes"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(galaxies, change, message):
    with h5py.File(galaxies, "r+") as file:
        change(file)
    with pytest.raises(Galaxy10Error, match=message) as caught:
        open_source(galaxies)
    assert "\n" not in str(caught.value)


def test_labels_beyond_the_class_names_are_refused(galaxies):
    with pytest.raises(Galaxy10Error, match="holds label 2, but there are only 2 class names"):
        open_source(galaxies, ["a", "b"])


def test_files_that_are_no_hdf5(tmp_path, galaxies):
    empty, text, cut = tmp_path / "empty.h5", tmp_path / "text.h5", tmp_path / "cut.h5"
    empty.touch()
    text.write_text("hello")
    cut.write_bytes(galaxies.read_bytes()[:-5000])
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none.h5", "does not exist"),
        (empty, r"is empty \(0 bytes\)"),
        (text, "is not an HDF5 file"),
        (cut, "is truncated"),
    ):
        with pytest.raises(Galaxy10Error, match=message):
            open_source(path)
