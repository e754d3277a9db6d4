"""Jobs on a real SLURM of two virtual nodes, each as its user would submit it."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from tests.slurm.conftest import ARRAY, EXPERIMENT, TRAIN, status, task_process, wait_for

pytestmark = [pytest.mark.long, pytest.mark.slow]


def test_two_nodes_with_two_tasks_are_one_experiment(slurm, folder, train):
    words = (*EXPERIMENT, "data.path=few.h5", "data.balance=weighted")
    alone = train(*words, "run.dir=alone", cwd=folder)
    assert alone.code == 0, alone.err
    words = (*words, "run.dir=together", "trainer.devices=2", "trainer.num_nodes=2")
    job = slurm.submit("--nodes=2", "--ntasks-per-node=2", TRAIN, *words, cwd=folder)
    assert slurm.ended(job) == "COMPLETED", (folder / f"{job}.log").read_text()
    assert_same_experiment(folder / "alone", folder / "together")
    lines = (folder / f"{job}.log").read_text().splitlines()
    assert json.loads(lines[-1])["run_dir"] == "together"
    assert sum("epoch 1/2" in line for line in lines) == 1  # the first process speaks for all
    # The finished run, asked for again: every process finds it, none waits for another.
    again = slurm.submit("--nodes=2", "--ntasks-per-node=2", TRAIN, *words, cwd=folder)
    assert slurm.ended(again) == "COMPLETED"
    assert (folder / f"{again}.log").read_text().splitlines() == lines[-1:]


def assert_same_experiment(one, other):
    weights = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for r in (one, other)]
    assert max((tensor - weights[1][key]).abs().max() for key, tensor in weights[0].items()) < 1e-5
    for subset in ("val", "test"):
        tables = [pd.read_parquet(run / "predictions" / f"{subset}.parquet") for run in (one, other)]
        assert tables[0]["row"].tolist() == tables[1]["row"].tolist()
        assert np.allclose(tables[0].filter(like="p_"), tables[1].filter(like="p_"), rtol=0, atol=1e-5)
    curves = [pd.read_csv(run / "metrics.csv") for run in (one, other)]
    assert np.allclose(curves[0], curves[1], atol=1e-5)


def test_a_job_that_does_not_fit_its_settings_stops_and_says_what_to_change(slurm, folder):
    words = (*EXPERIMENT, "run.dir=misfit", "trainer.devices=2")
    job = slurm.submit("--nodes=2", "--ntasks-per-node=1", TRAIN, *words, cwd=folder)
    assert slurm.ended(job) == "FAILED"
    log = (folder / f"{job}.log").read_text()
    assert log.count("error: trainer.devices=2 trainer.num_nodes=1 needs 2 processes") == 1
    assert "this job has 2 tasks on 2 nodes" in log
    assert "`#SBATCH --nodes=1` and `#SBATCH --ntasks-per-node=2`" in log
    assert not (folder / "misfit").exists()


def test_a_process_that_dies_ends_the_job_as_failed(slurm, folder):
    words = (*EXPERIMENT, "data.path=few.h5", "run.dir=dead", "trainer.num_nodes=2", "trainer.max_epochs=1000")
    job = slurm.submit("--nodes=2", TRAIN, *words, cwd=folder)
    wait_for((folder / "dead" / "metrics.csv").exists, what="the first epoch")
    os.kill(task_process(job, number=1), signal.SIGKILL)
    assert slurm.ended(job) == "FAILED"


def test_an_array_of_experiments_and_seeds_is_a_grid_and_one_failure_is_one_failure(slurm, folder):
    words = ("data=hdf5", "data.path=few.h5", "model=pca_logreg", "model.image_size=16", "model.scree_components=10")
    words = (*words, "logger=csv", "data.fold=0", "data.num_folds=3,50", "seed=0")
    array = slurm.submit("--array=0-1", ARRAY, *words, cwd=folder)
    states = [slurm.ended(f"{array}_{task}") for task in (0, 1)]
    assert states == ["COMPLETED", "FAILED"], (folder / f"{array}_0.log").read_text()
    runs = sorted(folder.glob("runs/grid-*/pca_logreg-num_folds=*"))
    assert [status(run)["state"] for run in runs] == ["finished"]
    assert status(runs[0])["job"] == f"{array}_0"
    assert "too few for 50 subsets" in (folder / f"{array}_1.log").read_text()


def test_an_array_over_a_list_runs_a_line_per_task(slurm, folder):
    (folder / "list.txt").write_text(
        "# what differs\nseed=0 run.dir=listed-0\n\nseed=1 'run.dir=listed one'  model.num_components=3\n"
    )
    words = ("data=hdf5", "data.path=few.h5", "model=pca_logreg", "model.image_size=16", "model.scree_components=10")
    array = slurm.submit("--array=0-2", ARRAY, "list.txt", *words, "logger=csv", cwd=folder)
    assert [slurm.ended(f"{array}_{task}") for task in range(3)] == ["COMPLETED", "COMPLETED", "FAILED"]
    assert [status(folder / name)["state"] for name in ("listed-0", "listed one")] == ["finished", "finished"]
    assert "list.txt has no line 3" in (folder / f"{array}_2.log").read_text()
    assert "sbatch --array=0-1" in (folder / f"{array}_2.log").read_text()


def test_a_grid_is_submitted_from_the_login_node_and_waited_for(slurm, folder, train):
    words = (
        "-m",
        *EXPERIMENT,
        "data.path=few.h5",
        "trainer.max_epochs=1",
        "trainer.devices=2",
        "seed=0,1",
        "run.root=submitted",
    )
    launcher = ("hydra/launcher=slurm", "slurm.cpus_per_task=1")
    environment = {"SLURM_CONF": slurm.environment["SLURM_CONF"]}
    first = train(*words, *launcher, "slurm.wait=false", cwd=folder, **environment)
    assert first.code == 0, first.err
    assert first.result["state"] == "submitted"
    second = train(*words, *launcher, cwd=folder, **environment)
    assert second.code == 0, second.err
    assert second.result["jobs"] == first.result["jobs"]  # nothing was submitted twice
    assert [trial["state"] for trial in second.result["trials"]] == ["finished", "finished"]
    for trial in second.result["trials"]:
        assert len(pd.read_parquet(folder / trial["run_dir"] / "predictions" / "test.parquet")) == 24
