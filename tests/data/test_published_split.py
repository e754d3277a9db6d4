"""galaxy10-split-v1: what the table holds, and the files that it is used for."""

import hashlib
import runpy

import h5py
import numpy as np
import pandas as pd
import pytest

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES
from galaxy10.data import GalaxyData
from galaxy10.data.groups import sky_pairs
from galaxy10.data.published_split import _content, published_split, published_split_table
from galaxy10.data.split import PROTOCOLS, make_split
from tests.conftest import ROOT
from tests.data.test_split import make_table

V1 = "aa43f205e12d0f49e309f77c34bd2b6799a254afbd7c680790a3d540094fbbff"

STANDARD = {
    "protocol": "default",
    "split_seed": 0,
    "num_folds": None,
    "duplicates": "drop",
    "group_radius_arcsec": None,
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return published_split_table()


def test_the_table_never_changes():
    assert hashlib.sha256(_content()).hexdigest() == V1


def test_the_script_makes_the_table_again(coordinates):
    script = runpy.run_path(str(ROOT / "benchmarks" / "published_split.py"))
    assert hashlib.sha256(script["make_table"](coordinates)).hexdigest() == V1


def test_17504_groups_of_which_none_crosses_and_118_rows_dropped(table):
    assert tuple(np.bincount(table["label"])) == GALAXY10_COUNTS
    assert table["row"].tolist() == list(range(17_736))
    assert table["group"].nunique() == 17_504
    dropped = table["subset"] == "dropped"
    assert dropped.sum() == 118
    assert (table["fold"] == -1).equals(dropped)
    assert set(table.loc[dropped, "reason"]) == {"duplicate with a conflicting label"}
    kept = table[~dropped]
    pairs = sky_pairs(kept["ra"].to_numpy(), kept["dec"].to_numpy(), 67.0)
    assert len(pairs) > 100
    for column in ("subset", "fold"):
        assert kept.groupby("group")[column].nunique().max() == 1
        value = kept[column].to_numpy()
        assert (value[pairs[:, 0]] == value[pairs[:, 1]]).all()


def test_every_class_has_its_share_in_each_subset_and_fold(table):
    kept = table[table["subset"] != "dropped"]
    shares = pd.crosstab(kept["label"], kept["subset"], normalize="index")[["train", "val", "test"]]
    assert np.allclose(shares, PROTOCOLS["default"], atol=0.005)
    assert np.allclose(pd.crosstab(kept["label"], kept["fold"], normalize="index"), 0.2, atol=0.005)


def as_published(path, lines: pd.DataFrame, blank: list[int]):
    """A file of the published rows at 16 px: a number drawn into each image, and some blank ones."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (len(lines), 16, 16, 3), dtype=np.uint8)
    images[blank] = 32
    with h5py.File(path, "w") as file:
        file["images"], file["ans"] = images, lines["label"].to_numpy(np.uint8)
        file["ra"], file["dec"] = lines["ra"].to_numpy(), lines["dec"].to_numpy()
        file["pxscale"] = np.full(len(lines), 0.262 * 16)
    return path


def set_up(path, tmp_path, **settings) -> GalaxyData:
    data = GalaxyData(path=path, store_dir=tmp_path, **settings)
    data.prepare_data()
    data.setup()
    return data


def no_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """The published variant without duplicates: the first row of each galaxy, and one of three blank images."""
    twice = table[table["reason"] != ""]
    later = twice.index[twice.duplicated("group")]
    blank = [table.index[(table["label"] == label) & (table["reason"] == "")][5] for label in (7, 8)]
    return table.drop(index=[*later, *blank])


def test_the_split_of_a_file_of_the_published_rows_is_the_table_without_blank_images(table, tmp_path):
    blank = [100, 5_000, 12_000]
    path = as_published(tmp_path / "g.h5", table, blank)
    split = set_up(path, tmp_path).split
    expected = table["subset"].where(~table["row"].isin(blank), "dropped")
    assert split.table["subset"].tolist() == expected.tolist()
    assert split.table.loc[blank, "reason"].tolist() == ["blank image"] * 3
    assert split.given.record() == {"name": "galaxy10-split-v1", "sha256": V1}
    assert any(note.startswith("the split is galaxy10-split-v1 (sha256 aa43f205") for note in split.notes)
    assert not any("overlap" in note for note in split.notes)
    folds = [set_up(path, tmp_path, num_folds=5, fold=number).split for number in (2, 0)]
    assert (folds[0].table["subset"] == "test").equals((table["fold"] == 2) & ~table["row"].isin(blank))
    assert folds[0].folds_hash == folds[1].folds_hash
    assert folds[0].hash != folds[1].hash


@pytest.mark.parametrize(
    "other",
    [
        {"split_seed": 1},
        {"num_folds": 4},
        {"protocol": "baseline_90_10"},
        {"duplicates": "first"},
        {"group_radius_arcsec": 30.0},
    ],
)
def test_other_settings_draw_a_split_of_their_own(table, other):
    assert published_split(STANDARD, table)[0] is not None
    assert published_split({**STANDARD, **other}, table) == (None, None)


def test_the_variant_without_duplicates_has_the_subsets_of_the_same_galaxies(table):
    lines = no_duplicates(table)
    assert tuple(np.bincount(lines["label"])) == GALAXY10_COUNTS_NO_DUPLICATES
    shuffled = lines.sample(frac=1, random_state=0)  # it is found by position, not by row
    given, remark = published_split(STANDARD, shuffled)
    assert remark is None
    file = make_table(*(shuffled[name].to_numpy() for name in ("label", "ra", "dec")))
    split = make_split(file, "x", GALAXY10_CLASSES, given=given)
    assert split.table["subset"].tolist() == shuffled["subset"].tolist()
    assert split.counts()["dropped"] == 59
    assert len(lines) == 17_675


def test_other_positions_are_another_file_and_a_remark_says_so(table):
    given, remark = published_split(STANDARD, table.assign(dec=table["dec"] + 0.01))
    assert given is None
    assert "but not its positions (ra, dec): galaxy10-split-v1 is not used" in remark
