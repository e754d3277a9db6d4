"""Words and coordinates that readers of tables would swallow."""

import logging

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.data.coordinates import column_named, read_degrees
from galaxy10.data.hdf5 import open_source
from galaxy10.data.pack import pack
from galaxy10.data.path_tables import read_path_table
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy, write_galaxies


@pytest.fixture
def images(tmp_path):
    for seed in range(6):
        Image.fromarray(galaxy(seed)).save(tmp_path / f"{seed}.png")
    return [f"{seed}.png" for seed in range(6)]


def test_words_for_missing_values_are_classes(images, tmp_path):
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


def test_a_table_in_latin_1_is_read(images, tmp_path):
    pd.DataFrame({"path": images, "label": ["irrégulière", "spirale"] * 3}).to_csv(
        tmp_path / "l.csv", encoding="latin-1"
    )
    table, names = read_path_table(tmp_path / "l.csv", None, "label")
    assert table[names["label"]][0].as_py() == "irrégulière"


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
def test_degrees_and_sexagesimal_are_read(key, text, degrees):
    assert read_degrees([text, "", None], key, "f")[0][0] == pytest.approx(degrees)


@pytest.mark.parametrize(
    ("key", "text"), [("ra", "25:00:00"), ("ra", "10:61:00"), ("dec", "91:00:00"), ("dec", "5h30m"), ("ra", "1,0,5")]
)
def test_what_is_no_coordinate_is_counted(key, text):
    values, remark = read_degrees(["1.5", text, "nan", None], key, "f.csv")
    assert np.isfinite(values).tolist() == [True, False, False, False]
    assert remark == f"f.csv: 1 of 2 values of {key} cannot be read (the first is {text!r})"
    with pytest.raises(Galaxy10Error, match=f"none of the 2 values of {key} .*--no-coordinates"):
        read_degrees([text, text, ""], key, "f.csv")


def test_coordinates_of_a_table_are_kept_in_any_case(images, tmp_path, caplog, monkeypatch):
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
    with pytest.raises(Galaxy10Error, match="has the columns RA and Ra; rename all but one"):
        column_named(["RA", "Ra"], "ra", "f")


def test_coordinates_of_an_hdf5_file_are_kept_in_any_case_and_never_lost_in_silence(galaxies, tmp_path):
    with h5py.File(galaxies, "a") as file:
        file["RA"], file["DEC"] = np.array(["10:00:00"] * 36, dtype=object), np.linspace(0, 5, 36)
    assert open_source(galaxies).table["ra"].tolist() == [150.0] * 36
    with h5py.File(galaxies, "a") as file:
        del file["RA"]
    assert "one is missing" in open_source(galaxies).notes[0]
    arcsec = write_galaxies(tmp_path / "arcsec.h5")
    with h5py.File(arcsec, "a") as file:
        file["ra"], file["dec"] = np.linspace(36000, 72000, 36), np.linspace(1000, 2000, 36)
    with pytest.raises(Galaxy10Error, match=r"no sky position is in range .* expected degrees"):
        open_source(arcsec)
