"""Class numbers and class names of any form become the classes they stand for."""

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES, slugs
from galaxy10.data import GalaxyData
from galaxy10.data.custom_datamodule import describe_datamodule
from galaxy10.data.hdf5 import open_source
from galaxy10.data.labels import classes_of, numbering_note
from galaxy10.data.pack import pack
from galaxy10.data.record import data_record
from galaxy10.data.source import check_source
from galaxy10.data.store import open_store
from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.labelled_file import match_classes
from tests.galaxies import galaxy, write_galaxies


def with_labels(path, values, names=None):
    write_galaxies(path)
    with h5py.File(path, "r+") as file:
        del file["ans"]
        file["ans"] = np.repeat(values, 12)
        if names is not None:
            file["ans"].attrs["class_names"] = names
    return path


def ready(path, **settings):
    data = GalaxyData(path=path, **settings)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("ids", [[1, 2, 3], [0, 1, 30000], [0, 65536, 1], [7, 2**62, 2**62 + 1]])
def test_numbers_become_classes_in_sorted_order_and_stay_their_names(tmp_path, ids):
    data = ready(with_labels(tmp_path / "g.h5", ids))
    assert data.class_names == tuple(str(i) for i in sorted(ids))
    assert (data.class_counts > 0).all()
    assert np.array_equal(data.source.label_ids, np.repeat(ids, 12))
    assert np.array_equal(data.store.table["label"], data.source.table["label"])
    said = ", ".join(str(i) for i in sorted(ids))
    assert data.split.notes[0] == f"g.h5: labels {said} are 3 classes, named by their numbers"
    record = data_record(data, describe_datamodule(data))["data"]
    assert (record["class_names"], record["class_ids"]) == ([str(i) for i in sorted(ids)], sorted(ids))


def test_numbers_from_0_are_positions_and_classes_without_galaxies_exist_only_if_named(tmp_path):
    path = with_labels(tmp_path / "g.h5", [0, 1, 3])
    assert open_source(path).names == ("0", "1", "3")
    assert open_source(path, ["a", "b", "c", "d"]).table["label"].unique().tolist() == [0, 1, 3]
    assert open_source(path, ["a", "b", "c", "d"]).notes == ()
    matched = open_source(path, ["a", "b", "c"])
    assert matched.table["label"].unique().tolist() == [0, 1, 2]
    assert "3 is c" in matched.notes[0]


def test_a_store_serves_every_choice_of_names(tmp_path):
    path = with_labels(tmp_path / "g.h5", [1, 2, 3])
    named = open_store(open_source(path, ["unused", "a", "b", "c"]), tmp_path)
    bare = open_store(open_source(path), tmp_path)
    assert named.path == bare.path
    assert named.content == bare.content
    assert named.table["label"].unique().tolist() == [1, 2, 3]
    assert bare.table["label"].unique().tolist() == [0, 1, 2]


def test_labels_beyond_64_bits_are_refused(tmp_path):
    path = with_labels(tmp_path / "g.h5", np.array([0, 1, 2**64 - 1], np.uint64))
    with pytest.raises(Galaxy10Error, match="holds label 18446744073709551615; expected numbers below"):
        open_source(path)


def test_packed_numbers_do_not_wrap(tmp_path):
    ids = [0, 65536, 1, 2**53, 2**53 + 1]
    for number in range(10):
        Image.fromarray(galaxy(number)).save(tmp_path / f"{number}.png")
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(10)], "label": ids * 2})
    table.to_csv(tmp_path / "list.csv", index=False)
    pack(tmp_path / "list.csv", tmp_path / "p.h5")
    assert open_source(tmp_path / "p.h5").label_ids.tolist() == ids * 2


def test_hundreds_of_thousands_of_classes_are_read():
    """A cost that grows with the square of their number would take hours."""
    labels, ids = classes_of(np.arange(200_000)[::-1] * 10, None, "f")
    assert labels[0] == 199_999
    assert len(numbering_note(ids, None, "f")) < 500


def test_an_evaluated_file_is_matched_by_its_numbers(tmp_path):
    source = open_source(with_labels(tmp_path / "g.h5", [1, 2, 3]))
    assert np.unique(match_classes(source, ("1", "2", "3", "4")).labels).tolist() == [0, 1, 2]
    assert np.unique(match_classes(source, ("a", "b", "c", "d")).labels).tolist() == [1, 2, 3]
    assert np.unique(match_classes(source, ("a", "b", "c")).labels).tolist() == [0, 1, 2]
    assert np.unique(match_classes(source, ("a", "b", "c", "d"), [1, 2, 3, 9]).labels).tolist() == [0, 1, 2]
    for names in (("0", "1", "2"), ("a", "b")):
        with pytest.raises(Galaxy10Error, match="has classes that the run does not know"):
            match_classes(source, names)


def test_class_names_are_read_in_any_encoding(tmp_path):
    latin = np.array(["Spirale", "Ell", "Irrégulière"], dtype=object)
    path = with_labels(tmp_path / "g.h5", [0, 1, 2], np.array([n.encode("latin-1") for n in latin]))
    assert open_source(path).names == tuple(latin)
    with h5py.File(path, "r+") as file:
        variable = np.array([n.encode("latin-1") for n in latin], dtype=object)
        file["ans"].attrs.create("class_names", variable, dtype=h5py.string_dtype())
    assert open_source(path).names == tuple(latin)
    assert [decode_text(x) for x in (b"\xe9", "é".encode(), "渦巻", "a\nb", "a\udce9")] == [
        "é",
        "é",
        "渦巻",
        "a\nb",
        "aé",
    ]


def test_column_names_are_unique_whatever_the_class_names():
    for names in (
        ["a b", "a_b", "a_b_1"],
        ["a_b_1", "a b", "a_b"],
        ["渦巻", "楕円"],
        ["x"] * 3,
        ["a b", "a_b", "a_b_0", "a_b_1"],
    ):
        assert len(set(slugs(names))) == len(names)
    assert slugs(["a b", "c"]) == ["a_b", "c"]


# --- is it Galaxy10? --------------------------------------------------------------------------------------------------


def test_other_files_are_not_taken_for_galaxy10(tmp_path):
    for path in (write_galaxies(tmp_path / "Galaxy10_DECals.h5"), write_galaxies(tmp_path / "s.h5", num_classes=10)):
        with pytest.raises(Galaxy10Error, match=r"is not Galaxy10 DECaLS .*type data=hdf5 data.path=") as caught:
            check_source(GalaxyData("galaxy10", path=path).settings)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("counts", [GALAXY10_COUNTS, GALAXY10_COUNTS_NO_DUPLICATES])
def test_the_published_files_are_recognised_by_size_and_counts(tmp_path, counts):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (sum(counts), 256, 256, 3), np.uint8, chunks=(64, 256, 256, 3))  # nothing written
        file["ans"] = np.repeat(np.arange(10), counts).astype(np.uint8)
    settings = GalaxyData("galaxy10", path=path).settings
    assert check_source(settings).names == GALAXY10_CLASSES
    with h5py.File(path, "r+") as file:
        file["ans"][0] = 9
    with pytest.raises(Galaxy10Error, match="is not Galaxy10 DECaLS"):
        check_source(settings)


def test_a_simulated_survey_is_galaxy10(tmp_path):
    path = write_galaxies(tmp_path / "s.h5", num_classes=10, names=list(GALAXY10_CLASSES))
    assert check_source(GalaxyData("galaxy10", path=path).settings).names == GALAXY10_CLASSES
