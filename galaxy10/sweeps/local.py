"""A study's workers on this machine: started, watched, stopped together, each with its share of cores or GPUs."""

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
from galaxy10.exit_codes import ExitCode, describe_exit, signalled
from galaxy10.runs.devices import number_of_devices, visible_gpus
from galaxy10.runs.signals import collect_signals
from galaxy10.sweeps.recipe import best_trial, train_line
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import begin_study, seconds_used
from galaxy10.sweeps.table import print_table
from galaxy10.sweeps.trial_process import guarded
from galaxy10.sweeps.worker import TOO_MANY_FAILURES, summary
from galaxy10.system import usable_cpus

logger = logging.getLogger(__name__)

_RESTARTS = 3  # of a worker that is killed while the study goes on
_POLL_S = 0.3
# Which job it is and what it may use; not how many tasks it has.
_KEPT = {
    f"SLURM_{name}"
    for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT", "CPUS_PER_TASK", "TMPDIR", "CONF")
}


def run_study(sweep: Sweep, config: dict[str, Any], workers: int, per_gpu: int) -> tuple[int, dict[str, Any]]:
    """Begin or go on with a study and see its workers through; exit code and the object of the last output line."""
    shared = [child_environment({**os.environ, **share}) for share in shares(config["trainer"], workers, per_gpu)]
    study = begin_study(sweep, config)
    environments = [{"WANDB_RUN_GROUP": study.study_name, **environment} for environment in shared]
    received = WorkerPool(sweep, environments).run()
    trials = study.get_trials(deepcopy=False)
    counts = summary(sweep, trials)
    print_table(sweep, study)
    best = best_trial(sweep, trials)
    result: dict[str, Any] = {"study": sweep.directory, "state": "finished", **counts}
    if best is not None:
        values = dict(zip(sweep.objectives, best.values, strict=True))
        about = {"trial": best.number, **values, "run_dir": str(sweep.trial_directory(best.number))}
        result["best"] = {**about, "command": train_line(sweep, best)}
    result["seconds"] = seconds_used(trials)
    if received.signals:
        result["state"] = "interrupted"
        logger.info("interrupted; the same command goes on")
        return signalled(received.signals[0]), result
    if received.gave_up:
        failed = max((t for t in trials if t.state == TrialState.FAIL), key=lambda t: t.number)
        result |= {"state": "failed", "error": failed.user_attrs.get("error")}
        logger.error(
            f"error: {sweep.max_failures} trials failed one after the other, the last with: {result['error']}; "
            "the same command tries again",
        )
        return ExitCode.FAILED, result
    return ExitCode.FINISHED, result


def shares(trainer: dict[str, Any], workers: int, per_gpu: int) -> list[dict[str, str]]:
    """What each worker's environment says of the cores and GPUs it may use.

    Raises:
        Galaxy10Error: there are not enough GPUs.
    """
    cores = int(os.environ.get("SLURM_CPUS_PER_TASK") or usable_cpus())
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
    """A trial is a process of its own and no task of the job around it: it must not count that job's tasks."""
    for name in [name for name in environment if name.startswith("SLURM") and name not in _KEPT]:
        del environment[name]


class WorkerPool:
    """Workers as processes. Signals are passed on to all of them; the next one of a kind is not waited for.

    signals: that came; gave_up: whether a worker said that too many trials fail.
    """

    def __init__(self, sweep: Sweep, environments: Sequence[dict[str, str]]):
        self.sweep, self.environments = sweep, environments
        self.signals: list[int] = []
        self.gave_up = False
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._restarts = dict.fromkeys(range(len(environments)), 0)

    def run(self) -> "WorkerPool":
        """Until all have ended."""
        with collect_signals(self._pass_on) as self.signals:
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
        command = guarded([sys.executable, "-m", "galaxy10.sweeps.worker"])
        # A process group of its own: Ctrl-C then reaches it once, through us.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=self.environments[number], process_group=0, bufsize=0
        )
        self._processes[number] = process
        task = os.environ.get("SLURM_ARRAY_TASK_ID")
        name = f"{task}.{number}" if task else str(number)
        order = json.dumps({"sweep": self.sweep.to_json(), "name": name})
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(order.encode() + b"\n")  # and left open: its end tells the worker that we are gone
        if self.signals:  # one came in between
            process.send_signal(self.signals[-1])

    def _ended(self, number: int, code: int) -> None:
        process = self._processes.pop(number)
        assert process.stdin is not None
        process.stdin.close()
        self.gave_up |= code == TOO_MANY_FAILURES
        if self.signals or code in (0, TOO_MANY_FAILURES):
            return
        again = self._restarts[number] < _RESTARTS
        logger.info(f"worker {number}  {describe_exit(code)}{'; it is started again' if again else ''}")
        self._restarts[number] += 1
        if again:
            self._start(number)

    def _pass_on(self, number: int) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM if len(self.signals) < 3 else signal.SIGKILL)
