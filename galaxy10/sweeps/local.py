"""Run a study's workers on this machine, each with its share of cores or GPUs."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

from optuna.trial import TrialState

from galaxy10.config.paths import child_environment
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode, describe_exit, signal_exit_code
from galaxy10.runs.devices import number_of_devices, visible_gpus
from galaxy10.runs.signals import collect_signals
from galaxy10.runs.slurm import cpus_per_task
from galaxy10.sweeps.best_trial import best_trial, shell_command
from galaxy10.sweeps.exec_with_parent import bound_to_parent
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import create_or_load_study, is_spent, seconds_used
from galaxy10.sweeps.table import print_table
from galaxy10.sweeps.trial_starter import may_fork
from galaxy10.sweeps.worker import CANNOT_WRITE, DONE, TOO_MANY_FAILURES, summary
from galaxy10.system import usable_cpus

logger = logging.getLogger(__name__)

_RESTARTS = 3  # of a worker that was killed
_POLL_S = 0.3
# Variables about the job and its resources; those about its tasks are removed.
_KEPT = {
    f"SLURM_{name}"
    for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT", "CPUS_PER_TASK", "TMPDIR", "CONF")
}


def run_study(sweep: Sweep, config: dict[str, Any], workers: int, per_gpu: int) -> tuple[int, dict[str, Any]]:
    """Begin or resume a study, run its workers, and return the exit code and the object of the last output line.

    Args:
        config: the configuration that all trials share.
        workers: number of workers.
        per_gpu: workers that may share a GPU.

    Raises:
        Galaxy10Error: there are not enough GPUs, the directory holds another study, or GALAXY10_FORK_TRIALS is wrong.
    """
    may_fork()  # a wrong value is refused before workers start
    shared = [
        child_environment({**os.environ, **share}) for share in worker_environments(config["trainer"], workers, per_gpu)
    ]
    study = create_or_load_study(sweep, config)
    environments = [{"WANDB_RUN_GROUP": study.study_name, **environment} for environment in shared]
    received = WorkerPool(sweep, environments).run()
    trials = study.get_trials(deepcopy=False)
    counts = summary(sweep, trials)
    print_table(sweep, study)
    best = best_trial(sweep, trials)
    result: dict[str, Any] = {"study": sweep.directory, "state": "finished", **counts}
    if best is not None:
        values = dict(zip(sweep.objectives, best.values, strict=True))
        record = {"trial": best.number, **values, "run_dir": str(sweep.trial_directory(best.number))}
        result["best"] = {**record, "command": shell_command(sweep, best)}
    result["seconds"] = seconds_used(trials)
    if received.signals:
        result["state"] = "interrupted"
        logger.info("interrupted; run the same command again to resume")
        return signal_exit_code(received.signals[0]), result
    over = is_spent(sweep, trials) and not any(trial.state == TrialState.RUNNING for trial in trials)
    if (received.could_not_write or received.gone) and not over:
        result |= {"state": "failed", "error": received.error()}
        logger.error(f"error: {result['error']}")
        return ExitCode.FAILED, result
    if received.gave_up:
        failed = max((t for t in trials if t.state == TrialState.FAIL), key=lambda t: t.number)
        result |= {"state": "failed", "error": failed.user_attrs.get("error")}
        logger.error(
            f"error: {sweep.max_failures} trials failed in a row, the last with: {result['error']}; "
            "fix the error and run the same command again",
        )
        return ExitCode.FAILED, result
    return ExitCode.FINISHED, result


def worker_environments(trainer: dict[str, Any], workers: int, per_gpu: int) -> list[dict[str, str]]:
    """Return the environment variables that give each worker its share of cores and GPUs.

    Args:
        trainer: the `trainer` section of the configuration.
        per_gpu: workers that may share a GPU.

    Raises:
        Galaxy10Error: there are not enough GPUs.
    """
    cores = cpus_per_task() or usable_cpus()
    threads = {name: str(max(1, cores // workers)) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    given = {name: value for name, value in threads.items() if workers > 1 and name not in os.environ}
    gpus = 0 if trainer["accelerator"] == "cpu" else visible_gpus()
    if gpus == 0 or workers == 1:
        return [dict(given) for _ in range(workers)]
    each = number_of_devices(trainer["devices"]) or 1
    if workers * each > gpus * per_gpu:
        raise Galaxy10Error(
            f"sweep.workers={workers} with {each} GPU{'s' if each > 1 else ''} each, but this machine has {gpus}; type "
            f"sweep.workers={max(1, gpus * per_gpu // each)}, or sweep.workers_per_gpu={-(-workers * each // gpus)}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    places = [[visible[(worker * each + i) % gpus] for i in range(each)] for worker in range(workers)]
    return [{**given, "CUDA_VISIBLE_DEVICES": ",".join(place)} for place in places]


def strip_slurm_env(environment: MutableMapping[str, str]) -> None:
    """Remove the variables of SLURM that describe a job's tasks: a trial is not one of these tasks."""
    for name in [name for name in environment if name.startswith("SLURM") and name not in _KEPT]:
        del environment[name]


