"""Tables of other programs"""

import gzip
import logging

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from galaxy10.data.hdf5 import open_source
from galaxy10.data.inputs import find_inputs
from galaxy10.data.pack import pack
from galaxy10.data.path_tables import read_path_table
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy


@pytest.fixture
def images(tmp_path):
    for seed in range(4):
        Image.fromarray(galaxy(seed)).save(tmp_path / f"{seed}.png")
    return [f"{seed}.png" for seed in range(4)]


@pytest.mark.parametrize("separator", [";", "\t", "|", " "], ids=["semicolons", "tabs", "bars", "blanks"])
def test_decimal_commas(images, tmp_path, says, separator):
    """decimal commas, as Excel writes them in many countries"""
    rows = [
        ["path", "label", "ra", "dec", "redshift", "flux", "note"],
        ["0.png", "1,5", "150,25", "2,5", "0,1", "1.234,5", "1,2"],
        ["1.png", "2,5", "10:20:31,1", "-5,5", "NA", "7", "x"],
        ["2.png", "1,5", "12,5", "1", "", "-1,5e3", "y"],
        ["3.png", "2,5", "13", "0,5", "0,3", "0,0", "z"],
    ]
    if separator == " ":
        rows[3][4] = "NA"
    (tmp_path / "list.dat").write_text("\n".join(separator.join(row) for row in rows))
    pack(tmp_path / "list.dat", tmp_path / "p.h5")
    source = open_source(tmp_path / "p.h5")
    assert source.names == ("1,5", "2,5")  # labels are texts
    assert source.table["ra"].tolist() == pytest.approx([150.25, 15 * (10 + 20 / 60 + 31.1 / 3600), 12.5, 13])
    assert source.table["dec"].tolist() == [2.5, -5.5, 1, 0.5]
    assert source.table["redshift"].tolist() == pytest.approx([0.1, np.nan, np.nan, 0.3], nan_ok=True)
    table, _ = read_path_table(tmp_path / "list.dat", None)
    assert table["flux"].to_pylist() == [1234.5, 7, -1500, 0]
    assert table["note"].to_pylist() == ["1,2", "x", "y", "z"]
    says("read as numbers; labels stay texts")


@pytest.mark.parametrize(
    "name", ["list", "list.lis", "list.csv.gz", "list.ecsv", "list.xml", "list.vot", "cat.fits.gz", "commented.txt"]
)
def test_the_content_of_a_table_decides(images, tmp_path, says, name):
    """a table under any name: no suffix, gzip, ECSV, VOTable, FITS in gzip, header as a comment"""
    table = pd.DataFrame({"path": images, "label": [*"abab"], "ra": [1.5, 2.5, 3.5, 4.5]})
    if name.endswith((".ecsv", ".xml", ".vot", ".fits.gz")):
        kind = {"ecsv": "ascii.ecsv", "xml": "votable", "vot": "votable", "gz": "fits"}[name.rpartition(".")[2]]
        Table.from_pandas(table).write(tmp_path / name, format=kind)
    elif name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(table.to_csv(index=False).encode()))
    elif name == "commented.txt":
        text = table.to_csv(index=False, sep=" ", header=False)
        (tmp_path / name).write_text(f"# made by hand\n# path label ra\n{text}")
    else:
        (tmp_path / name).write_text(table.to_csv(index=False))
    inputs = find_inputs([str(tmp_path / name)])
    assert inputs.columns.column_names == ["path", "row", "label", "ra"]
    assert inputs.columns["ra"].to_pylist() == [1.5, 2.5, 3.5, 4.5]
    assert np.array_equal(inputs.read(3).pixels, galaxy(3))
    pack(tmp_path / name, tmp_path / "p.h5")
    assert open_source(tmp_path / "p.h5").names == ("a", "b")
    says("read")


def test_notes_beside_images_are_no_table(images, tmp_path):
    (tmp_path / "README.md").write_text("# Images, cut out by hand\nof M31, M33\n")
    (tmp_path / "LICENSE").write_text("free, as in path finding")
    inputs = find_inputs([str(tmp_path / "*")])
    assert len(inputs) == 6  # two of them cannot be read, and are listed as such


