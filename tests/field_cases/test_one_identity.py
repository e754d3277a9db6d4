"""One identity for several runs"""

from pathlib import Path

import pytest

from galaxy10.sweeps import grid, trial_process
from galaxy10.sweeps.trial_environment import trial_environment

FOREIGN = {
    "WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_NAME": "n", "MLFLOW_RUN_ID": "m", "COMET_EXPERIMENT_KEY": "c",
    "GALAXY10_RUN_DIR": "/r", "NODE_RANK": "1", "MASTER_ADDR": "node17", "TORCHELASTIC_RUN_ID": "none",
}  # fmt: skip
SHARED = {"WANDB_PROJECT": "p", "WANDB_MODE": "offline", "WANDB_RUN_GROUP": "g", "CUDA_VISIBLE_DEVICES": "0"}


def test_ids_and_ranks_of_another_run_are_left_out_and_shared_settings_kept(says):
    """`wandb agent` starts a grid: WANDB_SWEEP_ID and WANDB_RUN_ID name one run, WANDB_PROJECT the project of all."""
    kept = trial_environment({**FOREIGN, **SHARED})
    assert {name: kept[name] for name in SHARED} == SHARED
    assert not set(FOREIGN) & set(kept)
    says("trials get their own ids; project, group and mode are shared")


@pytest.mark.parametrize("name", list(FOREIGN))
def test_trials_of_grids_and_studies_get_such_an_environment(name, monkeypatch, tmp_path, says):
    """A grid or study starts with an id of one run in the environment."""
    monkeypatch.setenv(name, FOREIGN[name])
    assert name not in grid._environment(Path("runs/grid/trial"))
    started = []
    monkeypatch.setattr(trial_process.subprocess, "Popen", lambda command, **options: started.append(options["env"]))
    trial_process.start_logged(["train"], tmp_path / "log", FOREIGN)
    assert name not in started[0]
    says("no trial inherits it")
