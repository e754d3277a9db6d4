"""Tables: words, coordinates and kinds of files"""

import logging

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.data.coordinates import column_named, read_degrees, unit_remark
from galaxy10.data.hdf5 import open_source
from galaxy10.data.inputs import find_inputs
from galaxy10.data.pack import pack
from galaxy10.data.path_tables import read_path_table
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy, write_galaxies


@pytest.fixture
def images(tmp_path):
    for seed in range(6):
        Image.fromarray(galaxy(seed)).save(tmp_path / f"{seed}.png")
    return [f"{seed}.png" for seed in range(6)]


def test_words_for_missing_values_are_classes(images, tmp_path, says):
    """Classes are called NA, None, null, nan or N/A in a table."""
    words = ["NA", "None", "null", "nan", "N/A", ""]
    lines = [
        "path,label,ra,RA2",
        *(f"{path},{word},{n if n else 'NA'},x" for n, (path, word) in enumerate(zip(images, words, strict=True))),
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert pack(tmp_path / "list.csv", tmp_path / "p.h5") == {"catalogued": 5, "failed": 1}
    assert open_source(tmp_path / "p.h5").names == ("N/A", "NA", "None", "nan", "null")
    pd.DataFrame({"path": images, "label": [*"001122"]}).assign(label=["0", "NA"] * 3).to_csv(tmp_path / "n.csv")
    pack(tmp_path / "n.csv", tmp_path / "n.h5")
    assert open_source(tmp_path / "n.h5").names == ("0", "NA")
    says("all five are classes; only an empty label is none")


def test_a_table_in_latin_1_is_read(images, tmp_path, says):
    """A table of paths and labels is written in latin-1."""
    pd.DataFrame({"path": images, "label": ["irrégulière", "spirale"] * 3}).to_csv(
        tmp_path / "l.csv", encoding="latin-1"
    )
    table, names = read_path_table(tmp_path / "l.csv", None, "label")
    assert table[names["label"]][0].as_py() == "irrégulière"
    says("read: irrégulière, spirale")


@pytest.mark.parametrize(
    ("key", "text", "degrees"),
    [
        ("ra", "10:20:31.1", 15 * (10 + 20 / 60 + 31.1 / 3600)),
        ("ra", "10h20m31.1s", 15 * (10 + 20 / 60 + 31.1 / 3600)),
        ("ra", "155d07m46s", 155 + 7 / 60 + 46 / 3600),
        ("ra", "155.1", 155.1),
        ("dec", "-00:30:00", -0.5),
        ("dec", "−05 30 36", -5.51),
        ("dec", "+5d30m", 5.5),
        ("dec", "5°30'36\"", 5.51),
    ],
)
def test_degrees_and_sexagesimal_are_read(key, text, degrees, says):
    """Coordinates are sexagesimal."""
    assert read_degrees([text, "", None], key, "f")[0][0] == pytest.approx(degrees)
    says(f"{text} is {degrees:.5f}°")


@pytest.mark.parametrize(
    ("key", "text"), [("ra", "25:00:00"), ("ra", "10:61:00"), ("dec", "91:00:00"), ("dec", "5h30m"), ("ra", "1,0,5")]
)
def test_what_is_no_coordinate_is_counted(key, text, says):
    """A coordinate cannot be read."""
    values, remark = read_degrees(["1.5", text, "nan", None], key, "f.csv")
    assert np.isfinite(values).tolist() == [True, False, False, False]
    assert remark == f"f.csv: 1 of 2 values of {key} cannot be read (the first is {text!r})"
    with pytest.raises(Galaxy10Error, match=f"none of the 2 values of {key} .*--no-coordinates"):
        read_degrees([text, text, ""], key, "f.csv")
    says(remark)


def test_coordinates_of_a_table_are_kept_in_any_case(images, tmp_path, caplog, monkeypatch, says):
    """Columns are called RA and Dec, or RA and Ra."""
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)
    caplog.set_level("INFO", logger="galaxy10")
    table = pd.DataFrame(
        {"path": images, "label": [*"ababab"], "RA": ["10:00:00"] * 5 + ["?"], "Dec": ["-5:30:00"] * 6}
    )
    table.to_csv(tmp_path / "l.csv")
    pack(tmp_path / "l.csv", tmp_path / "p.h5")
    positions = open_source(tmp_path / "p.h5").table
    assert positions["ra"].tolist()[:5] == [150.0] * 5
    assert positions["dec"].tolist() == [-5.5] * 6
    assert "1 of 6 values of ra cannot be read (the first is '?')" in caplog.text
    table.assign(RA="?").to_csv(tmp_path / "l.csv")
    with pytest.raises(Galaxy10Error, match="none of the 6 values of ra"):
        pack(tmp_path / "l.csv", tmp_path / "q.h5")
    pack(tmp_path / "l.csv", tmp_path / "q.h5", coordinates=False)
    assert open_source(tmp_path / "q.h5").table["dec"].isna().all()
    with pytest.raises(Galaxy10Error, match="has the columns RA and Ra; rename all but one") as twice:
        column_named(["RA", "Ra"], "ra", "f")
    says(f"RA and Dec are read; otherwise: {twice.value}")


