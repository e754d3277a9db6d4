"""Numbers and names of classes"""

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.classes import slugs
from galaxy10.data import GalaxyData
from galaxy10.data.custom_datamodule import describe_datamodule
from galaxy10.data.hdf5 import open_source
from galaxy10.data.labels import classes_of, numbering_note
from galaxy10.data.pack import pack
from galaxy10.data.record import data_record
from galaxy10.data.text import decode_text
from galaxy10.errors import Galaxy10Error
from tests.galaxies import galaxy, write_labels


def ready(path, **settings):
    data = GalaxyData(path=path, **settings)
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("ids", [[1, 2, 3], [0, 1, 30000], [0, 65536, 1], [7, 2**62, 2**62 + 1]], ids=str)
def test_numbers_become_classes_in_sorted_order_and_stay_their_names(tmp_path, ids, says):
    """Labels of an HDF5 file that do not count from 0: 1, 2, 3, or with gaps."""
    data = ready(write_labels(tmp_path / "g.h5", ids))
    assert data.class_names == tuple(str(i) for i in sorted(ids))
    assert (data.class_counts > 0).all()
    assert np.array_equal(data.source.label_ids, np.repeat(ids, 12))
    assert np.array_equal(data.store.table["label"], data.source.table["label"])
    said = ", ".join(str(i) for i in sorted(ids))
    assert data.split.notes[0] == f"g.h5: labels {said} are 3 classes, named by their numbers"
    record = data_record(data, describe_datamodule(data))["data"]
    assert (record["class_names"], record["class_ids"]) == ([str(i) for i in sorted(ids)], sorted(ids))
    says(data.split.notes[0])


def test_numbers_from_0_are_positions_and_classes_without_galaxies_exist_only_if_named(tmp_path, says):
    """Labels 0, 1 and 3 of an HDF5 file, with and without names of classes."""
    path = write_labels(tmp_path / "g.h5", [0, 1, 3])
    assert open_source(path).names == ("0", "1", "3")
    assert open_source(path, ["a", "b", "c", "d"]).table["label"].unique().tolist() == [0, 1, 3]
    assert open_source(path, ["a", "b", "c", "d"]).notes == ()
    matched = open_source(path, ["a", "b", "c"])
    assert matched.table["label"].unique().tolist() == [0, 1, 2]
    assert "3 is c" in matched.notes[0]
    says(f"without names: classes 0, 1, 3; with four names: positions; with three: {matched.notes[0]}")


def test_packed_numbers_do_not_wrap(tmp_path, says):
    """`galaxy10 pack` of labels 0, 65536, 1 and numbers beyond 2⁵³."""
    ids = [0, 65536, 1, 2**53, 2**53 + 1]
    for number in range(10):
        Image.fromarray(galaxy(number)).save(tmp_path / f"{number}.png")
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(10)], "label": ids * 2})
    table.to_csv(tmp_path / "list.csv", index=False)
    pack(tmp_path / "list.csv", tmp_path / "p.h5")
    assert open_source(tmp_path / "p.h5").label_ids.tolist() == ids * 2
    says("all stay what they are")


def test_labels_beyond_64_bits_are_refused(tmp_path, says):
    """A label of an HDF5 file is 2⁶⁴ − 1."""
    path = write_labels(tmp_path / "g.h5", np.array([0, 1, 2**64 - 1], np.uint64))
    with pytest.raises(Galaxy10Error, match="holds label 18446744073709551615; expected numbers below") as refused:
        open_source(path)
    says(str(refused.value))


def test_hundreds_of_thousands_of_classes_are_read(says):
    """A file has 200,000 classes."""
    labels, ids = classes_of(np.arange(200_000)[::-1] * 10, None, "f")
    assert labels[0] == 199_999
    assert len(numbering_note(ids, None, "f")) < 500
    says("read in time linear in their number")


def test_class_names_are_read_in_any_encoding(tmp_path, says):
    """Names of classes are latin-1 bytes in the HDF5 file."""
    latin = np.array(["Spirale", "Ell", "Irrégulière"], dtype=object)
    path = write_labels(tmp_path / "g.h5", [0, 1, 2], np.array([n.encode("latin-1") for n in latin]))
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
    says("Spirale, Ell, Irrégulière")


def test_column_names_are_unique_whatever_the_class_names(says):
    """Classes `a b`, `a_b` and `a_b_1` become columns of the prediction table."""
    for names in (
        ["a b", "a_b", "a_b_1"],
        ["a_b_1", "a b", "a_b"],
        ["渦巻", "楕円"],
        ["x"] * 3,
        ["a b", "a_b", "a_b_0", "a_b_1"],
    ):
        assert len(set(slugs(names))) == len(names)
    assert slugs(["a b", "c"]) == ["a_b", "c"]
    says("p_" + ", p_".join(slugs(["a b", "a_b", "a_b_1"])))
