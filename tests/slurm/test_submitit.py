"""`hydra/launcher=submitit_slurm` on a real SLURM: its jobs are the trials of the grid."""

import signal

import pytest

from tests.conftest import ROOT, ended
from tests.galaxies import write_galaxies
from tests.slurm.conftest import wait_for
from tests.sweeps.conftest import stand_in

pytestmark = [pytest.mark.long, pytest.mark.slow]

GRID = (
    *("-m", "data=hdf5", "data.path=g.h5", "logger=csv", "trainer.max_epochs=2", "hydra/launcher=submitit_slurm"),
    *("hydra.launcher.timeout_min=60", "hydra.launcher.cpus_per_task=1"),
)


@pytest.fixture
def grid(slurm, start, tmp_path):
    """Start a grid on the login node; its trials are the stand-in of tests/sweeps."""
    write_galaxies(tmp_path / "g.h5")
    environment = {"SLURM_CONF": str(slurm.folder / "slurm.conf"), "CUDA_VISIBLE_DEVICES": ""}

    def run(*words, **env):
        return start(ROOT / "train.py", *GRID, *words, cwd=tmp_path, fresh=True, **stand_in(**environment, **env))

    return run


def test_jobs_of_submitit_train_and_one_that_fails_fails_no_other(grid, tmp_path):
    done = ended(grid("model.dropout=0.1,0.9,0.3"))
    assert done.code == 1, done.err
    assert [trial["state"] for trial in done.result["trials"]] == ["finished", "failed", "finished"]
    assert done.result["trials"][1]["error"] == "RuntimeError: it fell apart"
    assert list(tmp_path.glob("runs/grid-*/launcher/.submitit/*/*_submitted.pkl"))
    assert {path.name for path in tmp_path.iterdir() if "store" not in path.name} <= {"g.h5", "runs", "g.lock"}


def test_the_jobs_outlive_the_command_that_is_interrupted(grid, slurm, tmp_path):
    with grid("model.dropout=0.1,0.2", STAND_IN_EPOCH_S="3") as process:
        wait_for(lambda: list(tmp_path.glob("runs/grid-*/*/lock.json")), what="a trial to begin")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "the launcher's jobs continue" in errors
    assert "Traceback" not in errors
    wait_for(lambda: len(list(tmp_path.glob("runs/grid-*/*/status.json"))) == 2, what="both trials to finish")
