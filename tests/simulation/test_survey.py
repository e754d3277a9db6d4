"""The simulated survey keeps the real file's shape, order and defects, and is the same wherever it is made."""

import hashlib
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxy10.classes import GALAXY10_CLASSES, GALAXY10_COUNTS
from galaxy10.errors import Galaxy10Error
from galaxy10.simulation import simulate_survey
from galaxy10.simulation.survey import class_counts, unit_vectors
from tests.waiting import PATIENCE_S, wait_for


def content(path: Path) -> dict[str, np.ndarray]:
    """Every data set of a file."""
    with h5py.File(path) as file:
        return {key: file[key][:] for key in file}


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def separations_arcsec(survey: dict[str, np.ndarray]) -> np.ndarray:
    """Angles between all pairs, (N, N), infinite on the diagonal."""
    direction = unit_vectors(survey["ra"], survey["dec"])
    chord = np.linalg.norm(direction[:, None] - direction[None], axis=2)
    np.fill_diagonal(chord, 2)
    return np.degrees(2 * np.arcsin(chord / 2)) * 3600


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 galaxies of 32 pixels, with defects."""
    return simulate_survey(tmp_path_factory.mktemp("survey") / "new" / "small.h5", num_images=300, size_px=32, seed=3)


@pytest.fixture(scope="module")
def small(small_file: Path) -> dict[str, np.ndarray]:
    """What is in that file."""
    return content(small_file)


def test_keys_and_types_are_those_of_the_real_file(small_file: Path) -> None:
    with h5py.File(small_file) as file:
        assert sorted(file) == ["ans", "dec", "images", "pxscale", "ra", "redshift"]
        assert file["images"].shape == (300, 32, 32, 3)
        assert file["images"].dtype == np.uint8
        assert file["ans"].dtype == np.uint8
        for key in ("ra", "dec", "redshift", "pxscale"):
            assert file[key].shape == (300,)
            assert file[key].dtype == np.float64
        assert file["images"].chunks == (10, 16, 16, 1)
        assert file["images"].compression == "gzip"
        assert dict(file.attrs) == {}
        assert list(file["ans"].attrs) == ["class_names"]
        assert tuple(str(name) for name in file["ans"].attrs["class_names"]) == GALAXY10_CLASSES


def test_labels_are_sorted_in_the_real_shares(small: dict[str, np.ndarray]) -> None:
    assert np.all(np.diff(small["ans"].astype(int)) >= 0)
    share = 300 * np.array(GALAXY10_COUNTS) / sum(GALAXY10_COUNTS)
    assert np.abs(np.bincount(small["ans"], minlength=10) - share).max() < 1
    assert tuple(class_counts(sum(GALAXY10_COUNTS))) == GALAXY10_COUNTS
    assert class_counts(10).tolist() == [1] * 10


def test_duplicates_have_one_position_and_two_labels(small: dict[str, np.ndarray]) -> None:
    first, second = np.nonzero(np.triu(separations_arcsec(small) < 0.5))
    assert len(first) >= 2
    assert np.all(small["ans"][first] != small["ans"][second])
    for a, b in zip(first, second, strict=True):
        assert np.abs(small["images"][a].astype(int) - small["images"][b]).mean() < 4


def test_three_blank_images_have_three_labels(small: dict[str, np.ndarray]) -> None:
    blank = np.all(small["images"] == 32, axis=(1, 2, 3))
    assert blank.sum() == 3
    assert len(set(small["ans"][blank])) == 3


def test_some_redshifts_are_missing_and_the_rest_plausible(small: dict[str, np.ndarray]) -> None:
    missing = np.isnan(small["redshift"])
    assert missing.sum() == round(92 / 17736 * 300)
    assert np.all((small["redshift"][~missing] > 0) & (small["redshift"][~missing] < 0.2))


@pytest.mark.long
def test_overlapping_fields_share_their_sky(tmp_path: Path) -> None:
    survey = content(simulate_survey(tmp_path / "s.h5", num_images=200, size_px=64, seed=1))
    separation = separations_arcsec(survey)
    first, second = np.nonzero(np.triu((separation > 0.5) & (separation < 33.5)))
    assert len(first) >= 1
    for a, b in zip(first, second, strict=True):
        pixel = survey["pxscale"][a]
        east = (survey["ra"][b] - survey["ra"][a]) * np.cos(np.radians(survey["dec"][b])) * 3600
        columns = round(-east / pixel)  # north is up, east is left
        rows = round(-(survey["dec"][b] - survey["dec"][a]) * 3600 / pixel)
        here = survey["images"][a][max(rows, 0) : 64 + min(rows, 0), max(columns, 0) : 64 + min(columns, 0)]
        there = survey["images"][b][max(-rows, 0) : 64 + min(-rows, 0), max(-columns, 0) : 64 + min(-columns, 0)]
        np.testing.assert_array_equal(here, there)


def test_no_other_galaxies_are_within_a_field(small: dict[str, np.ndarray]) -> None:
    separation = separations_arcsec(small)
    assert not np.any((separation > 33.5) & (separation < 67.1))
    assert np.all((small["ra"] >= 0) & (small["ra"] < 360) & (np.abs(small["dec"]) < 70))
    assert np.all((small["pxscale"] >= 67.07 / 32) & (small["pxscale"] <= 2 * 67.08 / 32))


def test_no_defects_when_not_wanted(tmp_path: Path) -> None:
    survey = content(simulate_survey(tmp_path / "s.h5", num_images=200, size_px=16, defects=False))
    assert not np.isnan(survey["redshift"]).any()
    assert not np.all(survey["images"] == 32, axis=(1, 2, 3)).any()
    assert separations_arcsec(survey).min() > 67


@pytest.mark.long
def test_same_seed_same_bytes_other_seed_other_galaxies(tmp_path: Path, small_file: Path) -> None:
    again = simulate_survey(tmp_path / "again.h5", num_images=300, size_px=32, seed=3)
    assert checksum(again) == checksum(small_file)
    other = content(simulate_survey(tmp_path / "other.h5", num_images=300, size_px=32, seed=4))
    assert not np.array_equal(other["images"], content(small_file)["images"])


@pytest.mark.long
def test_workers_do_not_run_the_users_script_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""from pathlib import Path
from galaxy10.simulation import file
print("begun")
file.IN_PROCESS_PIXELS = 0
file.simulate_survey(Path({str(tmp_path / "survey.h5")!r}), num_images=20, size_px=16, workers=2)
""")
    out = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout == "begun\n"


