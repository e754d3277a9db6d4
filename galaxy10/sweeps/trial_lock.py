"""Leases of a study's trials: one worker runs a trial; a trial whose worker died is resumed by another worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from galaxy10.compat import continue_trial
from galaxy10.runs.lock import LockedError, RunLock, is_held
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import is_spent, make_pruner, make_sampler, study_lock, suggest


@dataclass
class TrialLease:
    """A trial that this process runs.

    settings: the values of the search space. taken_over: whether another worker began the trial.
    """

    trial: optuna.Trial
    settings: dict[str, Any]
    lock: RunLock
    taken_over: bool

    @property
    def number(self) -> int:
        """Return the trial's number in the study."""
        return self.trial.number


def acquire_trial(sweep: Sweep, study: optuna.Study) -> TrialLease | None:
    """Lease a trial of a dead worker, else one that waits, else a new one; None if there is none to begin now.

    If a worker dies in this function, another worker takes over the trial.
    """
    space = sweep.parameters
    with study_lock(sweep):
        trials = study.get_trials(deepcopy=False)
        study.pruner, study.sampler = make_pruner(sweep), make_sampler(sweep, len(trials))
        for frozen in trials:
            if frozen.state == TrialState.RUNNING and (lock := _lock(sweep, frozen.number)):
                trial = continue_trial(study, frozen)
                return TrialLease(trial, suggest(trial, space), lock, taken_over=True)
        if is_spent(sweep, trials):
            return None
        trial = study.ask()
        settings = suggest(trial, space)
        lock = _lock(sweep, trial.number)
        assert lock is not None  # the study is locked, and the number is new
        return TrialLease(trial, settings, lock, taken_over=False)


def is_leased(sweep: Sweep, number: int) -> bool:
    """Return whether a live worker holds a trial."""
    return is_held(_folder(sweep, number))


def _lock(sweep: Sweep, number: int) -> RunLock | None:
    folder = _folder(sweep, number)
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    try:
        lock.acquire()
    except LockedError:  # and not a folder that cannot be written: the worker would wait for ever
        return None
    return lock


def _folder(sweep: Sweep, number: int) -> Path:
    return sweep.path / "leases" / f"{number:04}"
