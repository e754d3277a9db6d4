"""A worker of a study: it runs trials until the budget is spent."""

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

from galaxy10.config.overrides import to_overrides
from galaxy10.console import set_up_logging
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode, signal_exit_code
from galaxy10.files import is_disk_error, write_error
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.files import RunFiles
from galaxy10.runs.signals import collect_signals
from galaxy10.sweeps.best_trial import write_best
from galaxy10.sweeps.settings import AT_THE_END, Sweep
from galaxy10.sweeps.study import COUNTED, consecutive_failures, find_study, is_spent, study_lock
from galaxy10.sweeps.trial_lock import TrialLease, acquire_trial, is_leased
from galaxy10.sweeps.trial_process import TrialProcess, wait_until_unlocked
from galaxy10.sweeps.trial_starter import TrialStarter

logger = logging.getLogger("galaxy10.sweeps.worker")  # this module is started with -m: its name is __main__

DONE, TOO_MANY_FAILURES, CANNOT_WRITE = 0, 4, 5  # 1 is an exception
POLL_S = 0.5
IDLE_S = 2.0
# A waiting cluster task costs money. This is long enough to detect that a worker on another host is dead.
CLUSTER_PATIENCE_S = 90.0


class UnwritableError(Galaxy10Error):
    """The disk of the study is full or cannot be written."""


class Worker:
    """A worker of a study.

    name: in log messages. stopping: an event that is set on a signal or when the process that started the worker dies.
    starter: starts the trials' processes.
    """

    def __init__(self, sweep: Sweep, study: optuna.Study, name: str, stopping: threading.Event, starter: TrialStarter):
        self.sweep, self.study, self.name, self.stopping, self.starter = sweep, study, name, stopping, starter
        # Failures of an earlier command do not count: the user may have fixed their cause.
        self._known_failures = {trial.number for trial in self._trials() if trial.state == TrialState.FAIL}

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def work(self) -> int:
        """Run trials until the budget is spent and no trial runs in another worker, which may die.

        Returns:
            DONE, or TOO_MANY_FAILURES after sweep.max_failures failures in a row.

        Raises:
            UnwritableError: a trial could not write.
            OSError: the worker could not write.
        """
        waiting_since: float | None = None
        while not self.stopping.is_set():
            trials = [trial for trial in self._trials() if trial.number not in self._known_failures]
            if consecutive_failures(trials) >= self.sweep.max_failures:
                return TOO_MANY_FAILURES
            lease = acquire_trial(self.sweep, self.study)
            if lease is not None:
                waiting_since = None
                try:
                    self.run(lease)
                finally:
                    lease.lock.release()
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

    def run(self, lease: TrialLease) -> None:
        """Run a trial and store its result in the study; if the worker is stopped, the trial stays unfinished."""
        directory = self.sweep.trial_directory(lease.number)
        attributes = lease.trial.user_attrs
        pruned_after = attributes.get("pruned_after")  # set by a worker that died before it stored the result
        if pruned_after is not None and directory.is_dir():
            RunDirectory(directory).prune(pruned_after)
        if not wait_until_unlocked(directory, self.stopping.is_set):
            return
        if pruned_after is not None:
            self._report_pruned(lease)
            return
        settings = " ".join(to_overrides(lease.settings))
        self._log(f"trial {lease.number} {'resumes' if lease.taken_over else 'begins'}: {settings}")
        started, before = time.monotonic(), float(attributes.get("seconds", 0.0))
        overrides = [*self.sweep.overrides, *to_overrides(lease.settings)]
        if self.sweep.config_dir:
            overrides = ["--config-dir", self.sweep.config_dir, *overrides]
        log = self.sweep.path / "logs" / f"{lease.number:04}.txt"
        process = TrialProcess(overrides, directory, log, dict(os.environ), self.starter, self.stopping.is_set)
        try:
            end = self._watch(lease, process, lambda: round(before + time.monotonic() - started, 1))
        finally:
            if process.exit_code is None:
                process.kill()
        lease.trial.set_user_attr("seconds", round(before + time.monotonic() - started, 1))
        if end == "lost":
            self._log(f"trial {lease.number} was taken over by another worker")
        elif end == "pruned":
            self._report_pruned(lease)
        elif process.exit_code == 0:
            self._report_result(lease)
        elif end == "stopped" or self.stopping.wait(1.0):  # a cluster signals trial and worker in any order
            self._log(f"trial {lease.number} is interrupted; run the same command again to resume it")
        elif process.failed_to_write():  # no fault of the trial's: it stays unfinished, and is resumed
            raise UnwritableError(
                f"trial {lease.number} could not write ({process.error()}); free some space or make "
                f"{self.sweep.directory} writable, then run the same command again to resume it"
            )
        else:
            self._report_failure(lease, process)

    def _watch(self, lease: TrialLease, process: TrialProcess, seconds: Callable[[], float]) -> str:
        """Report epochs to the study until the process has ended.

        Returns:
            Why the worker ended the process: lost (another worker has the trial), stopped (the worker is stopped) or
            pruned; "" if it ended by itself.
        """
        end = ""
        reported = set(self._trials()[lease.number].intermediate_values)
        while True:
            code = process.exit_code
            for epoch, value in process.new_epochs(self.sweep.objectives[0]) if self._reports and not end else []:
                if epoch in reported:
                    continue
                lease.trial.report(value, epoch)
                lease.trial.set_user_attr("seconds", seconds())
                if epoch != self.sweep.max_epochs and lease.trial.should_prune():
                    lease.trial.set_user_attr("pruned_after", epoch)
                    RunDirectory(process.directory).prune(epoch)
                    end = "pruned"
                    break
            if code is not None:
                return end
            if lease.lock.lost.is_set():
                end = "lost"
                process.kill()
            elif self.stopping.is_set() or end:
                end = end or "stopped"
                process.stop()
            if end:  # `stopping` may be set, and waiting for it would not wait
                time.sleep(POLL_S)
            else:
                self.stopping.wait(POLL_S)

    @property
    def _reports(self) -> bool:
        return len(self.sweep.objectives) == 1 and self.sweep.objectives[0] not in AT_THE_END

    def _report_result(self, lease: TrialLease) -> None:
        status = RunFiles(self.sweep.trial_directory(lease.number)).read_status()
        metrics = status.get("metrics") or {}
        values = [math.nan if metrics.get(name) is None else float(metrics[name]) for name in self.sweep.objectives]
        bad = [name for name, value in zip(self.sweep.objectives, values, strict=True) if not math.isfinite(value)]
        lease.trial.set_user_attr("metrics", {k: v for k, v in metrics.items() if isinstance(v, int | float)})
        if bad:
            self._fail(lease, f"{bad[0]} is not finite at the end: the training has diverged", retry=False)
            return
        self.study.tell(lease.number, values)
        self._tidy(lease)
        shown = ", ".join(f"{n} {v:.4g}" for n, v in zip(self.sweep.objectives, values, strict=True))
        best = write_best(self.sweep, self.study)
        self._log(f"trial {lease.number} is complete: {shown}" + (" (the best so far)" if best == lease.number else ""))

    def _report_pruned(self, lease: TrialLease) -> None:
        self.study.tell(lease.number, state=TrialState.PRUNED)
        self._tidy(lease)
        epoch = lease.trial.user_attrs["pruned_after"]
        self._log(f"trial {lease.number} is pruned after {epoch} epoch{'s' if epoch != 1 else ''}")

    def _tidy(self, lease: TrialLease) -> None:
        """Remove last.ckpt of an ended trial, which only a resumption needs: two thirds of the trial's size."""
        RunFiles(self.sweep.trial_directory(lease.number)).last.unlink(missing_ok=True)

    def _report_failure(self, lease: TrialLease, process: TrialProcess) -> None:
        memory = process.ran_out_of_memory()
        error = process.error()
        if memory:
            lease.trial.set_user_attr("out_of_memory", True)
            error = f"out of memory: {error}"
        self._fail(lease, error, retry=process.exit_code != ExitCode.REFUSED and not memory)

    def _fail(self, lease: TrialLease, error: str, retry: bool) -> None:
        """Mark a trial as failed; with retry, enqueue its point again unless sweep.retries is exhausted."""
        lease.trial.set_user_attr("error", error)
        attempt = int(lease.trial.user_attrs.get("attempt", 1))
        again = retry and attempt <= self.sweep.retries
        with study_lock(self.sweep):
            trials = self._trials()
            # Enqueue before tell, and only once: a worker killed in between still retries the point, and only once.
            if again and not any(trial.user_attrs.get("retry_of") == lease.number for trial in trials):
                self.study.enqueue_trial(
                    trials[lease.number].params, user_attrs={"retry_of": lease.number, "attempt": attempt + 1}
                )
            self.study.tell(lease.number, state=TrialState.FAIL)
        self._log(f"trial {lease.number} failed: {error}" + ("; it will be retried" if again else ""))

    def _log(self, text: str) -> None:
        logger.info(f"worker {self.name}  {text}")