@pytest.mark.long
def test_number_of_workers_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("galaxy10.simulation.file.IN_PROCESS_PIXELS", 0)
    files = [simulate_survey(tmp_path / f"{n}.h5", num_images=40, size_px=32, workers=n) for n in (1, 2)]
    assert checksum(files[0]) == checksum(files[1])


def test_odd_sizes_fill_their_chunks(tmp_path: Path) -> None:
    images = content(simulate_survey(tmp_path / "s.h5", num_images=11, size_px=37))["images"]
    assert images.shape == (11, 37, 37, 3)
    assert images[:, -1].std() > 1  # the last row of pixels is sky, not filling


def test_progress_counts_rows_to_the_end(tmp_path: Path) -> None:
    calls: list[int] = []
    simulate_survey(tmp_path / "s.h5", num_images=25, size_px=16, progress=calls.append)
    assert sorted(calls) == calls
    assert calls[-1] == 25


def test_failure_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def give_up(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_survey(tmp_path / "s.h5", num_images=40, size_px=16, progress=give_up)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_simulation_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "killed.h5"
    program = f"""
from pathlib import Path
from galaxy10.simulation import simulate_survey
simulate_survey(Path({str(path)!r}), num_images=2000, size_px=256, workers=1)
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: list(tmp_path.glob("*.part")), "half a survey", process)
        process.kill()
    assert list(tmp_path.glob("*.part"))
    assert not path.exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_images": 9}, "at least 10"),
        ({"size_px": 15}, "16 to 1024"),
        ({"size_px": 1025}, "16 to 1024"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(tmp_path: Path, wrong: dict[str, int], said: str) -> None:
    with pytest.raises(Galaxy10Error, match=said) as caught:
        simulate_survey(tmp_path / "s.h5", **wrong)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Galaxy10Error, match="cannot write"):
        simulate_survey(tmp_path / "file" / "s.h5", num_images=10, size_px=16)
    with pytest.raises(Galaxy10Error, match="is a folder"):
        simulate_survey(tmp_path, num_images=10, size_px=16)


def test_no_torch_is_imported() -> None:
    program = "import sys, galaxy10.simulation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
