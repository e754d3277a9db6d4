"""A worker: takes a trial of the study, trains it, tells how it went, until there is nothing left to do."""

import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from galaxy10.config.overrides import overrides_of
from galaxy10.console import set_up_logging
from galaxy10.exit_codes import ExitCode, signalled
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.files import RunFiles
from galaxy10.runs.signals import collect_signals
from galaxy10.sweeps.recipe import write_best
from galaxy10.sweeps.settings import AT_THE_END, Sweep
from galaxy10.sweeps.study import COUNTED, failures_in_a_row, find_study, is_spent, study_lock
from galaxy10.sweeps.trial_lock import TrialLease, acquire_trial, is_claimed
from galaxy10.sweeps.trial_process import TrialProcess, wait_until_unlocked

logger = logging.getLogger("galaxy10.sweeps.worker")  # this module is started with -m: its name is __main__

DONE, TOO_MANY_FAILURES = 0, 4  # 1 is an exception
POLL_S = 0.5
IDLE_S = 2.0
# A task of a cluster costs money while it waits: long enough to see that another host's worker is dead, no longer.
CLUSTER_PATIENCE_S = 90.0


class Worker:
    """One worker of a study.

    name: for what it says; stopping: set when a signal has come or whoever started it is gone.
    """

    def __init__(self, sweep: Sweep, study: optuna.Study, name: str, stopping: threading.Event):
        self.sweep, self.study, self.name, self.stopping = sweep, study, name, stopping
        # What failed in an earlier command has been seen, and maybe mended.
        self._known_failures = {trial.number for trial in self._trials() if trial.state == TrialState.FAIL}

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def work(self) -> int:
        """Run trials until the budget is spent, and wait for those of others, which may have to be taken over."""
        waiting_since: float | None = None
        while not self.stopping.is_set():
            trials = [trial for trial in self._trials() if trial.number not in self._known_failures]
            if failures_in_a_row(trials) >= self.sweep.max_failures:
                return TOO_MANY_FAILURES
            claim = acquire_trial(self.sweep, self.study)
            if claim is not None:
                waiting_since = None
                try:
                    self.run(claim)
                finally:
                    claim.lease.release()
                continue
            if self._is_over():
                break
            waiting_since = waiting_since or time.monotonic()
            if "SLURM_JOB_ID" in os.environ and time.monotonic() - waiting_since > CLUSTER_PATIENCE_S:
                break
            self.stopping.wait(IDLE_S)
        return DONE

    def _is_over(self) -> bool:
        trials = self._trials()
        return is_spent(self.sweep, trials) and not any(trial.state == TrialState.RUNNING for trial in trials)

    def run(self, claim: TrialLease) -> None:
        """One trial, from its process to what the study is told; told nothing if this worker is stopped meanwhile."""
        directory = self.sweep.trial_directory(claim.number)
        attributes = claim.trial.user_attrs
        pruned_after = attributes.get("pruned_after")  # decided by a worker that died before it could say so
        if pruned_after is not None and directory.is_dir():
            RunDirectory(directory).prune(pruned_after)
        if not wait_until_unlocked(directory, self.stopping.is_set):
            return
        if pruned_after is not None:
            self._tell_pruned(claim)
            return
        words = " ".join(overrides_of(claim.settings))
        self._say(f"trial {claim.number} {'goes on' if claim.taken_over else 'begins'}: {words}")
        started, before = time.monotonic(), float(attributes.get("seconds", 0.0))
        overrides = [*self.sweep.overrides, *overrides_of(claim.settings)]
        if self.sweep.config_dir:
            overrides = ["--config-dir", self.sweep.config_dir, *overrides]
        log = self.sweep.path / "logs" / f"{claim.number:04}.txt"
        process = TrialProcess(overrides, directory, log, dict(os.environ))
        try:
            end = self._watch(claim, process, lambda: round(before + time.monotonic() - started, 1))
        finally:
            if process.exit_code is None:
                process.kill()
        claim.trial.set_user_attr("seconds", round(before + time.monotonic() - started, 1))
        if end == "lost":
            self._say(f"trial {claim.number} was taken over by another worker")
        elif end == "pruned":
            self._tell_pruned(claim)
        elif process.exit_code == 0:
            self._tell_result(claim)
        elif end == "stopped" or self.stopping.wait(1.0):  # a cluster signals the trial and us in any order
            self._say(f"trial {claim.number} is interrupted; the same command goes on with it")
        else:
            self._tell_failure(claim, process)

    def _watch(self, claim: TrialLease, process: TrialProcess, seconds: Callable[[], float]) -> str:
        """Report epochs until the process has ended.

        Returns:
            Why we ended it: lost (another worker has the trial), stopped (as this worker is), pruned; else "".
        """
        end = ""
        reported = set(self._trials()[claim.number].intermediate_values)
        while True:
            code = process.exit_code
            for epoch, value in process.new_epochs(self.sweep.objectives[0]) if self._reports and not end else []:
                if epoch in reported:
                    continue
                claim.trial.report(value, epoch)
                claim.trial.set_user_attr("seconds", seconds())
                if epoch != self.sweep.max_epochs and claim.trial.should_prune():
                    claim.trial.set_user_attr("pruned_after", epoch)
                    RunDirectory(process.directory).prune(epoch)
                    end = "pruned"
                    break
            if code is not None:
                return end
            if claim.lease.lost.is_set():
                end = "lost"
                process.kill()
            elif self.stopping.is_set() or end:
                end = end or "stopped"
                process.stop()
            if end:  # stopping is set, and waiting for it would not wait
                time.sleep(POLL_S)
            else:
                self.stopping.wait(POLL_S)

    @property
    def _reports(self) -> bool:
        return len(self.sweep.objectives) == 1 and self.sweep.objectives[0] not in AT_THE_END

    def _tell_result(self, claim: TrialLease) -> None:
        status = RunFiles(self.sweep.trial_directory(claim.number)).read_status()
        metrics = status.get("metrics") or {}
        values = [math.nan if metrics.get(name) is None else float(metrics[name]) for name in self.sweep.objectives]
        bad = [name for name, value in zip(self.sweep.objectives, values, strict=True) if not math.isfinite(value)]
        claim.trial.set_user_attr("metrics", {k: v for k, v in metrics.items() if isinstance(v, int | float)})
        if bad:
            self._fail(claim, f"{bad[0]} is not a number at its end: the training has diverged", retry=False)
            return
        self.study.tell(claim.number, values)
        self._tidy(claim)
        shown = ", ".join(f"{n} {v:.4g}" for n, v in zip(self.sweep.objectives, values, strict=True))
        best = write_best(self.sweep, self.study)
        self._say(f"trial {claim.number} is complete: {shown}" + (" (the best so far)" if best == claim.number else ""))

    def _tell_pruned(self, claim: TrialLease) -> None:
        self.study.tell(claim.number, state=TrialState.PRUNED)
        self._tidy(claim)
        epoch = claim.trial.user_attrs["pruned_after"]
        self._say(f"trial {claim.number} is pruned after {epoch} epoch{'s' if epoch != 1 else ''}")

    def _tidy(self, claim: TrialLease) -> None:
        """An ended trial is not gone on with: what only that needs is two thirds of its size."""
        RunFiles(self.sweep.trial_directory(claim.number)).last.unlink(missing_ok=True)

    def _tell_failure(self, claim: TrialLease, process: TrialProcess) -> None:
        memory = process.ran_out_of_memory()
        error = process.error()
        if memory:
            claim.trial.set_user_attr("out_of_memory", True)
            error = f"out of memory: {error}"
        self._fail(claim, error, retry=process.exit_code != ExitCode.REFUSED and not memory)

    def _fail(self, claim: TrialLease, error: str, retry: bool) -> None:
        """Mark a trial as failed; with retry, its point waits to be tried again, unless that was done often enough."""
        claim.trial.set_user_attr("error", error)
        attempt = int(claim.trial.user_attrs.get("attempt", 1))
        again = retry and attempt <= self.sweep.retries
        with study_lock(self.sweep):
            trials = self._trials()
            # Enqueued first, told second, and looked for: killed in between, it is still retried, and once only.
            if again and not any(trial.user_attrs.get("retry_of") == claim.number for trial in trials):
                self.study.enqueue_trial(
                    trials[claim.number].params, user_attrs={"retry_of": claim.number, "attempt": attempt + 1}
                )
            self.study.tell(claim.number, state=TrialState.FAIL)
        self._say(f"trial {claim.number} failed: {error}" + ("; it will be tried again" if again else ""))

    def _say(self, text: str) -> None:
        logger.info(f"worker {self.name}  {text}")


