"""Splits as tables: what `galaxy10 split` writes and data.split_file reads."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from galaxy10.cli.options import named_as_options
from galaxy10.data import GalaxyData
from galaxy10.data.split_table import read_split_file
from galaxy10.data.write_split import write_split
from galaxy10.errors import Galaxy10Error
from tests.galaxies import write_galaxies


@pytest.fixture
def galaxies(tmp_path):
    return write_galaxies(tmp_path / "g.h5", per_class=20, names=["a", "b", "c"], coordinates=True)


def set_up(path, **settings) -> GalaxyData:
    data = GalaxyData(path=path, **settings)
    data.prepare_data()
    data.setup()
    return data


def rewritten(path, change) -> pd.DataFrame:
    """Change a CSV table by a function of it."""
    table = change(pd.read_csv(path))
    table.to_csv(path, index=False)
    return table


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_written_split_is_read_back_as_it_was_drawn(galaxies, tmp_path, suffix):
    path = write_split(galaxies, tmp_path / f"split{suffix}", split_seed=3, num_folds=5)
    table = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert list(table) == ["row", "ra", "dec", "label", "class", "subset", "fold", "group", "reason"]
    assert table["class"].tolist() == ["a"] * 20 + ["b"] * 20 + ["c"] * 20
    drawn, read = set_up(galaxies, split_seed=3), set_up(galaxies, split_file=path)
    assert read.split.table.equals(drawn.split.table)
    assert read.split.hash == drawn.split.hash
    assert read.split.given.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    folds = {"num_folds": 5, "fold": 4}
    drawn, read = set_up(galaxies, split_seed=3, **folds), set_up(galaxies, split_file=path, **folds)
    assert (read.split.hash, read.split.folds_hash) == (drawn.split.hash, drawn.split.folds_hash)


def test_a_table_of_few_labels_is_what_training_with_that_fraction_uses(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "few.csv", split_seed=3, train_fraction=0.25)
    drawn, read = set_up(galaxies, split_seed=3, train_fraction=0.25, seed=3), set_up(galaxies, split_file=path)
    for subset in ("train", "val", "test"):
        assert read.split.rows(subset).tolist() == drawn.split.rows(subset).tolist()
    assert 0 < len(read.split.rows("train")) < 20
    table = pd.read_csv(path, keep_default_na=False)
    assert table.loc[table["reason"] == "left out by data.train_fraction=0.25", "subset"].eq("dropped").sum() > 20


def test_a_table_of_positions_and_of_some_rows_only(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "split.csv")
    table = rewritten(path, lambda t: t[["ra", "dec", "subset"]].sample(frac=1, random_state=0)[:50])
    split = set_up(galaxies, split_file=path).split
    assert (split.table["reason"] == "not in split.csv").sum() == 10
    assert split.counts() == {**table["subset"].value_counts(), "dropped": 10}


def test_missing_folds_and_subsets_are_in_none_and_labels_may_be_names(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "split.parquet", num_folds=5)
    table = pd.read_parquet(path)
    left_out = table["fold"] == 0
    table["fold"] = (table["fold"] - 1).astype("Int64").mask(left_out)
    table["subset"] = table["subset"].mask(left_out)
    table["label"] = table["label"].map({0: "spiral", 1: "round", 2: "merger"})
    table.to_parquet(path, index=False)
    for folds in ({}, {"num_folds": 4, "fold": 1}):
        split = set_up(galaxies, split_file=path, **folds).split
        assert (split.table["subset"] == "dropped").equals(left_out)
        assert set(split.table.loc[left_out, "reason"]) == {"in no subset of split.parquet"}


def test_a_split_without_validation_images_takes_a_tenth_of_the_training_images(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "split.csv")
    rewritten(path, lambda t: t.replace({"subset": {"val": "Training"}}))
    split = set_up(galaxies, split_file=path).split
    assert split.counts() == {"train": 42, "val": 6, "test": 12, "dropped": 0}
    assert "split.csv has no validation images: a tenth of its training images is taken" in split.notes


def test_groups_that_a_split_tears_apart_are_said(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "split.csv")
    split = set_up(galaxies, split_file=path, group_radius_arcsec=2 * 3600 * 190 / 60).split
    assert any("images overlap with images in another subset of split.csv" in note for note in split.notes)


def doubled(table):
    return pd.concat([table, table[table["row"] == 7]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (doubled, "has row 7 2 times; keep one line"),
        (lambda t: t.replace({"subset": {"val": "vla"}}), "has the subset 'vla'; write train, val, test or dropped"),
        (lambda t: t.assign(row=t["row"] + 1), "has row 60, but the file has rows 0 to 59"),
        (lambda t: t.assign(row=t["row"] + 0.5), "row 0.5 is no whole number"),
        (lambda t: t.assign(label=t["label"] // 2), "is of another file: 20 of 60 rows have other labels .* row 20"),
        (lambda t: t.assign(dec=t["dec"] + 1), "is of another file: 60 of 60 rows have other positions"),
        (lambda t: t[["ra", "dec", "subset"]] + ([0, 1, ""]), "60 of 60 positions are not in the file"),
        (lambda t: t.drop(columns=["subset"]), "has neither a column subset nor fold; it has row, ra, dec"),
        (lambda t: t[["label", "subset"]], "has neither a column row nor ra and dec"),
        (lambda t: t.assign(fold=t["row"] % 2), "has the folds 0, 1; number them from 0"),
        (lambda t: t.assign(subset="train"), "split.csv has no test images"),
    ],
)
def test_a_split_that_cannot_be_that_of_the_file_is_refused(galaxies, tmp_path, change, message):
    path = write_split(galaxies, tmp_path / "split.csv")
    rewritten(path, change)
    with pytest.raises(Galaxy10Error, match=message) as said:
        set_up(galaxies, split_file=path)
    assert str(said.value).startswith(f"data.split_file={path}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_folds": 5, "fold": 0}, r"has no folds \(column `fold`\), which data.num_folds needs"),
        ({"protocol": "baseline_80_20"}, "data.protocol=baseline_80_20 is not used; leave one of them out"),
    ],
)
def test_settings_that_do_not_go_with_the_table(galaxies, tmp_path, settings, message):
    path = write_split(galaxies, tmp_path / "split.csv")
    with pytest.raises(Galaxy10Error, match=message):
        set_up(galaxies, split_file=path, **settings)


def test_other_folds_than_the_tables(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "split.csv", num_folds=5)
    with pytest.raises(Galaxy10Error, match=r"has 5 folds; type data\.num_folds=5"):
        set_up(galaxies, split_file=path, num_folds=4, fold=0)


def test_the_command_writes_a_table_and_a_missing_one_is_refused_before_training(galaxies, here, tmp_path):
    done = here("galaxy10", "split", galaxies, "-o", "s.csv", "--folds", "4", "--seed", "1")
    assert (done.code, done.out.strip()) == (0, "s.csv")
    assert "42 train, 6 val, 12 test, 0 dropped; 60 groups; split " in done.err
    assert np.bincount(pd.read_csv(tmp_path / "s.csv")["fold"]).tolist() == [15, 15, 15, 15]
    for words, message in (
        (["gone.h5"], "error: gone.h5 does not exist; "),
        ([galaxies, "--folds", "1"], "error: --folds 1 is not allowed; expected a whole number from 3 to 100"),
        ([galaxies, "--seed", "-3"], "error: --seed -3 is not allowed; "),
        ([galaxies, "--train-fraction", "1e-4"], "; type --train-fraction 0."),
    ):
        refused = here("galaxy10", "split", *words, "-o", "t.csv")
        assert refused.code == 2
        assert message in refused.message
        assert "null" not in refused.message
    refused = here("galaxy10", "split", galaxies, "-o", "s.txt")
    assert (refused.code, refused.message) == (
        2,
        "error: -o s.txt: a split is written as .csv or .parquet; type -o s.csv",
    )
    words = ("data=hdf5", f"data.path={galaxies}", "model=simple_cnn")
    missing = here("train.py", *words, "data.split_file=gone.csv")
    expected = "error: data.split_file=gone.csv does not exist; `galaxy10 split FILE -o gone.csv` writes one"
    assert (missing.code, missing.message) == (2, expected)


def test_the_sha256_of_the_table_is_that_of_its_bytes(galaxies, tmp_path):
    path = write_split(galaxies, tmp_path / "split.csv")
    table = pd.DataFrame({"row": range(60), "label": np.repeat([0, 1, 2], 20), "ra": np.nan, "dec": np.nan})
    assert read_split_file(path, table).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_settings_that_are_no_options_of_the_command_keep_their_names():
    message = "data.path=g.h5 and data.split_seed=1 do not go with data.hdu=2; set data.blanks"
    with pytest.raises(Galaxy10Error) as caught, named_as_options("blanks", path="", split_seed="seed"):
        raise Galaxy10Error(message)
    assert str(caught.value) == "g.h5 and --seed 1 do not go with data.hdu=2; set --blanks"
