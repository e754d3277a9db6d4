"""Inputs become one sequence of images with their columns, and are recognised by a digest."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from PIL import Image

from galaxy10.data.inputs import find_inputs, images_below
from galaxy10.data.path_tables import read_path_table
from tests.galaxies import galaxy


def digest(*words: Path) -> tuple[str, str]:
    """What inputs are recognised by."""
    inputs = find_inputs([str(word) for word in words])
    return inputs.digest(), inputs.file_sizes(range(len(inputs)))


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
    assert table["name"].to_pylist() == ["NGC 1", "", "Mÿ"]
    assert table["input_path"].to_pylist() == ["a.png", "b.png", "ö.png"]
    assert table["ra"].to_pylist()[:2] == [1.5, 2.5]
    assert np.array_equal(inputs.read(1).pixels[..., 0], grey[1])


def test_identifiers_of_a_table_keep_their_digits(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,objid,specobjid,z,plate,label,flag\n"
        "a.png,1237648720693755918,00123,0.5,  7,0,True\n"
        "b.png,, 04567,,8,,\n"
        "0012,1237648720693755919,,0.25,-9,1,False\n"
    )
    table, _ = read_path_table(tmp_path / "list.csv", None)
    assert table["path"].to_pylist() == ["a.png", "b.png", "0012"]
    assert table["objid"].to_pylist() == [1237648720693755918, None, 1237648720693755919]
    assert table["specobjid"].to_pylist() == ["00123", "04567", None]
    assert table["z"].to_pylist() == [0.5, None, 0.25]
    assert table["plate"].to_pylist() == [7, 8, -9]
    assert table["flag"].to_pylist() == [True, None, False]
    pq.write_table(table, tmp_path / "list.parquet")
    again, _ = read_path_table(tmp_path / "list.parquet", None)
    assert again["objid"].to_pylist() == table["objid"].to_pylist()


def test_linked_folders_count_once_and_loops_end(tmp_path):
    for name in ("cutouts/a.png", "disk/north/b.png", "disk/.hidden/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "cutouts/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "cutouts/twice").symlink_to(tmp_path / "disk/north")
    (tmp_path / "disk/back").symlink_to(tmp_path / "cutouts")
    found = [os.path.relpath(path, tmp_path) for path in images_below(tmp_path / "cutouts")]
    assert found == ["cutouts/a.png", "cutouts/linked/north/b.png"]
