"""Samplers, pruners, budgets in hours, and each worker's share of the machine."""

import pytest
from optuna.trial import TrialState

from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps import local
from tests.sweeps.conftest import trials_of

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@pytest.mark.long
@pytest.mark.slow
def test_a_grid_ends_when_every_point_has_been_tried(sweep, tmp_path):
    space = (
        "~sweep.space.optimizer.lr",
        "~sweep.space.optimizer.momentum",
    )
    refused = sweep(*space, "sweep.sampler=grid")
    assert refused.code == 2
    assert "sweep.space.model.dropout has neither" in refused.message
    done = sweep(*space, "+sweep.space.model.dropout.step=0.45", "sweep.sampler=grid", "sweep.n_trials=100",
                 "sweep.pruner=halving", "sweep.retries=0", "sweep.workers=3")  # fmt: skip
    assert done.code == 0, done.err
    trials = trials_of(tmp_path / "s")
    points = {tuple(sorted(trial.params.items())) for trial in trials}
    assert len(points) == len(trials) == 1 + 12  # the recipe; 2 optimizers × 2 sizes × dropout 0, 0.45, 0.9
    assert all(trial.state in ENDED or trial.params["model.dropout"] == 0.9 for trial in trials)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "pruner"), [("cmaes", "none"), ("random", "hyperband")])
def test_other_samplers_and_pruners_run_a_study(sampler, pruner, sweep, tmp_path):
    words = (f"sweep.sampler={sampler}", f"sweep.pruner={pruner}", "sweep.space.model.dropout.high=0.7")
    done = sweep(*words, "sweep.n_trials=6")
    assert done.code == 0, done.err
    trials = trials_of(tmp_path / "s")
    assert len(trials) == 6
    assert all(trial.state in ENDED for trial in trials)
    if sampler == "cmaes":
        assert any("cma:generation" in trial.system_attrs for trial in trials)


@pytest.mark.long
def test_hours_end_a_study_that_has_no_number_of_trials(sweep, tmp_path):
    done = sweep("sweep.n_trials=null", "sweep.hours=1.0e-6", "sweep.space.model.dropout.high=0.7")
    assert done.code == 0, done.err
    assert len(trials_of(tmp_path / "s")) == 1
    assert sweep("sweep.n_trials=null", "sweep.hours=1.0e-6", "sweep.space.model.dropout.high=0.7").code == 0
    assert len(trials_of(tmp_path / "s")) == 1


def test_workers_share_cores_and_have_a_gpu_each(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(local, "visible_gpus", lambda: 0)
    cpu = {"accelerator": "auto", "devices": "auto"}
    assert local.worker_environments(cpu, 1, 1) == [{}]
    assert local.worker_environments(cpu, 2, 1) == [{"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}] * 2
    monkeypatch.setattr(local, "visible_gpus", lambda: 4)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in local.worker_environments(cpu, 3, 1)] == ["0", "1", "2"]
    pairs = local.worker_environments({"accelerator": "gpu", "devices": 2}, 2, 1)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in pairs] == ["0,1", "2,3"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in local.worker_environments(cpu, 6, 2)] == [
        "0",
        "1",
        "2",
        "3",
        "0",
        "1",
    ]
    assert "CUDA_VISIBLE_DEVICES" not in local.worker_environments({"accelerator": "cpu", "devices": 1}, 8, 1)[0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7,9")
    assert [share["CUDA_VISIBLE_DEVICES"] for share in local.worker_environments(cpu, 2, 1)] == ["5", "6"]
    with pytest.raises(Galaxy10Error, match=r"type sweep\.workers=4, or sweep\.workers_per_gpu=2"):
        local.worker_environments(cpu, 6, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # what was chosen stays
    assert "OMP_NUM_THREADS" not in local.worker_environments(cpu, 2, 1)[0]
