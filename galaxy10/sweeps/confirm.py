"""Train the best trials again with other seeds, and evaluate the winner on the test galaxies once."""

import json
import logging
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from galaxy10.config.paths import child_environment, galaxy10_command
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode, signal_exit_code
from galaxy10.files import make_directory, read_json, write_json
from galaxy10.runs.files import RunFiles
from galaxy10.runs.lock import LockedError, RunLock, describe_holder
from galaxy10.runs.signals import collect_signals
from galaxy10.sweeps.best_trial import ranked, trial_overrides
from galaxy10.sweeps.local import worker_environments
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import load_study
from galaxy10.sweeps.trial_process import TrialProcess, wait_until_unlocked
from galaxy10.sweeps.trial_starter import TrialStarter

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_TEST_METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass
class ConfirmationRun:
    """One of the best trials, trained with another seed."""

    trial: FrozenTrial
    seed: int
    directory: Path
    error: str | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the final metrics; empty until the run has finished."""
        status = RunFiles(self.directory).read_status()
        return (status.get("metrics") or {}) if status.get("state") == "finished" else {}


def confirm(
    sweep: Sweep, trainer: dict[str, Any], top: int, seeds: list[int], workers: int
) -> tuple[int, dict[str, Any]]:
    """Train the best trials with every seed; evaluate the winner's runs on the test galaxies, once per study.

    Finished runs are not trained again. Only one process at a time confirms a study.

    Args:
        trainer: the `trainer` section of the configuration.
        top: number of trials.
        workers: number of runs at the same time.

    Returns:
        Exit code (3: some runs failed) and the content of confirm/confirm.json, the object of the last output line.

    Raises:
        Galaxy10Error: there is no study or no complete trial, or another process confirms the study.
    """
    sweep, study = load_study(sweep)
    best = ranked(sweep, study.get_trials(deepcopy=False))[:top]
    if not best:
        raise Galaxy10Error(f"no trial of {sweep.directory} is complete; type sweep.action=run first")
    environments = worker_environments(trainer, workers, 1)
    with _alone(sweep) as lock:
        return _confirm(sweep, best, seeds, environments, lock)


@contextmanager
def _alone(sweep: Sweep) -> Iterator[RunLock]:
    """Lock the action: a second process would mistake the runs of the first for those of a dead one."""
    folder = sweep.path / "confirm"
    make_directory(folder)
    lock = RunLock(folder)
    try:
        lock.acquire()
    except LockedError as error:
        holder = read_json(lock.path)
        who = describe_holder(holder) if holder else "another process"
        raise Galaxy10Error(
            f"{who} already runs sweep.action=confirm of {sweep.directory}; wait for it or stop it "
            "(to train several at once, type sweep.workers=…)"
        ) from error
    try:
        yield lock
    finally:
        lock.release()


def _confirm(
    sweep: Sweep, best: Sequence[FrozenTrial], seeds: list[int], environments: Sequence[dict[str, str]], lock: RunLock
) -> tuple[int, dict[str, Any]]:
    folder = lock.path.parent
    repeats = [ConfirmationRun(t, seed, folder / f"{t.number:04}-seed{seed}") for t in best for seed in seeds]
    received = _train(sweep, repeats, environments, lock)
    before = read_json(folder / "confirm.json")
    result: dict[str, Any] = {"study": sweep.directory, "objective": sweep.objectives[0]}
    result["trials"] = rows = [_row(sweep, t, [r for r in repeats if r.trial.number == t.number]) for t in best]
    result["failed"] = {str(r.directory): r.error for r in repeats if r.error}
    if received:
        logger.info("interrupted; run the same command again to resume")
        return signal_exit_code(received[0]), {**result, "state": "interrupted"}
    whole = [row for row in rows if row["mean"] is not None and len(row["seeds"]) == len(seeds)]
    if not whole:
        write_json(folder / "confirm.json", {**before, **result})
        logger.error("error: no trial finished with every seed; see the errors in confirm/logs")
        return ExitCode.FAILED, {**result, "state": "failed"}
    sign = 1 if sweep.directions[0] == "maximize" else -1
    winner = max(whole, key=lambda row: sign * row["mean"])
    result |= {"winner": winner["trial"], "test": before.get("test")}
    if result["test"] is None:
        mine = [repeat for repeat in repeats if repeat.trial.number == winner["trial"]]
        result["test"] = _test(winner["trial"], mine, folder)
    elif result["test"]["trial"] != winner["trial"]:
        logger.info(
            f"the test galaxies were evaluated for trial {result['test']['trial']} already; a second evaluation would "
            "choose a trial by its test result, so it is not done",
        )
    write_json(folder / "confirm.json", result)
    _print(result)
    return ExitCode.PARTIAL if result["failed"] else ExitCode.FINISHED, {**result, "state": "finished"}


def _train(
    sweep: Sweep, repeats: Sequence[ConfirmationRun], environments: Sequence[dict[str, str]], lock: RunLock
) -> list[int]:
    """Train the unfinished runs, one per environment at a time, and return the signals received."""
    waiting = [repeat for repeat in repeats if not repeat.metrics]
    running: dict[int, tuple[ConfirmationRun, TrialProcess]] = {}
    with TrialStarter(several=len(waiting) > 1) as starter, collect_signals() as received:
        try:
            while waiting or running:
                if not received and lock.lost.is_set():  # a later start of this SLURM job continues
                    received.append(signal.SIGTERM)
                for place, share in enumerate(environments):
                    if place in running or not waiting or received:
                        continue
                    repeat = waiting.pop(0)
                    running[place] = (repeat, _start(sweep, repeat, share, starter, received))
                for place, (repeat, process) in list(running.items()):
                    if process.exit_code is not None:
                        del running[place]
                        if process.exit_code and not received:
                            repeat.error = process.error()
                        _log_end(sweep, repeat)
                    elif received:
                        process.stop()
                if received:
                    waiting = []
                time.sleep(_POLL_S)
        finally:
            for _, process in running.values():
                process.kill()
    return received if received or lock.still_held() else [signal.SIGTERM]


def _start(
    sweep: Sweep, repeat: ConfirmationRun, share: dict[str, str], starter: TrialStarter, received: list[int]
) -> TrialProcess:
    overrides = [word for word in trial_overrides(sweep, repeat.trial) if not word.startswith("seed=")]
    folder = ["--config-dir", sweep.config_dir] if sweep.config_dir else []
    environment = {"WANDB_RUN_GROUP": f"{sweep.path.resolve().name}-confirm", **os.environ, **share}
    logger.info(f"trial {repeat.trial.number} with seed {repeat.seed} begins")
    wait_until_unlocked(repeat.directory, lambda: False)
    log = repeat.directory.parent / "logs" / f"{repeat.directory.name}.txt"
    words = [*folder, *overrides, f"seed={repeat.seed}"]
    return TrialProcess(words, repeat.directory, log, environment, starter, lambda: received)


def _log_end(sweep: Sweep, repeat: ConfirmationRun) -> None:
    value = repeat.metrics.get(sweep.objectives[0])
    end = f"{sweep.objectives[0]} {value:.4g}" if value is not None else repeat.error or "interrupted"
    logger.info(f"trial {repeat.trial.number} with seed {repeat.seed}: {end}")


def _row(sweep: Sweep, trial: FrozenTrial, repeats: list[ConfirmationRun]) -> dict[str, Any]:
    """Return a trial's row: its value in the study, and with each seed."""
    found = {r.seed: r.metrics[sweep.objectives[0]] for r in repeats if r.metrics.get(sweep.objectives[0]) is not None}
    spread = mean_and_std(list(found.values()))
    return {
        **{"trial": trial.number, "value": trial.values[0]},
        **{"seeds": list(found), "values": list(found.values())},
        **spread,
    }


