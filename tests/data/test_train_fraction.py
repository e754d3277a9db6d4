"""Fewer labels: what a fraction of the training images keeps."""

import numpy as np
import pytest

from galaxy10.data import GalaxyData
from galaxy10.data.record import data_record
from galaxy10.data.split import make_split
from galaxy10.data.train_fraction import keep_train_fraction
from galaxy10.errors import Galaxy10Error
from tests.data.test_split import make_table

NAMES = ("common", "rare", "rarest")


@pytest.fixture(scope="module")
def split():
    """2,000 galaxies of three classes; every tenth has a neighbour of another class or its own within its field."""
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 2000), rng.uniform(-30, 30, 2000)
    near = np.arange(0, 2000, 10)
    ra[near], dec[near] = ra[near + 1], dec[near + 1] + 20 / 3600
    return make_split(make_table(rng.choice(3, 2000, p=[0.7, 0.25, 0.05]), ra, dec), "x", NAMES)


def test_fractions_are_nested_and_stratified_and_keep_groups_whole(split):
    before = set(split.rows("train"))
    for fraction in (1.0, 0.5, 0.2, 0.05):
        kept = keep_train_fraction(split, fraction, 3, NAMES)
        rows = set(kept.rows("train"))
        assert rows <= before
        before = rows
        table = split.table[split.table["subset"] == "train"]
        table = table.assign(kept=table["row"].isin(rows))
        assert table.groupby("group")["kept"].nunique().max() == 1
        sizes = table.groupby("label")["kept"].agg(["sum", "size"])
        assert np.allclose(sizes["sum"], fraction * sizes["size"], atol=4)  # a group is up to a few images
        for subset in ("val", "test"):
            assert (kept.rows(subset) == split.rows(subset)).all()
        assert kept.hash == split.hash


def test_the_seed_draws_the_fraction(split):
    one, same, other = (set(keep_train_fraction(split, 0.1, seed, NAMES).rows("train")) for seed in (0, 0, 1))
    assert one == same
    assert len(one & other) < len(one) / 2


def test_a_fraction_that_loses_a_class_is_refused_and_the_named_one_works(split):
    with pytest.raises(Galaxy10Error, match=r"keeps no training image of class 'rarest', which has \d+; type") as said:
        keep_train_fraction(split, 0.001, 0, NAMES)
    enough = float(str(said.value).split("train_fraction=")[-1].split()[0])
    assert set(keep_train_fraction(split, enough, 0, NAMES).table.query("subset == 'train'")["label"]) == {0, 1, 2}


def test_the_data_module_trains_on_the_fraction_and_records_it(galaxies):
    full, part = (GalaxyData(path=galaxies, train_fraction=fraction, seed=2) for fraction in (1, 0.5))
    for data in (full, part):
        data.prepare_data()
        data.setup()
    assert set(part.split.rows("train")) < set(full.split.rows("train"))
    assert part.class_counts.sum() == len(part.train_dataloader().rows) == part.split.counts()["train"]
    assert part.training_statistics() != full.training_statistics()
    left_out = part.split.table.query("reason == 'left out by data.train_fraction=0.5'")
    assert set(left_out["row"]) == set(full.split.rows("train")) - set(part.split.rows("train"))
    assert (left_out["subset"] == "dropped").all()
    summary = type("Summary", (), {"counts": part.split.counts, "class_names": part.class_names,
                                   "hash": part.split.hash, "notes": part.split.notes})  # fmt: skip
    record = data_record(part, summary)["split"]
    assert (record["train_fraction"], record["hash"]) == (0.5, full.split.hash)
    assert any("training images are used, drawn with seed 2" in note for note in record["notes"])
