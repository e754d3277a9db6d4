"""What a user points at becomes one row of pictures, with the columns that came along, and is known again."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from PIL import Image

from galaxy10.inference.inputs import find_inputs
from tests.inference.conftest import galaxy


def digest(*words: Path) -> str:
    """Inputs by their name."""
    return find_inputs([str(word) for word in words]).digest()


def test_inputs_are_known_again_and_changed_ones_are_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        Image.fromarray(galaxy(seed)).save(f"{seed}.png")
    table = pd.DataFrame({"path": ["0.png", "1.png", "gone.png"], "z": [0.1, None, 0.3], "name": ["a", None, "c"]})
    table.to_csv("list.csv", index=False)
    digests = [digest("list.csv")]
    assert digest("list.csv") == digests[0]
    for other in (table.assign(z=[0.1, 0.0, 0.3]), table.assign(name=["a", "b", "c"]), table.assign(new=1)):
        other.to_csv("list.csv", index=False)
        digests.append(digest("list.csv"))
    table.rename(columns={"z": "redshift"}).to_csv("list.csv", index=False)
    digests.append(digest("list.csv"))
    table.to_csv("list.csv", index=False)
    shutil.copy("2.png", "gone.png")
    digests.append(digest("list.csv"))
    digests.append(digest("0.png", "1.png"))
    Path("1.png").write_bytes(b"")
    digests.append(digest("0.png", "1.png"))
    digests.append(digest("list.csv"))
    assert len(set(digests)) == len(digests)


def test_an_hdf5_file_packed_again_is_another_and_a_copy_is_not(tmp_path, monkeypatch):
    def write(seed: int) -> None:
        with h5py.File("mine.h5", "w") as file:
            file["images"] = np.stack([galaxy(seed + i) for i in range(40)])

    monkeypatch.chdir(tmp_path)
    write(0)
    first = digest("mine.h5")
    (tmp_path / "elsewhere").mkdir()
    shutil.copyfile("mine.h5", "elsewhere/mine.h5")  # another date
    write(1)
    assert digest("mine.h5") != first
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert digest("mine.h5") == first


def test_columns_of_an_hdf5_file_come_along_in_any_byte_order_and_under_names_of_their_own(tmp_path):
    with h5py.File(tmp_path / "survey.h5", "w") as file:
        grey = np.stack([galaxy(i)[..., 0] for i in range(3)])
        file["images"] = (grey.astype(np.uint16) * 257).astype(">u2")
        file["ra"] = np.array([1.5, 2.5, np.nan], dtype=">f8")
        file["predicted"], file["p_spiral"], file["filled"] = np.arange(3), np.arange(3, dtype=">i2"), np.zeros(3)
        file["name"] = np.array([b"NGC 1", b"", b"M\xff"])
        file.create_dataset("path", data=["a.png", "b.png", "ö.png"], dtype=h5py.string_dtype())
        file["other"] = np.arange(4)
    inputs = find_inputs([str(tmp_path / "survey.h5")])
    table = inputs.columns
    assert table.column_names == [
        *("path", "row", "input_filled", "name", "input_p_spiral", "input_path", "input_predicted", "ra")
    ]
    assert table["name"].to_pylist() == ["NGC 1", "", "M\ufffd"]
    assert table["input_path"].to_pylist() == ["a.png", "b.png", "ö.png"]
    assert table["ra"].to_pylist()[:2] == [1.5, 2.5]
    assert np.array_equal(inputs.read(1).pixels[..., 0], grey[1])
