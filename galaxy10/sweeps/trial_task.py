"""What a launcher of a Hydra plugin calls in its processes, wherever they are: one trial's command, in a fresh process.

As a module (`python -m galaxy10.sweeps.trial_task`) it is the process that Hydra launches from, in a process group of
its own: Ctrl-C reaches the command that started it, and through a file the trials, but not the plugin in between.
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

NUMBER = "galaxy10_trial"  # the setting by which a launcher's process is told which trial is its own
_STOP = "stop.json"
_POLL_S = 0.5


@dataclass(frozen=True)
class TrialTask:
    """Hydra's task function: starts a trial's command, and waits for it.

    commands, directories: of each trial; folder: for their output; environment: what theirs has more than the
    launcher's processes; monitor: the metric that is returned.
    """

    commands: list[list[str]]
    directories: list[str]
    folder: str
    environment: dict[str, str]
    monitor: str

    def __call__(self, config: Mapping[str, Any]) -> float:
        """Run a trial to its end; return the monitored value of one that finished, else NaN. Raises nothing."""
        command, directory = self.commands[config[NUMBER]], Path(self.directories[config[NUMBER]])
        folder = Path(self.folder)
        wait_until_unlocked(directory, lambda: False)  # an earlier start of this job that is still saving
        if is_stopped(folder):
            return math.nan
        step = job_step()
        environment = dict(os.environ) if step is not None and step.tasks > 1 else outside_step(dict(os.environ))
        process = start_logged(command, log_of(folder, directory), {**environment, **self.environment})
        # The launcher's own signal, before it submits this job again, is another one and ends this.
        with collect_signals(process.send_signal, (signal.SIGINT, signal.SIGTERM)):
            try:
                code = _wait(process, folder)
            except BaseException:
                process.terminate()
                process.wait(STOP_S)
                raise
        write_json(outcome_of(folder, directory), {"exit_code": code})
        value = (RunFiles(directory).read_status().get("metrics") or {}).get(self.monitor)
        return float(value) if code == 0 and value is not None else math.nan


def _wait(process: subprocess.Popen[bytes], folder: Path) -> int:
    """Wait for a trial; what stops the whole grid stops it."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_S)
        if number := is_stopped(folder):
            process.send_signal(number)
            return process.wait()


def log_of(folder: Path, directory: Path) -> Path:
    """Return where a trial's output goes."""
    return folder / f"{directory.name}.log"


def outcome_of(folder: Path, directory: Path) -> Path:
    """Return where a trial's exit code goes."""
    return folder / f"{directory.name}.json"


def stop(folder: Path, number: int) -> None:
    """Have all trials of a folder stop with a signal, and no other begin."""
    write_json(folder / _STOP, {"signal": number})


def is_stopped(folder: Path) -> int | None:
    """Return the signal with which trials are to stop, if they are."""
    return read_json(folder / _STOP).get("signal")


def start_again(folder: Path) -> None:
    """Let trials begin."""
    (folder / _STOP).unlink(missing_ok=True)


def main() -> int:
    """Read from standard input what to launch, and have Hydra launch it."""
    from galaxy10.config.compose import run_hydra
    from galaxy10.sweeps.trial_task import TrialTask as Task  # by its name, which pickles: not __main__'s

    set_up_logging()
    order = json.load(sys.stdin)
    try:
        run_hydra(order["words"], "train", Task(**order["task"]))
    except Exception as error:  # one of its processes was killed, a queue that does not answer
        logger.error(f"error: the launcher gave up: {first_line(error)}")
        return ExitCode.FAILED
    return ExitCode.FINISHED


if __name__ == "__main__":
    sys.exit(main())
