"""A study on a real SLURM: an array of workers over two nodes shares it, and one of them is cancelled."""

import os

import pytest
from optuna.trial import TrialState

from tests.conftest import ROOT
from tests.galaxies import write_galaxies
from tests.slurm.conftest import wait_for
from tests.sweeps.conftest import TINY, stand_in, sweep, trials_of  # noqa: F401 - sweep is a fixture

pytestmark = [pytest.mark.long, pytest.mark.slow]

SWEEP = ROOT / "slurm" / "sweep.sbatch"
SPACE = ("sweep.pruner=none", "sweep.space.model.dropout.high=0.7")


def test_an_array_of_four_workers_over_two_nodes_shares_one_study_and_one_is_cancelled(slurm, tmp_path):
    write_galaxies(tmp_path / "g.h5")
    study = tmp_path / "s"
    # Training is the stand-in of tests/sweeps: this is about who does what, and ten seconds of importing are spared.
    variables = stand_in(STAND_IN_EPOCH_S="1.5")
    # Two cores of the four that a node has: so they do not all fit on one.
    words = ("--array=0-3", "--cpus-per-task=2", SWEEP, *TINY, "sweep.n_trials=16", *SPACE)
    array = slurm.submit(*words, cwd=tmp_path, **variables)
    logs = [tmp_path / f"{array}_{task}.log" for task in range(4)]

    def at_work():
        return sum("begins" in log.read_text() for log in logs if log.exists())

    wait_for(lambda: at_work() == 4, what="four workers to begin a trial")
    assert {slurm.about(f"{array}_{task}")["NodeList"] for task in range(4)} == {"n0", "n1"}
    slurm.ask("scancel", f"{array}_2")
    states = [slurm.ended(f"{array}_{task}") for task in range(4)]
    assert states == ["COMPLETED", "COMPLETED", "CANCELLED", "COMPLETED"], logs[0].read_text()
    trials = trials_of(study)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 16
    assert "is interrupted" in logs[2].read_text()  # in the middle of a trial, which another worker went on with
    assert any("resumes" in log.read_text() for log in logs)
    for number in range(16):
        trained = (study / "trials" / f"{number:04}" / "trained.txt").read_text().split()
        assert trained == ["0", "1", "2", "3"]
    done = [log.read_text().count("is complete") for log in logs]
    assert sum(done) == 16
    assert min(done[0], done[1], done[3]) > 0
    assert len(list(study.glob("trials/*"))) == 16


def test_workers_are_submitted_from_the_login_node(slurm, sweep, tmp_path):  # noqa: F811
    variables = {"SLURM_CONF": str(slurm.folder / "slurm.conf"), "STAND_IN_EPOCH_S": "0.3"}
    done = sweep("sweep.n_trials=4", *SPACE, "sweep.launcher=slurm", "sweep.workers=2", **variables)
    assert done.code == 0, done.err
    assert (done.result["state"], done.result["workers"]) == ("submitted", 2)
    job = done.result["job"]
    assert [slurm.ended(f"{job}_{task}") for task in (0, 1)] == ["COMPLETED"] * 2
    assert len(trials_of(tmp_path / "s")) == 4
    assert os.listdir(tmp_path / "s" / "slurm")
