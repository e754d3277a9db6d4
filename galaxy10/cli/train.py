"""`galaxy10 train` and train.py: check the command, choose the run directory, train. torch is imported late."""

import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy10.cli.output import print_error, print_result
from galaxy10.config.command_line import is_help_only, translate_arguments
from galaxy10.config.explain import KnownSettings, check_setting_names
from galaxy10.config.groups import help_text
from galaxy10.config.overrides import typed_setting
from galaxy10.config.paths import import_from_working_directory
from galaxy10.config.user_code import chosen_code_location, describe_failure
from galaxy10.console import set_up_logging
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.exit_codes import ExitCode, signal_exit_code
from galaxy10.files import is_disk_error, write_error
from galaxy10.runs.directory import (
    RunDirectory,
    choose_run_directory,
    create_run_directory,
    global_rank,
    is_main_process,
)
from galaxy10.runs.launcher import check_one_process, drop_stale_variables, end_with_rank_zero
from galaxy10.runs.signals import TIME_LIMIT, Interrupted, SignalHandler
from galaxy10.runs.slurm import job_name
from galaxy10.sweeps.forked_trial import leave_fork
from galaxy10.system import provide_home
from galaxy10.training.loggers import close_loggers
from galaxy10.training.settings import complete_and_check, known_keys

if TYPE_CHECKING:
    from galaxy10.config.compose import ComposedConfigs

logger = logging.getLogger(__name__)

RANK_ZERO_FIRST_S = 3.0  # the other ranks wait so long for rank 0 to report an error


def main(arguments: Sequence[str]) -> int:
    """Compose and check the command line, then run the experiment or grid; return the exit code.

    Exit codes: 0 finished, 1 failed, 2 refused, 130, 138 or 143 after a signal.

    Args:
        arguments: the command line without the program's name.
    """
    if is_help_only(arguments):
        print(help_text("train"))
        return ExitCode.FINISHED
    end_with_rank_zero()
    provide_home()
    import_from_working_directory()
    try:
        set_up_logging()
        known = KnownSettings.of("train", arguments, known_keys())
        typed = translate_arguments(arguments, known.choices)
        check_setting_names(typed, known)
        from galaxy10.config.compose import compose

        composed = compose(typed, known, complete_and_check)
        if not composed.experiments:
            return ExitCode.FINISHED  # --help, --cfg
        from galaxy10.training.preflight import (
            check_experiment,  # imports the data libraries, which --help does not need
        )

        drop_stale_variables(composed.experiments[0][0]["trainer"]["num_nodes"])
        if composed.multirun:
            check_one_process("a grid")
            return run_many(composed)
        config, overrides = composed.experiments[0]
        leave_fork(config["trainer"])
        if composed.launcher != "basic":
            raise Galaxy10Error(f"hydra/launcher={composed.launcher} only starts grids; add -m")
        check_experiment(config)
        directory = choose_run_directory(config, overrides)
    except Galaxy10Error as error:
        return print_error(error) if is_main_process() else _print_error_later(error)
    if directory.finished is not None:
        if not is_main_process():
            return ExitCode.FINISHED
        if config["run"]["report"] and not directory.files.report.exists():  # killed before the report
            from galaxy10.reports.run import build_report

            build_report(directory.path)
        print_result(directory.finished)
        return ExitCode.FINISHED
    code = run(config, directory)
    close_loggers(code)
    return code


def run_many(composed: "ComposedConfigs") -> int:
    """Run a grid on this machine, as a SLURM job array or by a launcher plugin; in an array task, run one trial."""
    if composed.launcher == "slurm":
        from galaxy10.sweeps.slurm_grid import submit_grid

        return submit_grid(composed.experiments, composed.options)
    if composed.launcher != "basic":
        from galaxy10.sweeps.hydra_launcher import launch_grid

        return launch_grid(composed)
    from galaxy10.sweeps.grid import TRIAL_VARIABLE, become_trial, run_grid

    number = os.environ.get(TRIAL_VARIABLE)
    if number is not None:
        return become_trial(composed.experiments, composed.options, int(number))
    return run_grid(composed.experiments, composed.options)


