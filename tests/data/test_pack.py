"""Labelled images of one's own become a file that training reads."""

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from PIL import Image

from galaxy10.data.hdf5 import open_source
from galaxy10.data.pack import pack
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images, one of them of another size and one broken."""
    for k, name in enumerate(("Spiral", "Edge-on")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for seed in range(4):
            Image.fromarray(galaxy(10 * k + seed)).save(tmp_path / "mine" / name / f"{seed}.png")
    Image.fromarray(galaxy(5, (96, 64))).save(tmp_path / "mine/Spiral/3.png")
    (tmp_path / "mine/Edge-on/2.png").write_bytes(b"")
    return tmp_path / "mine"


def test_a_folder_per_class(folder, here, tmp_path):
    done = here("galaxy10", "pack", folder, "mine.h5")
    assert done.code == 3, done.err
    assert done.out.strip() == "mine.h5"
    source = open_source(tmp_path / "mine.h5")
    assert source.names == ("Edge-on", "Spiral")
    assert source.table["label"].tolist() == [0, 0, 0, 1, 1, 1, 1]
    with h5py.File(tmp_path / "mine.h5") as file:
        images, paths = file["images"][:], file["path"].asstr()[:]
    assert images.shape == (7, 32, 32, 3)
    assert paths[0].endswith("mine/Edge-on/0.png")
    assert np.array_equal(images[0], galaxy(10))  # of the file's size already: not a bit changed
    central = galaxy(5, (96, 64))[16:80].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(images[6].astype(float) - central).mean() < 8
    failed = pd.read_csv(tmp_path / "mine.failed.csv")
    assert failed["reason"].tolist() == ["empty file (0 bytes)"]
    again = here("galaxy10", "pack", folder, "mine.h5")
    assert again.code == 2
    assert "exists already" in again.message


def test_a_table_of_paths_and_labels(folder, tmp_path):
    table = pd.DataFrame(
        {
            "path": [f"mine/{name}/{seed}.png" for name in ("Spiral", "Edge-on") for seed in (0, 1)],
            "label": ["spiral", "merger", None, "merger"],
            "ra": [10.0, 11.0, 12.0, 13.0],
        }
    )
    table.to_csv(tmp_path / "list.csv", index=False)
    assert pack(tmp_path / "list.csv", tmp_path / "t.h5", size=48) == {"catalogued": 3, "failed": 1}
    source = open_source(tmp_path / "t.h5")
    assert source.names == ("merger", "spiral")
    assert source.table["label"].tolist() == [1, 0, 0]
    assert source.table["ra"].tolist() == [10.0, 11.0, 13.0]
    assert (source.height, source.width) == (48, 48)
    assert pd.read_csv(tmp_path / "t.failed.csv")["reason"].tolist() == ["no label"]
    table.assign(label=[2, 0, 1, 1]).to_parquet(tmp_path / "numbers.parquet")
    pack(tmp_path / "numbers.parquet", tmp_path / "n.h5")
    assert open_source(tmp_path / "n.h5").table["label"].tolist() == [2, 0, 1, 1]
    table.assign(label=pd.array([2, None, 0, 1], dtype="Int64")).to_csv(tmp_path / "gap.csv", index=False)
    assert pack(tmp_path / "gap.csv", tmp_path / "gap.h5")["failed"] == 1
    assert open_source(tmp_path / "gap.h5").table["label"].tolist() == [2, 0, 1]


def test_what_cannot_become_a_file_is_refused_and_leaves_none(folder, tmp_path):
    with pytest.raises(Galaxy10Error, match="has 0 folders with images"):
        pack(folder / "Spiral", tmp_path / "a.h5")
    pd.DataFrame({"path": ["mine/Spiral/0.png", "x.png"], "label": ["a", "b"]}).to_csv(tmp_path / "l.csv")
    with pytest.raises(Galaxy10Error, match=r"1 can be used, of 1 class; .*x.png: no such file"):
        pack(tmp_path / "l.csv", tmp_path / "a.h5")
    with pytest.raises(Galaxy10Error, match=r"has no column class.*--label-column"):
        pack(tmp_path / "l.csv", tmp_path / "a.h5", label_column="class")
    assert not list(tmp_path.glob("*a.h5*"))


def test_what_a_fits_table_leaves_empty_is_neither_a_class_nor_a_file(folder, tmp_path):
    paths = ["mine/Spiral/0.png", "mine/Spiral/1.png", "mine/Edge-on/0.png", ""]
    Table({"path": paths, "label": ["spiral", "", "edge-on", "edge-on"]}).write(tmp_path / "list.fits")
    assert pack(tmp_path / "list.fits", tmp_path / "f.h5") == {"catalogued": 2, "failed": 2}
    assert open_source(tmp_path / "f.h5").names == ("edge-on", "spiral")
    reasons = pd.read_csv(tmp_path / "f.failed.csv")["reason"].tolist()
    assert reasons == ["no label", "the table has no path in this line"]


def test_labels_may_be_a_column_that_a_catalogue_uses_itself(folder, tmp_path):
    table = pd.DataFrame({"path": [f"mine/Spiral/{i}.png" for i in range(3)], "predicted": ["b", "a", "b"]})
    table.assign(input_predicted="c").to_parquet(tmp_path / "cat.parquet")
    pack(tmp_path / "cat.parquet", tmp_path / "new.h5", label_column="predicted")
    source = open_source(tmp_path / "new.h5")
    assert source.names == ("a", "b")
    assert source.table["label"].tolist() == [1, 0, 1]
    with pytest.raises(Galaxy10Error, match="cannot hold both"):
        pack(tmp_path / "cat.parquet", tmp_path / "no.h5", label_column="path")


def test_broken_arrays_among_the_first_are_listed(folder, tmp_path):
    np.save(tmp_path / "mine/Spiral/00.npy", galaxy())
    whole = (tmp_path / "mine/Spiral/00.npy").read_bytes()
    (tmp_path / "mine/Spiral/00.npy").write_bytes(whole[:-100])
    np.save(tmp_path / "mine/Edge-on/00.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    assert pack(folder, tmp_path / "mine.h5")["failed"] == 3
    assert pd.read_csv(tmp_path / "mine.failed.csv")["reason"].str.startswith("broken: ValueError").sum() == 2


def test_the_pixel_scale_is_that_of_the_resized_images(folder, tmp_path):
    Image.fromarray(galaxy(1, (64, 96))).save(tmp_path / "big.png")
    paths = ["mine/Spiral/0.png", "big.png", "mine/Edge-on/0.png"]
    pd.DataFrame({"path": paths, "label": list("aab"), "pxscale": [0.4, 0.1, None]}).to_csv(tmp_path / "l.csv")
    pack(tmp_path / "l.csv", tmp_path / "p.h5", size=16)
    assert np.allclose(open_source(tmp_path / "p.h5").table["pxscale"], [0.8, 0.4, np.nan], equal_nan=True)