def summary(sweep: Sweep, trials: list[FrozenTrial]) -> dict[str, Any]:
    """How many trials are in which state; a running one that nobody holds is `interrupted`."""
    counts = dict.fromkeys(("complete", "pruned", "failed", "running", "interrupted", "waiting"), 0)
    for trial in trials:
        counts[state_of(sweep, trial)] += 1
    return counts


def state_of(sweep: Sweep, trial: FrozenTrial) -> str:
    """A trial's state in words."""
    if trial.state == TrialState.RUNNING:
        return "running" if is_claimed(sweep, trial.number) else "interrupted"
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return names.get(trial.state, "waiting")


def counted(trials: list[FrozenTrial]) -> int:
    """Trials that count for sweep.n_trials."""
    return sum(trial.state in COUNTED for trial in trials)


def main() -> int:
    """A worker as a process. Its study comes as JSON on the first line of standard input, whose end ends it."""
    set_up_logging()
    order = json.loads(sys.stdin.readline())
    sweep, name = Sweep.from_json(order["sweep"]), order["name"]
    stopping = threading.Event()
    with collect_signals(lambda number: stopping.set()) as received:
        threading.Thread(target=_stop_at_end_of_input, args=(stopping,), daemon=True).start()
        study = find_study(sweep)
        assert study is not None  # whoever starts workers has begun it
        code = Worker(sweep, study, name, stopping).work()
    if received or stopping.is_set():
        return signalled(received[0] if received else signal.SIGTERM)
    return code


def _stop_at_end_of_input(stopping: threading.Event) -> None:
    """Whoever started us holds the other end: when it is gone, however it died, so is our reason to work."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    stopping.set()


if __name__ == "__main__":
    sys.exit(main())
