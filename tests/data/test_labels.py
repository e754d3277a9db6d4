"""Class numbers and class names of any form become the classes they stand for."""

import numpy as np
import pytest

from galaxy10.data.hdf5 import open_source
from galaxy10.data.store import open_store
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.labelled_file import match_classes
from tests.galaxies import write_labels


def test_a_store_serves_every_choice_of_names(tmp_path):
    path = write_labels(tmp_path / "g.h5", [1, 2, 3])
    named = open_store(open_source(path, ["unused", "a", "b", "c"]), tmp_path)
    bare = open_store(open_source(path), tmp_path)
    assert named.path == bare.path
    assert named.content == bare.content
    assert named.table["label"].unique().tolist() == [1, 2, 3]
    assert bare.table["label"].unique().tolist() == [0, 1, 2]


def test_an_evaluated_file_is_matched_by_its_numbers(tmp_path):
    source = open_source(write_labels(tmp_path / "g.h5", [1, 2, 3]))
    assert np.unique(match_classes(source, ("1", "2", "3", "4")).labels).tolist() == [0, 1, 2]
    assert np.unique(match_classes(source, ("a", "b", "c", "d")).labels).tolist() == [1, 2, 3]
    assert np.unique(match_classes(source, ("a", "b", "c")).labels).tolist() == [0, 1, 2]
    assert np.unique(match_classes(source, ("a", "b", "c", "d"), [1, 2, 3, 9]).labels).tolist() == [0, 1, 2]
    for names in (("0", "1", "2"), ("a", "b")):
        with pytest.raises(Galaxy10Error, match="has classes that the run does not know"):
            match_classes(source, names)
