"""The command behind train.py: door, run directory, experiment, exit code. Imports torch only behind the door."""

import json
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from galaxy10.config.entry import REFUSED, Composed, compose, refuse
from galaxy10.errors import Galaxy10Error, TrainingError, first_line
from galaxy10.files import strict
from galaxy10.training.interruption import Interrupted, Interruption
from galaxy10.training.loggers import close_loggers
from galaxy10.training.run_directory import RunDirectory, choose_run_directory, create, is_main_process

FINISHED, FAILED = 0, 1


def main(hydra_main: Callable[[], None], composed: Composed) -> int:
    """Compose, check, run; the exit code: 0 finished, 1 failed, 2 refused, 130 or 143 on a signal."""
    try:
        compose(hydra_main, composed)
        if not composed.experiments:
            return FINISHED  # --help, --cfg
        from galaxy10.training.door import check_experiment  # the data libraries: not for --help

        if composed.multirun:
            from galaxy10.sweeps.grid import run_grid

            return run_grid(composed.experiments)
        config, overrides = composed.experiments[0]
        check_experiment(config)
        directory = choose_run_directory(config, overrides)
    except Galaxy10Error as error:
        return refuse(error)
    if directory.finished is not None:
        if config["run"]["report"] and not (directory.path / "report.html").exists():  # killed between the two
            from galaxy10.evaluation.report import build_report

            build_report(directory.path)
        print_result(directory.finished)
        return FINISHED
    code = run(config, directory)
    close_loggers(code)
    return code


def print_result(result: dict[str, Any]) -> None:
    """The last line of standard output: one strict JSON object."""
    print(json.dumps(strict(result), allow_nan=False), flush=True)


def run(config: dict[str, Any], directory: RunDirectory) -> int:
    """One checked experiment in its directory; whatever ends it is written into status.json."""
    writes = is_main_process()
    interruption = Interruption()
    interruption.install()
    made = [folder for folder in (directory.path, *directory.path.parents) if not folder.exists()]
    new, started = bool(made), False
    try:
        if writes:
            if directory.last_checkpoint.exists():
                from galaxy10.training.checkpoints import check_resumable

                check_resumable(directory.last_checkpoint)
            create(directory, config)
            directory.take()
            directory.start(config)
        started = True
        from galaxy10.training.experiment import run_experiment

        result = run_experiment(config, directory, interruption)
    except Galaxy10Error as error:
        if not writes:
            return REFUSED
        if not started and not new:
            return refuse(error)
        if new and not isinstance(error, TrainingError) and not (directory.path / "metrics.csv").exists():
            close_loggers(REFUSED)
            directory.release()
            shutil.rmtree(directory.path, ignore_errors=True)
            for folder in made[1:]:
                with suppress(OSError):  # another run is in it by now
                    folder.rmdir()
            return refuse(error)
        return _failed(directory, str(error))
    except (Interrupted, KeyboardInterrupt) as interrupted:
        interruption.ignore()
        return _interrupted(directory, getattr(interrupted, "number", signal.SIGINT), writes)
    except Exception as error:
        if not writes:
            raise
        where = directory.path / "traceback.txt"
        with suppress(OSError):
            where.write_text(traceback.format_exc())
        return _failed(directory, f"{type(error).__name__}: {first_line(error)} (a bug? the details are in {where})")
    finally:
        directory.release()
    if writes:
        print_result(result)
    return FINISHED


def _interrupted(directory: RunDirectory, number: int, writes: bool) -> int:
    if writes and directory.lost.is_set():
        print(f"stopped: another process has taken over {directory.path}", file=sys.stderr)
    elif writes:
        directory.end("interrupted", error=f"stopped by {signal.Signals(number).name}")
        print(f"interrupted; the same command with run.dir={directory.path} goes on", file=sys.stderr)
    return 128 + number


def _failed(directory: RunDirectory, message: str) -> int:
    with suppress(Galaxy10Error):  # a full disk takes no status either; the first error is the one to show
        directory.end("failed", error=message)
    print(f"error: {message}", file=sys.stderr)
    return FAILED
