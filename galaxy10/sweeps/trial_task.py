"""The task function that a launcher plugin of Hydra calls in its processes: it runs a trial's command.

As a module (`python -m galaxy10.sweeps.trial_task`) this file is the process in which Hydra launches. The process has
its own process group: Ctrl-C reaches the command that started it, which stops the trials through a file, and does not
reach the plugin.
"""

import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galaxy10.console import set_up_logging
from galaxy10.errors import first_line
from galaxy10.exit_codes import ExitCode
from galaxy10.files import read_json, write_json
from galaxy10.runs.files import RunFiles
from galaxy10.runs.signals import collect_signals
from galaxy10.runs.slurm import job_step, outside_step
from galaxy10.sweeps.trial_process import STOP_S, start_logged, wait_until_unlocked

logger = logging.getLogger("galaxy10.sweeps.trial_task")  # this module is started with -m: its name is __main__

TRIAL_KEY = "galaxy10_trial"  # the setting that holds the number of a launcher process's trial
_STOP = "stop.json"
_POLL_S = 0.5


@dataclass(frozen=True)
class TrialTask:
    """Hydra's task function: start a trial's command and wait for it.

    Attributes:
        commands: of each trial.
        directories: the run directory of each trial.
        folder: for the trials' output.
        environment: variables added to those of the launcher's processes.
        monitor: the metric to return.
    """

    commands: list[list[str]]
    directories: list[str]
    folder: str
    environment: dict[str, str]
    monitor: str

    def __call__(self, config: Mapping[str, Any]) -> float:
        """Run a trial and return its monitored metric; NaN if the trial did not finish."""
        command, directory = self.commands[config[TRIAL_KEY]], Path(self.directories[config[TRIAL_KEY]])
        folder = Path(self.folder)
        wait_until_unlocked(directory, lambda: False)  # an earlier start of this job may still be saving
        if is_stopped(folder):
            return math.nan
        step = job_step()
        environment = dict(os.environ) if step is not None and step.tasks > 1 else outside_step(dict(os.environ))
        process = start_logged(command, log_path(folder, directory), {**environment, **self.environment})
        # The signal with which a launcher requeues this job is a different one, and raises here.
        with collect_signals(process.send_signal, (signal.SIGINT, signal.SIGTERM)):
            try:
                code = _wait(process, folder)
            except BaseException:
                process.terminate()
                process.wait(STOP_S)
                raise
        write_json(outcome_path(folder, directory), {"exit_code": code})
        value = (RunFiles(directory).read_status().get("metrics") or {}).get(self.monitor)
        return float(value) if code == 0 and value is not None else math.nan


def _wait(process: subprocess.Popen[bytes], folder: Path) -> int:
    """Wait for a trial, and stop it when the grid is stopped."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_S)
        if number := is_stopped(folder):
            process.send_signal(number)
            return process.wait()


def log_path(folder: Path, directory: Path) -> Path:
    """Return the file of a trial's output."""
    return folder / f"{directory.name}.log"


def outcome_path(folder: Path, directory: Path) -> Path:
    """Return the file of a trial's exit code."""
    return folder / f"{directory.name}.json"


def stop(folder: Path, number: int) -> None:
    """Stop all trials of a folder with a signal, and let no other begin."""
    write_json(folder / _STOP, {"signal": number})


def is_stopped(folder: Path) -> int | None:
    """Return the signal that stopped the trials; None if they are not stopped."""
    number: int | None = read_json(folder / _STOP).get("signal")
    return number


def clear_stop(folder: Path) -> None:
    """Let trials begin again after a stop."""
    (folder / _STOP).unlink(missing_ok=True)


def main() -> int:
    """Read overrides and task from standard input, and let Hydra launch the task."""
    from galaxy10.config.compose import run_hydra
    from galaxy10.sweeps.trial_task import TrialTask as Task  # a class of __main__ does not unpickle elsewhere

    set_up_logging()
    order = json.load(sys.stdin)
    try:
        run_hydra(order["overrides"], "train", Task(**order["task"]))
    except Exception as error:  # such as a process that was killed, or a queue that is not available
        logger.error(f"error: the launcher failed: {first_line(error)}")
        return ExitCode.FAILED
    return ExitCode.FINISHED


if __name__ == "__main__":
    sys.exit(main())