def run(config: dict[str, Any], directory: RunDirectory) -> int:
    """Run a checked experiment in its directory, write how it ended to status.json, and return the exit code."""
    writes = is_main_process()
    signal_handler = SignalHandler()
    signal_handler.install()
    created = [folder for folder in (directory.path, *directory.path.parents) if not folder.exists()]
    new, locked, started = bool(created), False, False
    try:
        if not writes:
            directory.acquire()
        else:
            create_run_directory(directory, config)
            if directory.last_checkpoint.exists():
                _check_resumable(directory, config)
            directory.acquire()
            locked = True
            directory.start(config)
        started = True
        from galaxy10.training.experiment import run_experiment

        result = run_experiment(config, directory, signal_handler)
    except Galaxy10Error as error:
        if not writes:
            return _fail_on_other_rank(directory, error)
        if not locked or (not started and not new):  # the directory is another process's, or is unchanged
            _remove_if_empty(created)
            return print_error(error)
        if new and not isinstance(error, TrainingError) and not directory.files.metrics.exists():
            close_loggers(ExitCode.REFUSED)
            directory.release()
            shutil.rmtree(directory.path, ignore_errors=True)
            _remove_if_empty(created[1:])
            return print_error(error)
        return _fail(directory, str(error))
    except (Interrupted, KeyboardInterrupt) as interrupted:
        signal_handler.ignore()
        return _interrupt(directory, getattr(interrupted, "number", signal.SIGINT), signal_handler.progressed)
    except Exception as error:
        if writes and is_disk_error(error):
            return _fail(directory, str(write_error(Path(getattr(error, "filename", None) or directory.path), error)))
        processes = sys.modules.get("galaxy10.training.distributed")  # it imports torch
        death = processes.explain_dist_error(error) if processes and writes else None
        if death:
            return _fail(directory, death)
        where = directory.files.traceback
        if not writes:
            where = where.with_name(f"traceback-{os.getpid()}.txt")
        with suppress(OSError):
            where.write_text(traceback.format_exc())
        bug = "" if chosen_code_location(error) else "a bug? "
        failure = Galaxy10Error(f"{describe_failure(error)} ({bug}the details are in {where})")
        return _fail(directory, str(failure)) if writes else _fail_on_other_rank(directory, failure)
    finally:
        directory.release()
    if writes:
        print_result(result)
    return ExitCode.FINISHED


def _check_resumable(directory: RunDirectory, config: dict[str, Any]) -> None:
    """Check last.ckpt; if it is damaged, move the run aside with run.overwrite=true, else raise."""
    from galaxy10.config.trust import trust_configuration
    from galaxy10.training.checkpoints import check_resumable

    trust_configuration(config)
    try:
        check_resumable(directory.last_checkpoint)
    except Galaxy10Error:
        if not config["run"]["overwrite"]:
            raise
        directory.move_aside()
        create_run_directory(directory, config)


def _remove_if_empty(folders: list[Path]) -> None:
    """Remove folders created for a run that did not start, the innermost first, unless another run is in them."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _interrupt(directory: RunDirectory, number: int, progressed: bool) -> int:
    no_progress = number == TIME_LIMIT and job_name() is not None and not progressed  # a requeue would not help
    if not is_main_process():
        return ExitCode.FAILED if no_progress else signal_exit_code(number)
    if directory.lock_lost.is_set():
        logger.info(f"stopped: another process has taken over {directory.path}")
    elif directory.failure:
        return _fail(directory, directory.failure)
    elif not directory.started:
        logger.info("interrupted before training started; run the same command again")
    elif (epochs := directory.pruned_after) is not None:
        directory.end("pruned", error=f"pruned by its study after {epochs} epoch{'s' if epochs != 1 else ''}")
        return ExitCode.FINISHED
    elif no_progress:
        return _fail(
            directory,
            "the time limit came before the first training step; request more time, e.g. sbatch --time=24:00:00 …",
        )
    else:
        directory.end("interrupted", error=f"stopped by {signal.Signals(number).name}")
        logger.info(f"interrupted; to resume, run the same command with {typed_setting('run.dir', directory.path)}")
    return signal_exit_code(number)


def _fail(directory: RunDirectory, message: str) -> int:
    message = directory.failure or message  # if another process of this run failed first, its error is the cause
    with suppress(Galaxy10Error):  # with a full disk, status.json cannot be written either; show the first error
        directory.end("failed", error=message)
    logger.error(f"error: {message}")
    return ExitCode.FAILED


def _fail_on_other_rank(directory: RunDirectory, error: Galaxy10Error) -> int:
    """Report the failure of a rank other than 0, unless rank 0 has reported one itself."""
    time.sleep(RANK_ZERO_FIRST_S)
    if directory.status.get("state") == "running":
        with suppress(Galaxy10Error):
            directory.update_status(state="failed", error=f"{error} (process {global_rank()})")
        logger.error(f"error: {error} (process {global_rank()})")
    return ExitCode.FAILED


def _print_error_later(error: Galaxy10Error) -> int:
    """Print a refusal on a rank other than 0 after a delay, so that rank 0 prints it before srun ends all ranks."""
    time.sleep(RANK_ZERO_FIRST_S)
    return print_error(Galaxy10Error(f"{error} (process {global_rank()})"))