class WorkerPool:
    """The processes of a study's workers. Signals are forwarded to all of them; the third one kills them.

    signals: those received. gave_up: whether a worker ended because too many trials failed. could_not_write: whether
    one ended because the study's disk is full or read-only. gone: how those ended that ended too often.
    """

    def __init__(self, sweep: Sweep, environments: Sequence[dict[str, str]]):
        self.sweep, self.environments = sweep, environments
        self.signals: list[int] = []
        self.gave_up = self.could_not_write = False
        self.gone: list[str] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._restarts = dict.fromkeys(range(len(environments)), 0)

    def run(self) -> "WorkerPool":
        """Run the workers until all have ended, and return the pool."""
        with collect_signals(self._forward) as self.signals:
            try:
                for number in range(len(self.environments)):
                    self._start(number)
                while self._processes:
                    for number, process in list(self._processes.items()):
                        if process.poll() is not None:
                            self._ended(number, process.returncode)
                    time.sleep(_POLL_S)
            finally:
                for process in self._processes.values():
                    process.kill()
        return self

    def _start(self, number: int) -> None:
        if self.signals:
            return
        command = bound_to_parent([sys.executable, "-m", "galaxy10.sweeps.worker"])
        # In its own process group, the worker receives Ctrl-C once, from this process.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=self.environments[number], process_group=0, bufsize=0
        )
        self._processes[number] = process
        task = os.environ.get("SLURM_ARRAY_TASK_ID")
        name = f"{task}.{number}" if task else str(number)
        order = json.dumps({"sweep": self.sweep.to_json(), "name": name})
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(order.encode() + b"\n")  # stays open: when it closes, the worker stops
        if self.signals:  # received while the process started
            process.send_signal(self.signals[-1])

    def _ended(self, number: int, code: int) -> None:
        process = self._processes.pop(number)
        assert process.stdin is not None
        process.stdin.close()
        self.gave_up |= code == TOO_MANY_FAILURES
        self.could_not_write |= code == CANNOT_WRITE
        if self.signals or code in (DONE, TOO_MANY_FAILURES, CANNOT_WRITE):
            return
        again = self._restarts[number] < _RESTARTS
        logger.info(f"worker {number}  {describe_exit(code)}{'; starting it again' if again else ''}")
        self._restarts[number] += 1
        if again:
            self._start(number)
        else:
            self.gone.append(f"worker {number} {describe_exit(code)}, for the {_RESTARTS + 1}th time")

    def error(self) -> str:
        """Return why the study could not go on, and what to do."""
        folder = self.sweep.directory
        if self.could_not_write:
            return (
                f"{folder} could not be written; free some space or make it writable, then run the same command again"
            )
        return f"{'; '.join(self.gone)}: see its messages above; run the same command again to resume the study"

    def _forward(self, number: int) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM if len(self.signals) < 3 else signal.SIGKILL)
