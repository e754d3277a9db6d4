"""Any names of classes, and any words for coordinates."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galaxy10.classes import slugs
from galaxy10.data.coordinates import column_named, read_degrees
from galaxy10.data.hdf5 import open_source
from galaxy10.data.labels import classes_of, numbering_note
from galaxy10.data.path_tables import catalogue_column_names
from tests.galaxies import write_galaxies
from tests.properties import attempt

near = st.text(alphabet='aA bB_-01é銀\n"|,', max_size=4)  # names that nearly collide
names = st.lists(st.one_of(near, st.text(max_size=8)), min_size=1, max_size=12)


@given(names)
def test_columns_of_class_names_are_distinct_and_plain(words):
    found = slugs(words)
    assert len(set(found)) == len(words)
    assert all(set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for slug in found)
    assert slugs(words) == found


@given(st.lists(st.one_of(near, st.sampled_from(["path", "row", "p_a", "predicted", "input_path"])), unique=True))
def test_columns_of_an_input_are_distinct_beside_those_of_a_catalogue(words):
    found = catalogue_column_names(words)
    assert list(found) == words
    assert len(set(found.values())) == len(words)
    assert not {"path", "row", "predicted"} & set(found.values())
    assert not any(name.startswith("p_") for name in found.values())


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda text: "\0" not in text), min_size=3, max_size=3))
def test_names_of_an_hdf5_file_are_read_as_they_were_written(words):
    with tempfile.TemporaryDirectory() as folder:
        path = write_galaxies(Path(folder) / "g.h5", per_class=2, size=(8, 8))
        with h5py.File(path, "r+") as file:
            kind = h5py.string_dtype()
            file["ans"].attrs.create("class_names", np.array(words, dtype=object), dtype=kind)
        source, refused = attempt(open_source, path)
        assert bool(refused) == (len(set(words)) < 3)
        assert refused or source.names == tuple(words)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50), st.none() | names)
def test_labels_of_any_size_become_classes_and_back(ids, words):
    values = np.array(ids, dtype=np.int64)
    found, refused = attempt(classes_of, values, words, "f")
    if refused:
        assert words is not None
        return
    labels, class_ids = found
    assert np.array_equal(np.array(class_ids)[labels], values) or (words and values.max() < len(words))
    assert labels.max() < len(class_ids)
    note = numbering_note(class_ids, words, "f")
    assert note is None or isinstance(note, str)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["ra", "dec"]))
def test_a_number_of_degrees_is_read_exactly(value, key):
    assert read_degrees([repr(value)], key, "f")[0].tolist() == [value]


@given(st.integers(0, 23), st.integers(0, 59), st.floats(0, 59.9), st.sampled_from([":", "h", " "]))
def test_hours_are_read(hours, minutes, seconds, unit):
    text = f"{hours}{unit}{minutes:02d}{'m' if unit == 'h' else unit}{seconds:04.1f}{'s' if unit == 'h' else ''}"
    expected = 15 * (hours + minutes / 60 + round(seconds, 1) / 3600)
    assert read_degrees([text], "ra", "f")[0][0] == pytest.approx(expected, abs=1e-3)


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=9), st.text("0123456789.:-+hdms °′″−e", max_size=12)), max_size=6),
    st.sampled_from(["ra", "dec"]),
)
def test_any_words_for_coordinates_are_read_counted_or_refused(values, key):
    found, refused = attempt(read_degrees, values, key, "f")
    if refused:
        assert "none of the" in refused
        return
    degrees, remark = found
    assert degrees.shape == (len(values),)
    assert not np.isinf(degrees).any()
    assert remark is None or "cannot be read" in remark


@given(st.lists(st.text(max_size=4)))
def test_a_column_of_any_case_is_one_of_the_names(words):
    found, _ = attempt(column_named, words, "ra", "f")
    assert found is None or found in words
