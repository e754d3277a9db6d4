"""The command behind train.py: door, run directory, experiment, exit code. Imports torch only behind the door."""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from galaxy10.config.compose import REFUSED, ComposedConfigs, compose, refuse
from galaxy10.console import set_up_logging
from galaxy10.errors import Galaxy10Error, TrainingError, first_line
from galaxy10.files import strict
from galaxy10.runs.directory import RunDirectory, choose_run_directory, create, is_main_process, process_number
from galaxy10.runs.signals import TIME_LIMIT, Interrupted, SignalHandler
from galaxy10.runs.slurm import job_name
from galaxy10.training.loggers import close_loggers
from galaxy10.training.settings import checked, known_keys

FINISHED, FAILED = 0, 1
FIRST_PROCESS_FIRST_S = 3.0


def main(hydra_main: Callable[[], None], composed: ComposedConfigs) -> int:
    """Compose, check, run; the exit code: 0 finished, 1 failed, 2 refused, 130 or 143 on a signal."""
    try:
        set_up_logging()
        compose(hydra_main, composed, checked, known_keys())
        if not composed.experiments:
            return FINISHED  # --help, --cfg
        from galaxy10.training.preflight import check_experiment  # the data libraries: not for --help

        if composed.multirun:
            return run_many(composed.experiments)
        config, overrides = composed.experiments[0]
        if "slurm" in config:
            raise Galaxy10Error("hydra/launcher=slurm submits grids: add -m, or type `sbatch slurm/train.sbatch …`")
        check_experiment(config)
        directory = choose_run_directory(config, overrides)
    except Galaxy10Error as error:
        return refuse(error) if is_main_process() else _refuse_later(error)
    if directory.finished is not None:
        if not is_main_process():
            return FINISHED
        if config["run"]["report"] and not directory.files.report.exists():  # killed between the two
            from galaxy10.reports.run import build_report

            build_report(directory.path)
        print_result(directory.finished)
        return FINISHED
    code = run(config, directory)
    close_loggers(code)
    return code


def run_many(experiments: list[tuple[dict[str, Any], list[str]]]) -> int:
    """A grid: on this machine, as a job array, or (in a task of slurm/array.sbatch) one of its trials."""
    if "slurm" in experiments[0][0]:
        from galaxy10.sweeps.submission import submit_grid

        return submit_grid(experiments)
    from galaxy10.sweeps.grid import TRIAL_VARIABLE, become_trial, run_grid

    number = os.environ.get(TRIAL_VARIABLE)
    return run_grid(experiments) if number is None else become_trial(experiments, int(number))


def print_result(result: dict[str, Any]) -> None:
    """The last line of standard output: one strict JSON object."""
    print(json.dumps(strict(result), allow_nan=False), flush=True)


def run(config: dict[str, Any], directory: RunDirectory) -> int:
    """One checked experiment in its directory; whatever ends it is written into status.json."""
    writes = is_main_process()
    interruption = SignalHandler()
    interruption.install()
    made = [folder for folder in (directory.path, *directory.path.parents) if not folder.exists()]
    new, taken, started = bool(made), False, False
    try:
        if not writes:
            directory.take()
        else:
            create(directory, config)
            if directory.last_checkpoint.exists():
                _check_resumable(directory, config)
            directory.take()
            taken = True
            directory.start(config)
        started = True
        from galaxy10.training.experiment import run_experiment

        result = run_experiment(config, directory, interruption)
    except Galaxy10Error as error:
        if not writes:
            return _failed_beside(directory, error)
        if not taken or (not started and not new):  # another process's, or as it was
            _remove_if_empty(made)
            return refuse(error)
        if new and not isinstance(error, TrainingError) and not directory.files.metrics.exists():
            close_loggers(REFUSED)
            directory.release()
            shutil.rmtree(directory.path, ignore_errors=True)
            _remove_if_empty(made[1:])
            return refuse(error)
        return _failed(directory, str(error))
    except (Interrupted, KeyboardInterrupt) as interrupted:
        interruption.ignore()
        return _interrupted(directory, getattr(interrupted, "number", signal.SIGINT), interruption.progressed)
    except Exception as error:
        processes = sys.modules.get("galaxy10.training.distributed")  # it imports torch
        gone = processes.explain_dist_error(error) if processes and writes else None
        if gone:
            return _failed(directory, gone)
        where = directory.files.traceback
        if not writes:
            where = where.with_name(f"traceback-{os.getpid()}.txt")
        with suppress(OSError):
            where.write_text(traceback.format_exc())
        told = Galaxy10Error(f"{type(error).__name__}: {first_line(error)} (a bug? the details are in {where})")
        return _failed(directory, str(told)) if writes else _failed_beside(directory, told)
    finally:
        directory.release()
    if writes:
        print_result(result)
    return FINISHED


def _check_resumable(directory: RunDirectory, config: dict[str, Any]) -> None:
    """A run whose checkpoint is damaged cannot go on; with run.overwrite=true it is moved aside, and begins again."""
    from galaxy10.training.checkpoints import check_resumable

    try:
        check_resumable(directory.last_checkpoint)
    except Galaxy10Error:
        if not config["run"]["overwrite"]:
            raise
        directory.move_aside()
        create(directory, config)


def _remove_if_empty(folders: list[Path]) -> None:
    """Folders made for a run that has not begun, the innermost first; another run may be in them by now."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _interrupted(directory: RunDirectory, number: int, progressed: bool) -> int:
    in_vain = number == TIME_LIMIT and job_name() is not None and not progressed  # going on would not end either
    if not is_main_process():
        return FAILED if in_vain else 128 + number
    if directory.lost.is_set():
        print(f"stopped: another process has taken over {directory.path}", file=sys.stderr)
    elif directory.failure:
        return _failed(directory, directory.failure)
    elif not directory.started:
        print("interrupted before anything began; the same command begins again", file=sys.stderr)
    elif (epochs := directory.pruned_after) is not None:
        directory.end("pruned", error=f"given up by its study after {epochs} epoch{'s' if epochs != 1 else ''}")
        return FINISHED
    elif in_vain:
        return _failed(
            directory,
            "the time limit came before anything new was trained; ask for more, e.g. sbatch --time=24:00:00 …",
        )
    else:
        directory.end("interrupted", error=f"stopped by {signal.Signals(number).name}")
        print(f"interrupted; the same command with run.dir={directory.path} goes on", file=sys.stderr)
    return 128 + number


def _failed(directory: RunDirectory, message: str) -> int:
    message = directory.failure or message  # another process of this run has failed first, and this one for want of it
    with suppress(Galaxy10Error):  # a full disk takes no status either; the first error is the one to show
        directory.end("failed", error=message)
    print(f"error: {message}", file=sys.stderr)
    return FAILED


def _failed_beside(directory: RunDirectory, error: Galaxy10Error) -> int:
    """One of a run's other processes has failed. If the first one has not by itself, it says so for it."""
    time.sleep(FIRST_PROCESS_FIRST_S)
    if directory.status.get("state") == "running":
        with suppress(Galaxy10Error):
            directory.update_status(state="failed", error=f"{error} (process {process_number()})")
        print(f"error: {error} (process {process_number()})", file=sys.stderr)
    return FAILED


def _refuse_later(error: Galaxy10Error) -> int:
    """What all processes of a run refuse, the first one says, before srun ends them all."""
    time.sleep(FIRST_PROCESS_FIRST_S)
    return refuse(Galaxy10Error(f"{error} (process {process_number()})"))
