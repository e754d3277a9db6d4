"""Studies whose trials are the stand-in of tests/sweeps/stand_in: all is real but the training."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from galaxy10.sweeps.journal import open_storage
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import make_sampler, suggest
from tests.conftest import ROOT, Finished, ended
from tests.galaxies import write_galaxies

HERE = Path(__file__).parent
TINY = ("--config-dir", str(HERE / "conf"), "sweep=tiny", "sweep.dir=s")


def stand_in(**env: str) -> dict[str, str]:
    """The environment in which train.py is the stand-in."""
    return {"PYTHONPATH": os.pathsep.join([str(HERE / "stand_in"), str(ROOT)]), **env}


@pytest.fixture
def sweep(start: Callable, tmp_path: Path) -> Callable[..., Finished]:
    """Run sweep.py on the space `tiny` as a user does, in a folder with g.h5, with trials that are the stand-in."""
    if not (tmp_path / "g.h5").exists():
        write_galaxies(tmp_path / "g.h5")

    def run(*arguments: str, timeout: float = 240, **env: str) -> Finished:
        words = [ROOT / "sweep.py", *TINY, *arguments]
        return ended(start(*words, cwd=tmp_path, fresh=True, **stand_in(**env)))

    return run


def small_study(folder: Path, **changes: Any) -> Sweep:
    """A study of three values of one setting, for tests that start no process."""
    settings: dict[str, Any] = {
        "name": "small",
        "directory": str(folder),
        "objectives": ("val/macro_f1",),
        "directions": ("maximize",),
        "space": {"model": {"dropout": {"choices": [0.1, 0.2, 0.3]}}},
        "initial_points": (),
        "overrides": (),
        "n_trials": 20,
        "hours": None,
        "sampler": "random",
        "pruner": "none",
        "startup_trials": 2,
        "warmup_epochs": 0,
        "retries": 0,
        "max_failures": 5,
        "seed": 0,
    }
    return Sweep(**(settings | changes))


def run_trial(study: optuna.Study, sweep: Sweep) -> optuna.Trial:
    """One trial of a study, without its training: its value is its dropout."""
    study.sampler = make_sampler(sweep, len(study.trials))
    trial = study.ask()
    study.tell(trial, suggest(trial, sweep.parameters)["model.dropout"])
    return trial


def trials_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """A study's trials as its journal has them."""
    study = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None))
    return study.get_trials()


def status(folder: Path, number: int) -> dict:
    """A trial's status.json."""
    return json.loads((folder / "trials" / f"{number:04}" / "status.json").read_text())
