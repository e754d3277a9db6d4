"""Folders of labelled images: the usual layouts are recognised, the others refused with what they could mean."""

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.data.folder_layout import find_classes
from galaxy10.data.hdf5 import open_source
from galaxy10.data.pack import pack
from galaxy10.data.split import make_split
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy


def tree(folder, *patterns, number=2):
    for place, pattern in enumerate(patterns):
        (folder / pattern).mkdir(parents=True, exist_ok=True)
        for seed in range(number):
            Image.fromarray(galaxy(100 * place + seed)).save(folder / pattern / f"{seed}.png")
    return folder


SPLIT = [f"{subset}/{name}" for subset in ("train", "Validation", "test") for name in ("smooth", "spiral")]


def test_split_folders_are_no_classes_and_their_split_can_be_used(tmp_path):
    pack(tree(tmp_path / "set", *SPLIT), tmp_path / "p.h5")
    source = open_source(tmp_path / "p.h5")
    assert source.names == ("smooth", "spiral")
    assert source.table["given_subset"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}
    table = source.table.assign(pixel_hash=np.arange(12), blank=False)
    split = make_split(table, "x", source.names, protocol="file")
    assert (split.table["subset"] == table["given_subset"]).all()
    assert not any("split" in note for note in split.notes)


def test_class_folders_may_hold_split_folders(tmp_path):
    found = find_classes(tree(tmp_path, "a/train", "a/test", "b/train", "b/test"))
    assert found.names == ["a", "b"]
    assert found.subsets == ["test", "test", "train", "train"] * 2


@pytest.mark.parametrize(
    ("folders", "message", "level"),
    [
        (["train", "test"], "train in .* could be classes .* or subsets that hold images without classes", 1),
        (["spiral", "smooth", "test"], "could be classes .* or subsets, and smooth, spiral is not", 1),
        (["north/a", "north/b", "south/a", "south/b"], "or the classes are a, b", 2),
    ],
)
def test_what_could_mean_several_things_is_refused_and_can_be_said(tmp_path, folders, message, level):
    folder = tree(tmp_path, *folders)
    with pytest.raises(Galaxy10Error, match=message) as caught:
        find_classes(folder)
    assert "\n" not in str(caught.value)
    found = find_classes(folder, level)
    assert found.names == sorted({path.split("/")[level - 1] for path in folders})
    assert found.subsets is None


def test_folders_inside_class_folders_are_no_matter(tmp_path):
    assert find_classes(tree(tmp_path, "a/x", "a/y", "b/x", "b")).names == ["a", "b"]


def split_of(given, labels, drop="redshift", **columns):
    number = len(given)
    table = pd.DataFrame(
        {"row": range(number), "label": labels, "ra": np.nan, "redshift": 0.1, "dec": np.nan, "blank": False}
    )
    table = table.assign(pixel_hash=np.arange(number), given_subset=given).assign(**columns).drop(columns=drop)
    return make_split(table, "x", ("a", "b"), protocol="file")


def test_the_split_of_a_file_is_kept_and_checked():
    given = ["train"] * 40 + ["test"] * 10
    split = split_of([*given, ""], [*[0, 1] * 25, 0])
    assert split.counts() == {"train": 36, "val": 4, "test": 10, "dropped": 1}
    assert any("a tenth of its training images" in note for note in split.notes)
    spread = split_of(["train"] * 8 + ["val", "test"], [0, 1] * 5, group=[0, *range(1, 9), 1])
    assert any(note.startswith("2 images overlap with images in another subset") for note in spread.notes)
    with pytest.raises(Galaxy10Error, match="no test images"):
        split_of(["train"] * 9 + ["val"], [0, 1] * 5)
    with pytest.raises(Galaxy10Error, match="class 'b' has no training images"):
        split_of(["train"] * 5 + ["val"] * 3 + ["test"] * 2, [0] * 5 + [1] * 5)


def test_a_file_without_a_split_has_none_to_use():
    with pytest.raises(Galaxy10Error, match=r"needs a data set or column `subset`.*type data.protocol=default"):
        split_of(["train", "test"], [0, 1], drop="given_subset")


def test_the_split_of_a_table_is_kept(tmp_path):
    tree(tmp_path, "a", "b")
    paths = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    pd.DataFrame({"path": paths, "label": list("aabb"), "split": ["Training", "test", "train", "dev"]}).to_csv(
        tmp_path / "list.csv"
    )
    pack(tmp_path / "list.csv", tmp_path / "p.h5")
    assert open_source(tmp_path / "p.h5").table["given_subset"].tolist() == ["train", "test", "train", "val"]
    with h5py.File(tmp_path / "p.h5", "r+") as file:
        del file["subset"]
        file["subset"] = np.arange(4)  # something else of this name
    assert "given_subset" not in open_source(tmp_path / "p.h5").table
