"""A test that is no test"""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.conftest import NAMES, copy_of


def rows_of(run: Path, subset: str) -> np.ndarray:
    split = pd.read_parquet(run / "split.parquet")
    return split.loc[split["subset"] == subset, "row"].to_numpy()


def write_rows(run: Path, path: Path, rows: np.ndarray, change: int = 0, move_arcsec: float = 0.0) -> Path:
    """Some rows of the run's file under another name, with other pixels or positions."""
    with h5py.File(run.parent / "g.h5") as ours, h5py.File(path, "w") as file:
        file["images"] = ours["images"][:][rows] + np.uint8(change)
        file["ans"] = ours["ans"][:][rows]
        file["ans"].attrs["class_names"] = NAMES
        file["ra"] = ours["ra"][:][rows]
        file["dec"] = ours["dec"][:][rows] + move_arcsec / 3600
    return path


def test_a_file_holds_galaxies_that_the_run_was_trained_on(run, galaxy10, tmp_path, says):
    """A labelled file under another name holds some galaxies that the run was trained on."""
    rows = np.concatenate([rows_of(run, "train")[:20], rows_of(run, "test")])
    write_rows(run, tmp_path / "other.h5", rows)
    done = galaxy10("evaluate", run, "other.h5", "-o", "out")
    assert done.code == 0, done.err
    assert (
        "on 20 of the 44 galaxies of other.h5 (20 by pixels, 0 within 1.5″ on the sky): they are left out" in done.err
    )
    own = json.loads((run / "status.json").read_text())["metrics"]
    assert done.result["test/accuracy"] == own["test/accuracy"]
    assert (pd.read_parquet(tmp_path / "out/split.parquet")["subset"] == "dropped").sum() == 20
    says(next(line for line in done.err.splitlines() if line.startswith("note")))
    both = galaxy10("evaluate", run, "other.h5", "-o", "both", "--include-trained")
    assert both.code == 0, both.err
    assert len(pd.read_parquet(tmp_path / "both/predictions/test.parquet")) == 44
    assert "too optimistic" in (tmp_path / "both/report.html").read_text()


@pytest.mark.long
def test_a_class_of_which_nothing_is_left(run, galaxy10, tmp_path, says):
    """The run was trained on all galaxies of one class that a file has."""
    labels = pd.read_parquet(run / "split.parquet").set_index("row")["label"]
    rows = rows_of(run, "train")
    test = rows_of(run, "test")
    write_rows(run, tmp_path / "other.h5", np.concatenate([rows[labels[rows] == 0][:4], test[labels[test] > 0]]))
    done = galaxy10("evaluate", run, "other.h5", "-o", "out", "--coverage", ".8")
    assert done.code == 0, done.err
    assert done.result["test/f1_spiral"] is None
    assert done.result["test/coverage_spiral"] is None
    says(next(line for line in done.err.splitlines() if "no galaxy of Spiral is left" in line))


def test_the_same_galaxies_in_other_images(run, here, tmp_path, says):
    """All galaxies of a file are galaxies that the run was trained on, in new images of the same sky."""
    write_rows(run, tmp_path / "again.h5", rows_of(run, "train"), change=9, move_arcsec=1.0)
    refused = here("galaxy10", "evaluate", run, "again.h5", "-o", "out")
    assert refused.code == 2
    assert "(0 by pixels, 84 within 1.5″ on the sky); give other galaxies, or add --include-trained" in refused.message
    assert not (tmp_path / "out").exists()
    says(refused.message)


def test_a_catalogue_says_which_galaxies_the_run_was_trained_on(run, galaxy10, tmp_path, says):
    """A catalogue of new galaxies holds some that the run was trained or validated on."""
    rows = np.concatenate([rows_of(run, "train")[:5], rows_of(run, "val")[:3], rows_of(run, "test")])
    write_rows(run, tmp_path / "other.h5", rows, change=9, move_arcsec=0.4)
    write_rows(run, tmp_path / "far.h5", rows_of(run, "train")[:4], change=9, move_arcsec=2.0)
    done = galaxy10("predict", run, "other.h5", "far.h5", "-o", "cat.parquet")
    assert done.code == 0, done.err
    assert pd.read_parquet(tmp_path / "cat.parquet")["trained_on"].tolist() == [True] * 8 + [False] * 28
    note = next(line for line in done.err.splitlines() if line.startswith("note"))
    assert "on 8 of these 36 galaxies (column trained_on)" in note
    says(note)


@pytest.mark.long
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_an_older_run_cannot_be_checked(run, command, galaxy10, tmp_path, says):
    """A run of an older version does not record which galaxies it was trained on."""
    old = copy_of(run, tmp_path / "old")
    (old / "known_galaxies.parquet").unlink()
    write_rows(run, tmp_path / "other.h5", rows_of(run, "train")[::14])
    done = galaxy10(command, "old", "other.h5", "-o", {"predict": "cat.parquet", "evaluate": "out"}[command])
    assert done.code == 0, done.err
    assert "it cannot be checked whether old was trained on these galaxies" in done.err
    if command == "predict":
        assert pd.read_parquet(tmp_path / "cat.parquet")["trained_on"].isna().all()
    says(next(line for line in done.err.splitlines() if "cannot be checked" in line))