def mean_and_std(values: list[float]) -> dict[str, float | None]:
    """Return mean and sample standard deviation; None for the mean of no values or the deviation of one."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def _test(number: int, repeats: list[ConfirmationRun], folder: Path) -> dict[str, Any]:
    """Evaluate the winner's runs on the test subset of their own file."""
    found = []
    for repeat in repeats:
        data = RunFiles(repeat.directory).read_provenance()["data"]["path"]
        out = folder / f"test-{repeat.directory.name}"
        command = [*galaxy10_command("evaluate"), str(repeat.directory), data, "-o", str(out)]
        logger.info(f"trial {number} with seed {repeat.seed} on the test galaxies")
        done = subprocess.run(
            [*command, "--subset", "test"], capture_output=True, text=True, env=child_environment(os.environ)
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise Galaxy10Error(f"{repeat.directory} cannot be evaluated: {lines[-1].removeprefix('error: ')}")
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    spreads = {name: mean_and_std([line[f"test/{name}"] for line in found]) for name in _TEST_METRICS}
    return {"trial": number, "seeds": [repeat.seed for repeat in repeats], **spreads}


def _print(result: dict[str, Any]) -> None:
    for row in result["trials"]:
        if row["mean"] is not None:
            deviation = f" ± {row['std']:.4f}" if row["std"] is not None else ""
            mark = "  <- the winner" if row["trial"] == result["winner"] else ""
            logger.info(
                f"trial {row['trial']}: {result['objective']} {row['mean']:.4f}{deviation} over seeds "
                f"{row['seeds']} (in the study: {row['value']:.4f}){mark}",
            )
    test = result["test"]
    shown = ", ".join(
        f"{name} {test[name]['mean']:.4f}" + (f" ± {test[name]['std']:.4f}" if test[name]["std"] is not None else "")
        for name in _TEST_METRICS
    )
    logger.info(f"test galaxies, trial {test['trial']}: {shown}")
