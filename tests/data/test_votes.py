"""Votes in place of labels: read, checked, kept in the store, and split by the class with the most of them."""

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.data import GalaxyData
from galaxy10.data.groups import find_conflicting_duplicates
from galaxy10.data.hdf5 import open_source
from galaxy10.data.reader_output import check_output
from galaxy10.data.votes import are_counts, check_votes, fractions, seen_per_class, votes_of
from galaxy10.errors import Galaxy10Error
from tests.galaxies import add_votes, galaxy, write_galaxies


def set_up(path, **settings):
    data = GalaxyData(path=path, batch_size=8, **settings)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def voted(tmp_path):
    """36 galaxies of 3 classes with counts of votes; nobody voted on rows 3 and 20."""
    path = add_votes(write_galaxies(tmp_path / "voted.h5", names=["a", "b", "c"]), voters=20)
    with h5py.File(path, "r+") as file:
        file["votes"][3] = file["votes"][20] = 0
    return path


def test_counts_arrive_in_the_store_and_the_label_is_the_majority(voted):
    data = set_up(voted)
    with h5py.File(voted) as file:
        given = file["votes"][:]
    assert data.class_names == ("a", "b", "c")
    assert np.array_equal(votes_of(data.store.table), given)
    assert np.array_equal(data.store.table["label"], given.argmax(axis=1))
    assert np.array_equal(data.votes("test"), given[data.split.rows("test")])
    table = data.split.table
    assert table.loc[table["reason"] == "no votes", "row"].tolist() == [3, 20]
    assert "2 images dropped: no votes" in data.split.notes
    assert any("counts" in note and "2 galaxies have none" in note for note in data.split.notes)
    again = set_up(voted)  # from the store
    assert np.array_equal(again.votes("train"), data.votes("train"))


def test_the_split_is_stratified_by_the_majority(tmp_path):
    data = set_up(add_votes(write_galaxies(tmp_path / "g.h5", per_class=20)))
    for subset, number in (("train", 14), ("val", 2), ("test", 4)):
        assert np.bincount(data.labels(subset)).tolist() == [number] * 3


def test_batches_have_votes_in_training_only_if_they_are_trained_on(voted):
    soft, hard = set_up(voted), set_up(voted, soft_labels=False)
    for data, trained_on in ((soft, True), (hard, False)):
        batch = next(iter(data.train_dataloader()))
        assert ("votes" in batch) == trained_on
        assert batch["labels"].shape == (8,)
        evaluated = next(iter(data.val_dataloader()))
        assert evaluated["votes"].argmax(dim=1).tolist() == evaluated["labels"].tolist()
    batch = next(iter(soft.train_dataloader()))
    assert np.array_equal(batch["votes"], votes_of(soft.store.table)[batch["rows"]])


def test_votes_are_part_of_the_content(tmp_path):
    paths = [add_votes(write_galaxies(tmp_path / f"{seed}.h5"), seed=seed) for seed in (1, 1, 2)]
    one, same, other = (set_up(path, store_dir=tmp_path / str(number)) for number, path in enumerate(paths))
    assert one.split.hash == same.split.hash != other.split.hash


def test_a_class_that_is_rarely_the_majority_is_no_obstacle(tmp_path):
    path = add_votes(write_galaxies(tmp_path / "rare.h5"))
    with h5py.File(path, "r+") as file:
        votes = file["votes"][:]
        votes[25:, :2] += 1  # one galaxy of the last class is left
        file["votes"][:] = votes
    data = set_up(path, train_fraction=0.5)
    assert data.num_classes == 3
    assert any("class '2' has the most votes of too few galaxies" in note for note in data.split.notes)


def test_a_galaxy_without_votes_contradicts_nobody():
    table = pd.DataFrame({"ra": [np.nan] * 3, "dec": [np.nan] * 3, "pixel_hash": [7, 7, 7], "blank": [False] * 3})
    table = table.assign(label=[1, 0, 1], votes_0=[0.0, 0.0, 0.2], votes_1=[1.0, 0.0, 0.8])
    assert find_conflicting_duplicates(table).tolist() == [-1, -1, -1]
    table.loc[1, "votes_0"] = 1.0
    assert (find_conflicting_duplicates(table) >= 0).all()


def put(key, value):
    def change(file):
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value(file["votes"][:]) if callable(value) else value

    return change


