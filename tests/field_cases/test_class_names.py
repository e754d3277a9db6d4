"""Class names of files that are evaluated"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from galaxy10.data.hdf5 import open_source
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.labelled_file import match_classes
from tests.galaxies import write_galaxies

RUN = ("Spiral", "In-between", "Edge-on")


def labelled(path: Path, labels: list[int], names: list[str] | None) -> Path:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((len(labels), 16, 16, 3), np.uint8)
        file["ans"] = np.array(labels)
        if names:
            file["ans"].attrs["class_names"] = names
    return path


@pytest.mark.long
def test_fewer_classes_than_the_run(run, galaxy10, tmp_path, says):
    """A file has two of the run's three classes, and writes one of them in another way (`edge_ON`)."""
    write_galaxies(tmp_path / "two.h5", num_classes=2, names=["spiral", "edge_ON"], seed=5)
    done = galaxy10("evaluate", run, "two.h5", "-o", "out")
    assert done.code == 0, done.err
    notes = [line for line in done.err.splitlines() if line.startswith("note")]
    assert "spiral is Spiral, edge_ON is Edge-on" in notes[0]
    assert "two.h5 has 2 of the run's 3 classes, and no In-between" in notes[1]
    table = pd.read_parquet(tmp_path / "out/predictions/test.parquet")
    assert set(table["label"]) == {0, 2}
    expected = f1_score(table["label"], table["predicted"], labels=[0, 2], average="macro", zero_division=0)
    assert done.result["test/macro_f1"] == pytest.approx(expected)
    assert done.result["test/f1_in_between"] is None
    page = (tmp_path / "out/report.html").read_text()
    assert "no In-between" in page
    assert "disagree" not in page
    says(" ".join(notes))


def test_one_class(tmp_path, says):
    """All galaxies of a file are of one class."""
    path = labelled(tmp_path / "g.h5", [2, 2], ["Spiral", "Lenticular", "Edge-on"])
    file = match_classes(open_source(path, one_class=True), RUN)
    assert file.labels.tolist() == [2, 2]
    says(file.notes[0])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Spiral", "Lenticular", "Edge-on"], "has classes that the run does not know: Lenticular; the run has Spiral"),
        (["Spiral", "Edge-on", "edge on"], "Edge-on and edge on could both be the run's class Edge-on"),
    ],
    ids=["unknown", "twice"],
)
def test_names_that_cannot_be_matched(names, message, tmp_path, says):
    """A class of the file is unknown to the run, or two of its classes are one of the run's."""
    path = labelled(tmp_path / "g.h5", [0, 1, 2], names)
    with pytest.raises(Galaxy10Error, match=message) as refused:
        match_classes(open_source(path), RUN)
    says(str(refused.value))


def test_two_classes_of_the_run_differ_by_a_hyphen(tmp_path, says):
    """The run has two classes whose names differ by a hyphen only, and the file writes a third form."""
    run = ("Edge-on", "Edge on", "Spiral")
    exact = match_classes(open_source(labelled(tmp_path / "a.h5", [0, 1], ["Edge on", "Spiral"])), run)
    assert exact.labels.tolist() == [1, 2]
    with pytest.raises(Galaxy10Error, match="class edge_on could be Edge-on or Edge on of the run") as refused:
        match_classes(open_source(labelled(tmp_path / "b.h5", [0, 1], ["edge_on", "Spiral"])), run)
    says(str(refused.value))


def test_a_file_without_class_names(tmp_path, says):
    """A file has labels 1 and 2 and no class names; the run was trained on a file with labels 1, 2 and 3."""
    source = open_source(labelled(tmp_path / "g.h5", [1, 2, 2], None))
    file = match_classes(source, RUN, [1, 2, 3])
    assert file.labels.tolist() == [0, 1, 1]
    assert "(1 is Spiral, 2 is In-between)" in file.notes[0]
    says(file.notes[0])
