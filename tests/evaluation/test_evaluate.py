"""A trained run on a labelled file: the numbers of training again, and classes known by their names."""

import h5py
import pytest

from tests.conftest import NAMES
from tests.galaxies import write_galaxies


def test_evaluate_gives_the_runs_own_numbers_on_its_test_subset(run, finished, galaxy10, tmp_path):
    again = galaxy10("evaluate", run, run.parent / "g.h5", "-o", tmp_path / "again")
    assert again.code == 0, again.err
    assert again.result["split_hash"] == finished.result["split_hash"]
    for key, value in finished.result.items():
        if key.startswith("test/"):
            assert again.result[key] == value, key
    assert 0 <= again.result["test/coverage_spiral"] <= 1 <= again.result["test/set_size_spiral"]
    errors = {
        name: again.result[f"test/calibration_error_{name}"] for name in ("uncalibrated", "calibrated", "perfect")
    }
    assert errors["uncalibrated"] == again.result["test/calibration_error"] != errors["calibrated"]
    assert 0 < errors["perfect"] < 0.3
    assert 0 < again.result["test/calibration_error_perfect_95"] < 0.5
    page = (tmp_path / "again" / "report.html").read_text()
    assert "in a set" in page
    for name in ("error before the temperature", "error after the temperature", "a perfectly calibrated model"):
        assert name in page
    assert f"{errors['calibrated']:.4f}" in page
    assert (tmp_path / "again" / "predictions" / "test.parquet").is_file()


@pytest.mark.long
def test_evaluate_matches_classes_by_name(run, galaxy10, tmp_path):
    same = write_galaxies(tmp_path / "same.h5", names=NAMES, seed=5)
    swapped = write_galaxies(tmp_path / "swapped.h5", names=["Edge-on", "Spiral", "In-between"], seed=5)
    with h5py.File(same) as theirs, h5py.File(swapped, "r+") as file:
        file["images"][:] = theirs["images"][:]
        file["ans"][:] = (theirs["ans"][:] + 1) % 3
    done = [galaxy10("evaluate", run, path, "-o", tmp_path / path.stem) for path in (same, swapped)]
    assert [one.code for one in done] == [0, 0], done[1].err
    assert done[0].result["test/accuracy"] == done[1].result["test/accuracy"]
    assert done[0].result["test/f1_spiral"] == done[1].result["test/f1_spiral"]
