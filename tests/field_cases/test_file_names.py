"""Names and folders of the file system"""

import os

import h5py
import numpy as np
import pytest
from PIL import Image

from galaxy10.data.inputs import find_inputs
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy


@pytest.mark.parametrize("name", [b"b\xff.png", b"s\xff.h5"], ids=ascii)
def test_names_that_are_no_text_are_escaped(name, tmp_path, says):
    """One file name of a folder is not UTF-8."""
    folder = tmp_path / "images"
    folder.mkdir()
    if name.endswith(b"h5"):
        with h5py.File(folder / "plain", "w") as file:
            file["images"] = galaxy()[None]
    else:
        Image.fromarray(galaxy()).save(folder / "plain", "png")
    os.rename(os.fsencode(folder / "plain"), os.path.join(os.fsencode(folder), name))
    inputs = find_inputs([str(folder)] if name.endswith(b"png") else [os.fsdecode(os.fsencode(folder) + b"/" + name)])
    path = inputs.columns["path"][0].as_py()
    assert path.endswith(("b\\xff.png", "s\\xff.h5"))
    assert np.array_equal(inputs.read(0).pixels, galaxy())
    says(f"read; the catalogue calls it {os.path.basename(path)}")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch, says):
    """One folder among the images cannot be listed."""
    (tmp_path / "images/locked").mkdir(parents=True)
    (tmp_path / "images/a.png").touch()
    scandir = os.scandir

    def refusing(path):  # permissions do not keep root out
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refusing)
        with pytest.raises(Galaxy10Error, match=r"images/locked cannot be listed \(Permission denied\)") as refused:
            find_inputs([str(tmp_path / "images")])
    says(str(refused.value))