def summary(sweep: Sweep, trials: list[FrozenTrial]) -> dict[str, Any]:
    """Count the trials in each state; a running trial without a live worker is `interrupted`."""
    counts = dict.fromkeys(("complete", "pruned", "failed", "running", "interrupted", "waiting"), 0)
    for trial in trials:
        counts[state_of(sweep, trial)] += 1
    return counts


def state_of(sweep: Sweep, trial: FrozenTrial) -> str:
    """Return a trial's state: complete, pruned, failed, running, interrupted or waiting."""
    if trial.state == TrialState.RUNNING:
        return "running" if is_leased(sweep, trial.number) else "interrupted"
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return names.get(trial.state, "waiting")


def counted(trials: list[FrozenTrial]) -> int:
    """Count the trials that count for sweep.n_trials."""
    return sum(trial.state in COUNTED for trial in trials)


def main() -> int:
    """Run a worker whose study is JSON on the first line of standard input; the worker stops when the input ends."""
    set_up_logging()
    order = json.loads(sys.stdin.readline())
    sweep, name = Sweep.from_json(order["sweep"]), order["name"]
    stopping = threading.Event()
    with collect_signals(lambda number: stopping.set()) as received:
        threading.Thread(target=_stop_at_end_of_input, args=(stopping,), daemon=True).start()
        try:
            study = find_study(sweep)
            assert study is not None  # the process that starts workers has created it
            with TrialStarter() as starter:
                code = Worker(sweep, study, name, stopping, starter).work()
        except Galaxy10Error as error:
            if not isinstance(error, UnwritableError) and not isinstance(error.__cause__, OSError):
                raise
            logger.error(f"worker {name}  {error}")
            code = CANNOT_WRITE
        except OSError as error:
            if not is_disk_error(error):
                raise
            logger.error(f"worker {name}  {write_error(sweep.path, error)}")
            code = CANNOT_WRITE
    if received or stopping.is_set():
        return signal_exit_code(received[0] if received else signal.SIGTERM)
    return code


def _stop_at_end_of_input(stopping: threading.Event) -> None:
    """Set `stopping` when standard input ends: the process that started the worker holds its other end."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    stopping.set()


if __name__ == "__main__":
    sys.exit(main())