def set_value(row, column, number):
    def change(file):
        file["votes"][row, column] = number

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value(4, 1, -0.5), "is negative in row 4 (class 1: -0.5)"),
        (set_value(4, 1, np.nan), "is not finite in row 4 (class 1: nan)"),
        (set_value(5, 0, np.inf), "is not finite in row 5"),
        (put("votes", np.zeros((36, 3))), "holds no vote"),
        (put("votes", np.ones((36, 1))), "expected (N, C)"),
        (put("votes", np.ones((35, 3))), "has 35 rows for 36 images"),
        (put("votes", np.full((36, 3), True)), "is bool; expected numbers"),
        (put("ans", np.full(36, 2)), "`ans` is not the class with the most votes in 24 rows (the first: row 0)"),
    ],
)
def test_votes_that_are_none_are_refused(tmp_path, change, message):
    path = add_votes(write_galaxies(tmp_path / "bad.h5"))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(Galaxy10Error) as error:
        open_source(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_beside_votes_decide_ties(tmp_path):
    path = add_votes(write_galaxies(tmp_path / "tie.h5"))
    labels = np.repeat([0, 1, 2], 12)
    with h5py.File(path, "r+") as file:
        file["votes"][0] = [0.4, 0.2, 0.4]
        labels[0] = 2
        file["ans"] = labels
    assert open_source(path).table["label"].tolist() == labels.tolist()


def test_names_have_one_column_each(tmp_path):
    path = add_votes(write_galaxies(tmp_path / "names.h5"))
    assert open_source(path, ["x", "y", "z"]).names == ("x", "y", "z")
    with pytest.raises(Galaxy10Error, match="`votes` has 3 columns, but there are 2 class names"):
        open_source(path, ["x", "y"])


def test_another_column_called_votes_is_none(tmp_path):
    path = write_galaxies(tmp_path / "total.h5")
    with h5py.File(path, "r+") as file:
        file["votes"] = np.arange(36)
    assert votes_of(open_source(path).table) is None


def test_a_table_names_columns_of_votes(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["path,smooth,disk,night"]
    for number in range(24):
        Image.fromarray(galaxy(number)).save(tmp_path / f"{number}.png")
        k = int(rng.integers(6, 10))
        votes = (k, 10 - k) if number % 2 else (10 - k, k)
        lines.append(f"{number}.png,{votes[0]},{votes[1]},{number}")
    lines[6] = "5.png,,,5"
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = set_up(tmp_path / "list.csv", vote_columns=["smooth", "disk"])
    assert data.class_names == ("smooth", "disk")
    assert len(data.store) == 23
    votes = votes_of(data.store.table)
    assert are_counts(votes)
    assert votes.sum(axis=1).tolist() == [10] * 23
    failed = pd.read_csv(data.source.path.with_suffix(".failed.csv"))
    assert failed.to_numpy().tolist() == [["5.png", 5, "no votes"]]
    with pytest.raises(Galaxy10Error, match="has no column smoth: did you mean smooth"):
        set_up(tmp_path / "list.csv", vote_columns=["smoth", "disk"])
    with pytest.raises(Galaxy10Error, match=r"data\.vote_columns names columns of a table"):
        set_up(data.source.path, vote_columns=["smooth", "disk"])


def test_a_reader_may_return_votes(tmp_path):
    images = np.stack([galaxy(seed) for seed in range(20)])
    votes = np.tile([[3, 1], [0, 4]], (10, 1))
    votes[2] = 0

    def read(path):
        return images, votes, ["spiral", "elliptical"]

    (tmp_path / "mine.txt").touch()
    data = set_up(tmp_path / "mine.txt", reader=read)
    assert np.array_equal(votes_of(data.store.table), np.delete(votes, 2, axis=0))
    assert data.class_names == ("spiral", "elliptical")
    with pytest.raises(Galaxy10Error, match="returns votes for 2 classes, but 3 class names"):
        check_output((images, votes, ["a", "b", "c"]), "mypkg.read")


def test_fractions_and_counts_are_told_apart():
    counts = check_votes(np.array([[1, 0], [3, 2], [0, 0]]), "x")
    assert are_counts(counts)
    assert fractions(counts).tolist() == [[1, 0], [0.6, 0.4], [0, 0]]
    assert not are_counts(np.array([[0.33, 0.68], [0.5, 0.49]]))
    assert check_votes(np.array([[np.nan, np.nan], [1, 0]]), "x").tolist() == [[0, 0], [1, 0]]


def test_the_images_of_a_class_that_a_loss_sees_are_its_votes():
    labels, votes = np.array([0, 0, 1]), np.array([[3.0, 1.0], [1.0, 0.0], [0.0, 2.0]])
    assert seen_per_class(np.array([2, 1]), labels, votes).tolist() == [1.75, 1.25]
    assert seen_per_class(np.array([2, 4]), labels, votes).tolist() == [1.75, 4.25]  # the rare class four times
