"""Layouts of folders"""

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


def test_split_folders_are_no_classes_and_their_split_can_be_used(tmp_path, says):
    """`galaxy10 pack set` of `set/{train,Validation,test}/{smooth,spiral}/*.png`."""
    pack(tree(tmp_path / "set", *SPLIT), tmp_path / "p.h5")
    source = open_source(tmp_path / "p.h5")
    assert source.names == ("smooth", "spiral")
    assert source.table["given_subset"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}
    table = source.table.assign(pixel_hash=np.arange(12), blank=False)
    split = make_split(table, "x", source.names, protocol="file")
    assert (split.table["subset"] == table["given_subset"]).all()
    assert not any("split" in note for note in split.notes)
    says("classes smooth and spiral; data.protocol=file keeps the split of the folders")


def test_class_folders_may_hold_split_folders(tmp_path, says):
    """`set/{a,b}/{train,test}/*.png`."""
    found = find_classes(tree(tmp_path, "a/train", "a/test", "b/train", "b/test"))
    assert found.names == ["a", "b"]
    assert found.subsets == ["test", "test", "train", "train"] * 2
    says("classes a and b; train and test are their split")


@pytest.mark.parametrize(
    ("folders", "message", "level"),
    [
        (["train", "test"], "train in .* could be classes .* or subsets that hold images without classes", 1),
        (["spiral", "smooth", "test"], "could be classes .* or subsets, and smooth, spiral is not", 1),
        (["north/a", "north/b", "south/a", "south/b"], "or the classes are a, b", 2),
    ],
    ids=["train/*.png", "test beside classes", "north/a, south/a"],
)
def test_what_could_mean_several_things_is_refused_and_can_be_said(tmp_path, folders, message, level, says):
    """A tree of folders that could mean several things."""
    folder = tree(tmp_path, *folders)
    with pytest.raises(Galaxy10Error, match=message) as caught:
        find_classes(folder)
    assert "\n" not in str(caught.value)
    found = find_classes(folder, level)
    assert found.names == sorted({path.split("/")[level - 1] for path in folders})
    assert found.subsets is None
    says(str(caught.value))


def test_folders_inside_class_folders_are_no_matter(tmp_path, says):
    """Class folders with folders of their own: `a/x`, `a/y`, `b/x`, `b`."""
    assert find_classes(tree(tmp_path, "a/x", "a/y", "b/x", "b")).names == ["a", "b"]
    says("classes a and b")


def test_the_split_of_a_table_is_kept(tmp_path, says):
    """A table has a column `split` with Training, test, train and dev."""
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
    says("kept as train, test, train and val; other columns of this name are ignored")
