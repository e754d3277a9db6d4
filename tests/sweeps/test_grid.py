"""`train.py -m`: every trial a run of its own, one failure is one failure, and nothing finished is run again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from galaxy10.config.command_line import config_options
from galaxy10.config.paths import child_environment
from galaxy10.sweeps.trials import Trial
from tests.conftest import ROOT
from tests.galaxies import write_galaxies

PCA = ("model=pca_logreg", "model.image_size=16", "model.scree_components=10")


@pytest.fixture
def data(tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=20)
    return ("data=hdf5", "data.path=g.h5")


def runs_in(tmp_path):
    return sorted(tmp_path.glob("runs/grid-*/*"))


def test_a_grid_runs_every_trial_and_the_same_command_runs_none_again(data, train, tmp_path):
    command = ("-m", *data, *PCA, "model.num_components=2,3", "seed=0")
    done = train(*command)
    assert done.code == 0, done.err
    runs = runs_in(tmp_path)
    assert [run.name.rpartition("-")[0] for run in runs] == [
        "pca_logreg-num_components=2-seed0",
        "pca_logreg-num_components=3-seed0",
    ]
    assert done.result["state"] == "finished"
    assert {trial["run_dir"] for trial in done.result["trials"]} == {str(run.relative_to(tmp_path)) for run in runs}
    assert all(trial["state"] == "finished" and trial["test/accuracy"] >= 0 for trial in done.result["trials"])
    ended = [json.loads((run / "status.json").read_text())["ended"] for run in runs]
    again = train(*command)
    assert again.code == 0
    assert "2 of them finished already" in again.err
    assert [json.loads((run / "status.json").read_text())["ended"] for run in runs] == ended
    more = train(*command[:-1], "seed=0,1")
    assert "4 trials, 2 of them finished already" in more.err
    assert len(runs_in(tmp_path)) == 4


def test_hydra_leaves_nothing_beside_the_runs_and_says_nothing(data, train, tmp_path):
    done = train("-m", *data, *PCA, "model.num_components=2", "seed=0", TMPDIR=str(tmp_path / "tmp"))
    names = {path.name for path in tmp_path.iterdir() if path.suffix not in (".store", ".lock")}
    assert names == {"g.h5", "runs"}
    assert "HYDRA" not in done.err
    assert len(done.out.strip().splitlines()) == 1


def test_a_failed_trial_does_not_stop_the_others(data, train, tmp_path):
    done = train("-m", *data, *PCA, "data.fold=0", "data.num_folds=3,50,4")
    assert done.code == 1
    assert done.result["state"] == "failed"
    assert [trial["state"] for trial in done.result["trials"]] == ["finished", "failed", "finished"]
    assert "20 separate galaxies, too few for 50 subsets" in done.err
    assert len(runs_in(tmp_path)) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=pca_logreg", "augment=none,affine"], "augment=affine: model=pca_logreg is solved at once"),
        (["model=pca_logreg", "model.num_components=2,0"], "model.num_components=0 is not allowed"),
        (["model=simple_cnn,resnet5"], "there is no model=resnet5: did you mean resnet50?"),
        (["experiment=baseline_pca,baseline_cn"], "there is no experiment=baseline_cn: did you mean baseline_cnn?"),
        (["seed=0,1", "run.dir=r"], "type run.root=… instead"),
        (["seed=0,1", "data.path=none.h5"], "data.path=none.h5 does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_wrong_trial_refuses_the_whole_grid_before_anything_starts(words, message, data, train, tmp_path):
    done = train("-m", *data, *words)
    assert done.code == 2
    assert message in done.message
    assert {path.name for path in tmp_path.iterdir()} == {"g.h5"}


def test_a_signal_stops_the_current_trial_and_starts_no_other(data, start, tmp_path):
    words = ("-m", *data, "seed=0,1", "trainer.max_epochs=2000", "data.batch_size=8", "model.image_size=32")
    with start(ROOT / "train.py", *words, cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/grid-*/*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    result = json.loads(out.strip().splitlines()[-1])
    assert result["state"] == "interrupted"
    assert [trial["state"] for trial in result["trials"]] == ["interrupted", "waiting"]
    assert len(runs_in(tmp_path)) == 1
    assert json.loads((runs_in(tmp_path)[0] / "status.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize("typed", [["--config-dir", "mine"], ["--config-dir=mine"], ["-cd", "mine"]], ids=" ".join)
def test_a_trial_is_composed_from_the_folder_that_the_grid_was_given(typed, tmp_path, monkeypatch):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "best.yaml").write_text("# @package _global_\nmodel: {dropout: 0.125}\n")
    monkeypatch.chdir(tmp_path)
    options = config_options([*typed, "-m", "experiment=best", "seed=0,1"])
    assert options == ["--config-dir", str(tmp_path / "mine")]
    command = Trial(["experiment=best", "seed=1"], Path("runs/r"), options).command()
    (tmp_path / "elsewhere").mkdir()
    environment = child_environment(os.environ)
    shown = subprocess.run(
        [*command, "--cfg", "job"], cwd=tmp_path / "elsewhere", capture_output=True, text=True, env=environment
    )
    assert "dropout: 0.125" in shown.stdout, shown.stderr
    assert config_options(["-m", "seed=0,1", "--config-name", "other"]) == ["--config-name", "other"]


def test_a_search_path_reaches_every_trial(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "best.yaml").write_text("# @package _global_\nmodel: {dropout: 0.125}\n")
    options = config_options(["-m", f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "experiment=best", "seed=0,1"])
    command = Trial(["experiment=best", "seed=1"], Path("runs/r"), options).command()
    environment = child_environment(os.environ)
    shown = subprocess.run([*command, "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert "dropout: 0.125" in shown.stdout, shown.stderr
