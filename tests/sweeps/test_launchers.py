"""`train -m hydra/launcher=…`: the launchers of Hydra's plugins start trials as processes of their own."""

import json
import os
import signal

import pytest

from galaxy10.config.launchers import check_launcher
from galaxy10.errors import Galaxy10Error
from tests.conftest import ROOT, ended
from tests.galaxies import write_galaxies
from tests.sweeps.conftest import stand_in
from tests.waiting import wait_for

LAUNCHERS = ("submitit_local", pytest.param("joblib", marks=pytest.mark.long))
STAND_IN = ("-m", "data=hdf5", "data.path=g.h5", "logger=csv", "trainer.max_epochs=2")


@pytest.fixture
def grid(start, tmp_path):
    """Run a grid by a launcher; its trials are the stand-in of tests/sweeps/stand_in."""
    write_galaxies(tmp_path / "g.h5")

    def run(*words, **env):
        return ended(start(ROOT / "train.py", *STAND_IN, *words, cwd=tmp_path, fresh=True, **stand_in(**env)))

    return run


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_runs_every_trial_and_one_that_fails_fails_no_other(launcher, grid, tmp_path):
    done = grid(f"hydra/launcher={launcher}", "model.dropout=0.1,0.9,0.3")
    assert done.code == 1, done.err
    assert [trial["state"] for trial in done.result["trials"]] == ["finished", "failed", "finished"]
    assert done.result["trials"][0]["val/macro_f1"] == pytest.approx(0.9)
    assert done.result["trials"][1]["error"] == "RuntimeError: it fell apart"
    assert len(done.out.strip().splitlines()) == 1
    assert "Traceback" not in done.err
    # All that the plugin keeps lies beside the runs, and each run began once.
    assert {path.name for path in tmp_path.iterdir() if "store" not in path.name} <= {"g.h5", "runs", "g.lock"}
    (folder,) = tmp_path.glob("runs/grid-*/launcher")
    assert (folder / ".submitit").is_dir() == (launcher == "submitit_local")
    assert [path.read_text().split() for path in tmp_path.glob("runs/*/*/trained.txt")] == [["0", "1"]] * 3


@pytest.mark.long
@pytest.mark.slow
def test_a_trial_that_is_refused_says_why(grid):
    done = grid("hydra/launcher=submitit_local", "model.dropout=0.9", STAND_IN_CRASH="refused")
    assert done.code == 1
    assert done.result["trials"][0]["error"] == "model.dropout is too much"
    assert done.result["trials"][0]["exit_code"] == 2


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_signal_stops_the_trials(launcher, start, grid, tmp_path):
    words = (*STAND_IN, f"hydra/launcher={launcher}", "model.dropout=0.1,0.2", "trainer.max_epochs=3")
    slow = stand_in(STAND_IN_EPOCH_S="1000")
    with start(ROOT / "train.py", *words, cwd=tmp_path, fresh=True, **slow) as process:
        together = min(2, len(os.sched_getaffinity(0)))
        wait_for(lambda: len(list(tmp_path.glob("runs/grid-*/*/lock.json"))) == together, "trials", process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert process.returncode == 143, err
    assert "Traceback" not in err
    result = json.loads(out.strip().splitlines()[-1])
    assert result["state"] == "interrupted"
    assert {trial["state"] for trial in result["trials"]} <= {"interrupted", "waiting"}
    assert "interrupted" in {trial["state"] for trial in result["trials"]}


@pytest.mark.long
@pytest.mark.slow
def test_a_launcher_of_ones_own_folder_and_its_settings(grid, tmp_path):
    (tmp_path / "mine" / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "mine" / "hydra" / "launcher" / "two.yaml").write_text("defaults: [joblib]\nn_jobs: 2\n")
    words = ("--config-dir", "mine", "hydra/launcher=two", "model.dropout=0.1,0.2")
    wrong = grid(*words, "hydra.launcher.n_job=1")
    assert wrong.code == 2
    assert "hydra.launcher.n_job" in wrong.message
    assert not (tmp_path / "runs").exists()
    done = grid(*words, "hydra.launcher.verbose=0")
    assert done.code == 0, done.err


def test_launchers_and_sweepers_that_are_none_are_refused(here, tmp_path):
    for words, message in (
        (["hydra/launcher=joblib"], "hydra/launcher=joblib only starts grids; add -m"),
        (["-m", "hydra/launcher=jolib", "seed=0,1"], "did you mean joblib?"),
        (["-m", "hydra/sweeper=optuna", "seed=0,1"], "python sweep.py sweep=SPACE"),
    ):
        assert message in here("train.py", *words).message
    assert not list(tmp_path.iterdir())


def test_a_launcher_whose_plugin_is_not_installed_says_what_to_install(monkeypatch):
    from hydra.core.config_store import ConfigStore

    monkeypatch.setattr(ConfigStore.instance(), "list", lambda path: ["basic.yaml"])
    with pytest.raises(Galaxy10Error, match="pip install hydra-submitit-launcher"):
        check_launcher(["hydra/launcher=submitit_slurm"], {})


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_trains_and_tests_as_our_own_does(launcher, train, tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=20)
    words = (
        "-m",
        "data=hdf5",
        "data.path=g.h5",
        "model=pca_logreg",
        "model.image_size=16",
        "model.scree_components=10",
    )
    done = train(*words, "data.fold=0", "data.num_folds=3,50,4", f"hydra/launcher={launcher}")
    assert done.code == 1, done.err
    assert [trial["state"] for trial in done.result["trials"]] == ["finished", "failed", "finished"]
    assert "20 separate galaxies, too few for 50 subsets" in done.result["trials"][1]["error"]
    assert all("test/accuracy" in trial for trial in done.result["trials"][::2])
    again = train(*words, "data.fold=0", "data.num_folds=3,50,4", f"hydra/launcher={launcher}")
    assert "2 of them finished already" in again.err
    assert "launch  1 trial with" in again.err
    assert [trial["state"] for trial in again.result["trials"]] == ["finished", "failed", "finished"]
