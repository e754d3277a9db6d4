"""Class names that collide with what a file is made of"""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from galaxy10.catalogue.predict import predict
from galaxy10.catalogue.table_io import write_tables
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.prediction.options import PredictOptions
from galaxy10.prediction.prediction_columns import prediction_columns
from tests.conftest import copy_of
from tests.galaxies import write_galaxies

NAMES = ["Ir|r", 'a "b", c', "渦巻"]


@pytest.fixture
def part(tmp_path):
    """Two galaxies: the set of the first holds two classes."""
    p, nothing = np.array([[0.5, 0.45, 0.05], [0.02, 0.03, 0.95]]), np.zeros(2)
    table = prediction_columns(p[None], (nothing, nothing), NAMES, np.full(3, 0.6))
    pq.write_table(table, tmp_path / "part.parquet")
    return tmp_path / "part.parquet"


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".fits"])
def test_a_class_name_with_a_separator(part, suffix, tmp_path, says):
    """Classes are called `Ir|r` and `a "b", c`: which classes are in a prediction set?"""
    path = tmp_path / f"cat{suffix}"
    write_tables(path, suffix, [part])
    if suffix == ".parquet":
        sets = [list(names) for names in pd.read_parquet(path)["prediction_set"]]
        says("a list of names")
    elif suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            texts = [line["prediction_set"] for line in csv.DictReader(file)]
        says(f"JSON: {texts[0]}")
        sets = [json.loads(text) for text in texts]
    else:
        sets = [json.loads(text) for text in Table.read(path)["prediction_set"]]
        says("JSON, as in CSV")
    assert sets == [NAMES[:2], NAMES[2:]]


def test_a_class_name_that_is_too_long_for_a_column(run, tmp_path, says):
    """A class name has 80 characters, and the catalogue is a FITS table."""
    named = copy_of(run, tmp_path / "named")
    about = read_json(named / "provenance.json")
    about["data"]["class_names"][0] = "S" * 80
    write_json(named / "provenance.json", about)
    write_galaxies(tmp_path / "new.h5", per_class=2)
    with pytest.raises(Galaxy10Error, match=r"FITS cannot hold the column 'p_sss.*\.parquet or \.csv") as refused:
        predict([named], [str(tmp_path / "new.h5")], tmp_path / "cat.fits", PredictOptions())
    says(str(refused.value))