def test_coordinates_of_an_hdf5_file_are_kept_in_any_case_and_never_lost_in_silence(galaxies, tmp_path, says):
    """An HDF5 file has RA and DEC, only one of them, or both in arcseconds."""
    with h5py.File(galaxies, "a") as file:
        file["RA"], file["DEC"] = np.array(["10:00:00"] * 36, dtype=object), np.linspace(0, 5, 36)
    assert open_source(galaxies).table["ra"].tolist() == [150.0] * 36
    with h5py.File(galaxies, "a") as file:
        del file["RA"]
    one = open_source(galaxies).notes[0]
    assert "one is missing" in one
    arcsec = write_galaxies(tmp_path / "arcsec.h5")
    with h5py.File(arcsec, "a") as file:
        file["ra"], file["dec"] = np.linspace(36000, 72000, 36), np.linspace(1000, 2000, 36)
    with pytest.raises(Galaxy10Error, match=r"no sky position is in range .* expected degrees") as refused:
        open_source(arcsec)
    says(f"{one}; {refused.value}")


@pytest.mark.parametrize(
    ("name", "separator"), [("l.txt", ";"), ("l.tsv", "\t"), ("l.csv", "|"), ("l.parquet", ","), ("l.dat", ";")]
)
def test_the_kind_of_a_table_is_its_content(tmp_path, name, separator, says):
    """A table is called .txt, .tsv or .dat, has semicolons, tabs or bars, or is Parquet and called .csv."""
    table = pd.DataFrame({"path": ["a,b.png", "c.png"], "ra": [1.5, 2.5]})
    table.to_csv(tmp_path / name, index=False, sep=separator, encoding="utf-8-sig")
    read = find_inputs([str(tmp_path / name)]).columns
    assert read["path"].to_pylist() == ["a,b.png", "c.png"]
    assert read["ra"].to_pylist() == [1.5, 2.5]
    table.to_parquet(tmp_path / "real.csv")
    assert find_inputs([str(tmp_path / "real.csv")]).columns["ra"].to_pylist() == [1.5, 2.5]
    (tmp_path / "l.tsv").write_bytes(b"\0\1\2")
    with pytest.raises(Galaxy10Error, match=r"l.tsv is no table; give a CSV, Parquet or FITS file"):
        find_inputs([str(tmp_path / "l.tsv")])
    (tmp_path / "notes.txt").write_text("remarks among the images of a glob")
    assert len(find_inputs([str(tmp_path / "notes.txt")])) == 1  # an image that cannot be read, listed as such
    says("read: the kind of a table is its content")


@pytest.mark.parametrize(
    ("unit", "said"), [("degrees", None), ("radians", "may be radians"), ("hours", "may be in hours")]
)
def test_numbers_in_another_unit(unit, said, says):
    """ra and dec are numbers in radians, or ra in hours: images far apart would be neighbours."""
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 200), rng.uniform(-60, 60, 200)
    ra[0] = np.nan
    factors = {"degrees": (1, 1), "radians": (np.pi / 180, np.pi / 180), "hours": (1 / 15, 1)}[unit]
    found = unit_remark(ra * factors[0], dec * factors[1])
    assert found is None if said is None else said in found
    assert unit_remark(ra[:20], dec[:20]) is None  # too few to tell
    says(found or "(nothing)")


def test_a_stripe_of_the_sky_is_no_other_unit():
    rng = np.random.default_rng(0)
    assert unit_remark(rng.uniform(0, 24, 200), rng.uniform(-1, 1, 200)) is None
    assert unit_remark(rng.uniform(0, 2, 200), rng.uniform(-1, 1, 200)) is None
