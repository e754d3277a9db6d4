import numpy as np
import pandas as pd
import pytest

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS
from galaxy10.data.groups import find_conflicting_duplicates, find_groups, sky_pairs
from galaxy10.data.published_split import published_split_table
from galaxy10.data.split import PROTOCOLS, make_split
from galaxy10.errors import Galaxy10Error


def make_table(labels, ra=None, dec=None, pixel_hash=None, blank=None) -> pd.DataFrame:
    n = len(labels)
    return pd.DataFrame(
        {
            "row": np.arange(n),
            "label": labels,
            "ra": np.full(n, np.nan) if ra is None else ra,
            "dec": np.full(n, np.nan) if dec is None else dec,
            "pixel_hash": np.arange(n) if pixel_hash is None else pixel_hash,
            "blank": np.zeros(n, dtype=bool) if blank is None else blank,
        }
    )


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    sky = published_split_table()
    return make_table(np.repeat(np.arange(10), GALAXY10_COUNTS), sky["ra"].to_numpy(), sky["dec"].to_numpy())


def test_published_coordinates_have_59_conflicting_duplicates_and_17504_groups(published):
    duplicates = find_conflicting_duplicates(published)
    assert len(np.unique(duplicates[duplicates >= 0])) == 59
    assert (duplicates >= 0).sum() == 118
    assert find_groups(published).max() + 1 == 17504


@pytest.mark.parametrize("options", [{"protocol": p} for p in PROTOCOLS] + [{"num_folds": 5, "fold": 2}])
def test_no_group_crosses_subsets_and_classes_keep_their_shares(published, options):
    table = make_split(published, "x", GALAXY10_CLASSES, **options).table
    kept = table[table["subset"] != "dropped"]
    assert kept.groupby("group")["subset"].nunique().max() == 1
    shares = PROTOCOLS.get(options.get("protocol", ""), (0.6, 0.2, 0.2))
    for subset, share in zip(("train", "val", "test"), shares, strict=True):
        by_class = (kept["subset"] == subset).groupby(kept["label"]).mean()
        assert np.allclose(by_class, share, atol=0.02)
    train, test = (published.iloc[table.index[table["subset"] == s]] for s in ("train", "test"))
    positions = pd.concat([train, test])
    pairs = sky_pairs(positions["ra"].to_numpy(), positions["dec"].to_numpy(), 67.0)
    assert not ((pairs[:, 0] < len(train)) != (pairs[:, 1] < len(train))).any()


@pytest.mark.long
def test_folds_test_every_kept_galaxy_once(published):
    subsets = [make_split(published, "x", GALAXY10_CLASSES, num_folds=5, fold=k).table["subset"] for k in range(5)]
    tested = sum((s == "test").to_numpy().astype(int) for s in subsets)
    dropped = (subsets[0] == "dropped").to_numpy()
    assert (tested[~dropped] == 1).all()
    assert (tested[dropped] == 0).all()
    assert ((subsets[1] == "val").to_numpy() == (subsets[2] == "test").to_numpy()).all()


def test_split_seed_alone_moves_the_split(published):
    one, same, other = (make_split(published, "x", GALAXY10_CLASSES, split_seed=s) for s in (0, 0, 1))
    assert one.hash == same.hash
    assert one.table.equals(same.table)
    assert one.hash != other.hash


def test_hash_tells_other_pixels_apart(published):
    assert make_split(published, "x", GALAXY10_CLASSES).hash != make_split(published, "y", GALAXY10_CLASSES).hash


@pytest.mark.parametrize(("duplicates", "dropped"), [("drop", [0, 10]), ("first", [10]), ("keep", [])])
def test_conflicting_duplicates(duplicates, dropped):
    ra = np.linspace(10, 50, 20)
    ra[10] = ra[0] + 0.3 / 3600
    labels = np.repeat([0, 1], 10)
    split = make_split(make_table(labels, ra, np.zeros(20)), "x", ("a", "b"), duplicates=duplicates)
    rows = split.table[split.table["subset"] == "dropped"]
    assert rows["row"].tolist() == dropped
    assert (rows["reason"] == "duplicate with a conflicting label").all()


def test_groups_link_through_a_galaxy_that_is_dropped():
    # b lies between a and c, a field from each; a and c are linked although b is dropped as a blank image.
    field = 60 / 3600
    ra = np.concatenate([[10, 10 + field, 10 + 2 * field], np.linspace(50, 90, 17)])
    blank = np.arange(20) == 1
    table = make_split(make_table(np.repeat([0, 1], 10), ra, np.zeros(20), blank=blank), "x", ("a", "b")).table
    assert table["group"].iloc[0] == table["group"].iloc[2]
    assert table["subset"].iloc[0] == table["subset"].iloc[2]
    assert table["reason"].iloc[1] == "blank image"


def test_identical_pixels_stay_together_without_coordinates_and_a_note_says_so():
    pixel_hash = np.arange(30)
    pixel_hash[5] = pixel_hash[3]
    labels = np.repeat([0, 1], 15)
    split = make_split(make_table(labels, pixel_hash=pixel_hash), "x", ("a", "b"))
    assert split.table["subset"].iloc[3] == split.table["subset"].iloc[5]
    assert any("identical pixels only" in note for note in split.notes)


def test_missing_positions_are_counted_and_a_file_of_conflicting_duplicates_is_refused():
    labels, ra = np.repeat([0, 1], 15), np.linspace(10, 50, 30)
    ra[[2, 20]] = np.nan
    assert any(note.startswith("2 images have no sky position") for note in split_of(labels, ra).notes)
    with pytest.raises(Galaxy10Error, match=r"no image is left to train on \(30 duplicate with a conflicting label\)"):
        split_of(labels, np.full(30, 10.0))


def split_of(labels, ra):
    return make_split(make_table(labels, ra, np.ones(len(labels))), "x", ("a", "b"))


def test_positions_link_across_right_ascension_zero():
    ra = np.array([359.999, 0.001])
    assert len(sky_pairs(ra, np.zeros(2), 67.0)) == 1


def test_fields_of_several_sizes_overlap_by_their_mean():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(-0.1, 0.1, (2, 400))
    radius = 10 ** rng.uniform(-1, 2.5, 400)
    apart = np.hypot(ra[:, None] - ra, dec[:, None] - dec) * 3600  # on a plane, near the equator
    expected = np.argwhere(np.triu(apart < (radius[:, None] + radius) / 2, 1))
    assert {tuple(sorted(pair)) for pair in sky_pairs(ra, dec, radius)} == set(map(tuple, expected))


def test_sharp_images_separate_galaxies_that_are_half_an_arcsecond_apart():
    table = make_table([0, 1], np.array([0, 0.4 / 3600]), np.zeros(2))
    assert (find_conflicting_duplicates(table) >= 0).all()
    assert (find_conflicting_duplicates(table.assign(pxscale=0.03)) < 0).all()


def test_small_classes_reach_every_subset():
    labels = np.array([0] * 50 + [1] * 3)
    split = make_split(make_table(labels), "x", ("big", "small"))
    assert split.table[split.table["label"] == 1]["subset"].nunique() == 3


def test_a_class_too_small_to_split_is_refused():
    with pytest.raises(Galaxy10Error, match=r"class 'small' has 2 separate galaxies, too few for 3 subsets"):
        make_split(make_table(np.array([0] * 50 + [1] * 2)), "x", ("big", "small"))
