"""`train.py -m`: every trial a run of its own, one failure is one failure, and nothing finished is run again."""

import json
import signal
from pathlib import Path

import pytest

from galaxy10.config.command_line import config_options
from galaxy10.sweeps.grid import grid_name
from galaxy10.sweeps.grid_trials import GridTrial
from tests.conftest import ROOT, ended
from tests.galaxies import write_galaxies
from tests.sweeps.conftest import stand_in
from tests.waiting import wait_for

PCA = ("model=pca_logreg", "model.image_size=16", "model.scree_components=10", "logger=csv", "run.report=false")


@pytest.fixture
def data(tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=20)
    return ("data=hdf5", "data.path=g.h5")


def runs_in(tmp_path):
    return sorted(tmp_path.glob("runs/grid-*/*"))


def states(done):
    return [trial["state"] for trial in done.result["trials"]]


@pytest.mark.long
def test_the_same_command_runs_nothing_again_that_has_finished(data, train, tmp_path):
    command = ("-m", *data, *PCA, "data.fold=0", "data.num_folds=50,3")
    done = train(*command)
    assert states(done) == ["failed", "finished"]
    assert "20 separate galaxies, too few for 50 subsets" in done.err
    (run,) = runs_in(tmp_path)
    assert run.name.rpartition("-")[0] == "pca_logreg-num_folds=3-seed0"
    trial = done.result["trials"][1]
    assert trial["test/accuracy"] == json.loads((run / "status.json").read_text())["metrics"]["test/accuracy"]
    before = (run / "status.json").read_bytes()
    again = train(*command)
    assert states(again) == ["failed", "finished"]
    assert "2 trials, 1 of them finished already" in again.err
    assert (run / "status.json").read_bytes() == before


def test_a_failed_trial_stops_no_other_and_hydra_leaves_nothing_and_says_nothing(data, start, tmp_path):
    """Its trials are the stand-in, of which a dropout of 0.9 crashes."""
    words = ("-m", *data, "model.dropout=0.9,0.1", "trainer.max_epochs=2", "logger=csv")
    done = ended(start(ROOT / "train.py", *words, cwd=tmp_path, fresh=True, **stand_in()))
    assert done.code == 1
    assert done.result["state"] == "failed"
    assert states(done) == ["failed", "finished"]
    assert "RuntimeError: it fell apart" in done.err
    names = {path.name for path in tmp_path.iterdir() if path.suffix not in (".store", ".lock")}
    assert names == {"g.h5", "runs"}
    assert "HYDRA" not in done.err
    assert len(done.out.strip().splitlines()) == 1


def test_more_seeds_or_experiments_are_the_same_grid_enlarged():
    name = grid_name([["model=pca_logreg", "data.fold=0", "seed=0"]])
    trials = [["model=pca_logreg", "data.fold=0", f"seed={seed}"] for seed in (0, 1)]
    assert grid_name(trials) == name
    assert grid_name([[*words, "experiment=baseline_pca"] for words in trials]) == name
    assert grid_name([[*words, "data.num_folds=3"] for words in trials]) != name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=pca_logreg", "augment=none,affine"], "augment=affine: model=pca_logreg does not use augment"),
        (["model=pca_logreg", "model.num_components=2,0"], "model.num_components=0 is not allowed"),
        (["model=simple_cnn,resnet5"], "there is no model=resnet5: did you mean resnet50?"),
        (["experiment=baseline_pca,baseline_cn"], "there is no experiment=baseline_cn: did you mean baseline_cnn?"),
        (["seed=0,1", "run.dir=r"], "type run.root=… instead"),
        (["seed=0,1", "data.path=none.h5"], "data.path=none.h5 does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_wrong_trial_refuses_the_whole_grid_before_anything_starts(words, message, data, here, tmp_path):
    done = here("train.py", "-m", *data, *words)
    assert done.code == 2
    assert message in done.message
    assert {path.name for path in tmp_path.iterdir()} == {"g.h5"}


@pytest.mark.long
def test_a_signal_stops_the_current_trial_and_starts_no_other(data, start, tmp_path):
    words = ("-m", *data, "seed=0,1", "model.dropout=0.1", "trainer.max_epochs=1000000", "logger=csv")
    slow = stand_in(STAND_IN_EPOCH_S="0.1")  # its trials are the stand-in, which trains nothing
    with start(ROOT / "train.py", *words, cwd=tmp_path, fresh=True, **slow) as process:
        wait_for(lambda: list(tmp_path.glob("runs/grid-*/*/metrics.csv")), "the first epoch", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    result = json.loads(out.strip().splitlines()[-1])
    assert result["state"] == "interrupted"
    assert [trial["state"] for trial in result["trials"]] == ["interrupted", "waiting"]
    (run,) = runs_in(tmp_path)
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize("typed", [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]], ids=" ".join)
def test_a_trial_is_composed_from_the_folder_that_the_grid_was_given(typed, here, tmp_path, monkeypatch):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "best.yaml").write_text("# @package _global_\nmodel: {dropout: 0.125}\n")
    monkeypatch.chdir(tmp_path)
    options = config_options([*typed, "-m", "experiment=best", "seed=0,1"])
    assert options == ["--config-dir", str(tmp_path / "mine")]
    command = GridTrial(["experiment=best", "seed=1"], Path("runs/r"), options).command()
    (tmp_path / "elsewhere").mkdir()
    shown = here("galaxy10", *command[3:], "--cfg", "job", cwd=tmp_path / "elsewhere")
    assert "dropout: 0.125" in shown.out, shown.err
    assert config_options(["-m", "seed=0,1", "--config-name", "other"]) == ["--config-name", "other"]


def test_a_search_path_reaches_every_trial(here, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "best.yaml").write_text("# @package _global_\nmodel: {dropout: 0.125}\n")
    options = config_options(["-m", f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "experiment=best", "seed=0,1"])
    command = GridTrial(["experiment=best", "seed=1"], Path("runs/r"), options).command()
    shown = here("galaxy10", *command[3:], "--cfg", "job")
    assert "dropout: 0.125" in shown.out, shown.err
