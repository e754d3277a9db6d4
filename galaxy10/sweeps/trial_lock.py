"""Whose a trial is: a lease beside each one. What runs without a living holder is taken over and gone on with."""

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from galaxy10.compat import continue_trial
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.lock import RunLock, is_held
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import is_spent, make_pruner, make_sampler, study_lock, suggest


@dataclass
class TrialLease:
    """A trial that this process runs. settings: what it varies; taken_over: somebody else had begun it."""

    trial: optuna.Trial
    settings: dict[str, Any]
    lease: RunLock
    taken_over: bool

    @property
    def number(self) -> int:
        """The trial's number in the study."""
        return self.trial.number


def acquire_trial(sweep: Sweep, study: optuna.Study) -> TrialLease | None:
    """One that was left behind, else one that waits, else a new one; None if there is nothing to begin now.

    A worker that dies anywhere in here leaves a trial without a living holder, which the next one takes over.
    """
    space = sweep.parameters
    with study_lock(sweep):
        trials = study.get_trials(deepcopy=False)
        study.pruner, study.sampler = make_pruner(sweep), make_sampler(sweep, len(trials))
        for frozen in trials:
            if frozen.state == TrialState.RUNNING and (lease := _take(sweep, frozen.number)):
                trial = continue_trial(study, frozen)
                return TrialLease(trial, suggest(trial, space), lease, taken_over=True)
        if is_spent(sweep, trials):
            return None
        trial = study.ask()
        settings = suggest(trial, space)
        lease = _take(sweep, trial.number)
        assert lease is not None  # the lock is held, and the number is new
        return TrialLease(trial, settings, lease, taken_over=False)


def is_claimed(sweep: Sweep, number: int) -> bool:
    """Whether a living worker has a trial."""
    return is_held(_place(sweep, number))


def _take(sweep: Sweep, number: int) -> RunLock | None:
    place = _place(sweep, number)
    place.mkdir(parents=True, exist_ok=True)
    lease = RunLock(place)
    try:
        lease.take()
    except Galaxy10Error:
        return None
    return lease


def _place(sweep: Sweep, number: int) -> Any:
    return sweep.path / "claims" / f"{number:04}"