def test_an_hdf5_file_under_any_name(tmp_path, says):
    """an HDF5 file whose name does not say so: survey.hdf, survey"""
    for name in ("survey.hdf", "survey"):
        with h5py.File(tmp_path / name, "w", userblock_size=512) as file:
            file["images"] = np.stack([galaxy(seed) for seed in range(2)])
        assert len(find_inputs([str(tmp_path / name)])) == 2
    says("read")


def test_coordinates_under_other_names_and_units(images, tmp_path, says):
    """coordinates as RAJ2000 and DEJ2000, or in radians by the unit of a FITS column"""
    table = pd.DataFrame({"path": images, "label": [*"abab"], "RAJ2000": [10.0, 20, 30, 40], "DEJ2000": [1.0, 2, 3, 4]})
    table.to_csv(tmp_path / "v.csv", index=False)
    pack(tmp_path / "v.csv", tmp_path / "v.h5")
    radians = Table.from_pandas(table.rename(columns={"RAJ2000": "ra", "DEJ2000": "dec"}))
    for name in ("ra", "dec"):
        radians[name] = np.radians(radians[name])
        radians[name].unit = "rad"
    radians.write(tmp_path / "r.fits")
    pack(tmp_path / "r.fits", tmp_path / "r.h5")
    for file in ("v.h5", "r.h5"):
        positions = open_source(tmp_path / file).table
        assert positions["ra"].tolist() == pytest.approx([10, 20, 30, 40])
        assert positions["dec"].tolist() == pytest.approx([1, 2, 3, 4])
    says("kept, in degrees")


def test_numbers_that_are_none_are_counted(images, tmp_path, says, caplog, monkeypatch):
    """pxscale, which decides which images overlap, is not a number"""
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)
    caplog.set_level("INFO", logger="galaxy10")
    table = pd.DataFrame({"path": images, "label": [*"abab"], "pxscale": ["0.2", "?", "0.3", ""]})
    table.to_csv(tmp_path / "l.csv", index=False)
    pack(tmp_path / "l.csv", tmp_path / "p.h5")
    assert "1 of 3 values of pxscale are no numbers ('?')" in caplog.text
    table.assign(pxscale="0.2 arcsec").to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(Galaxy10Error, match="none of the 4 values of pxscale is a number") as refused:
        pack(tmp_path / "m.csv", tmp_path / "q.h5")
    says(str(refused.value))


def test_a_fits_file_of_several_tables(images, tmp_path, says):
    """a FITS file of several tables: the one with the paths, not the first"""
    log = fits.BinTableHDU(Table({"night": [1, 2]}), name="LOG")
    good = fits.BinTableHDU(Table({"path": images, "label": [*"abab"]}), name="GALAXIES")
    fits.HDUList([fits.PrimaryHDU(), log, good]).writeto(tmp_path / "t.fits")
    assert find_inputs([str(tmp_path / "t.fits")]).columns["path"].to_pylist() == images
    good.name = "MORE"
    fits.HDUList([fits.PrimaryHDU(), log, good, good]).writeto(tmp_path / "u.fits")
    with pytest.raises(
        Galaxy10Error, match=r"3 tables \(1 LOG, 2 MORE, 3 MORE\), of which 2 have a column path"
    ) as refused:
        find_inputs([str(tmp_path / "u.fits")])
    says(str(refused.value))


def test_bytes_in_a_parquet_table(images, tmp_path, says):
    """paths and labels as bytes in a Parquet table"""
    table = pd.DataFrame({"path": [name.encode() for name in images], "label": ["é".encode("latin-1"), b"b"] * 2})
    table.to_parquet(tmp_path / "l.parquet")
    pack(tmp_path / "l.parquet", tmp_path / "p.h5")
    assert open_source(tmp_path / "p.h5").names == ("b", "é")
    says("read as texts")
