"""Run a grid of experiments (`train -m`): each trial in its own process, in a directory named after its settings.

The same command again skips the finished trials and resumes the others. This file does not import torch.
"""

import hashlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from galaxy10.config.paths import program
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.directory import choose_run_directory, is_main_process
from galaxy10.runs.lock import is_held
from galaxy10.runs.signals import collect_signals
from galaxy10.runs.slurm import job_step, outside_step
from galaxy10.sweeps.grid_trials import GridTrial, log_grid, summarize_grid
from galaxy10.sweeps.trial_environment import trial_environment
from galaxy10.sweeps.trial_starter import TrialHandle, TrialStarter, may_fork
from galaxy10.training.preflight import check_experiment

logger = logging.getLogger(__name__)

GROUP_VARIABLE = "WANDB_RUN_GROUP"
TRIAL_VARIABLE = "GALAXY10_TRIAL"  # slurm/array.sbatch: which trial of the grid this process is
_LONGEST_NAME = 60
# More seeds or experiments enlarge a grid; they do not make another one.
_ENLARGES = ("seed=", "experiment=")


def plan_grid(
    experiments: Sequence[tuple[dict[str, Any], list[str]]],
    options: Sequence[str],
    *,
    here: bool = True,
    only: int | None = None,
) -> list[GridTrial]:
    """Check every experiment of a grid and assign its directory, before the first one starts.

    Args:
        experiments: (configuration, overrides) of each.
        options: the command-line options that all of them are composed with.
        here: whether they run on this machine, rather than in jobs of a cluster.
        only: the number of the only experiment to check; others may be running.

    Raises:
        Galaxy10Error: an experiment is not valid; nothing was started.
    """
    if any(config["run"]["dir"] for config, _ in experiments):
        raise Galaxy10Error("run.dir is one directory, and -m starts several runs; type run.root=… instead")
    given = [[word for word in overrides if not word.startswith("run.")] for _, overrides in experiments]
    name = grid_name(given)
    trials: dict[Path, GridTrial] = {}
    checked: set[str] = set()
    for number, ((config, overrides), settings) in enumerate(zip(experiments, given, strict=True)):
        directory = Path(config["run"]["root"]) / name / trial_name(config, settings, given)
        trial = trials.setdefault(directory, GridTrial(overrides, directory, options))
        if only not in (None, number):
            continue
        try:
            # One check for all seeds: a seed cannot be wrong, and some checks wait for servers.
            content = json.dumps({**config, "seed": None}, sort_keys=True, default=str)
            if content not in checked:
                check_experiment(config, here)
                checked.add(content)
            if not here and is_held(directory):
                trial.state = "running"
            else:
                chosen = choose_run_directory({**config, "run": {**config["run"], "dir": str(directory)}}, overrides)
                if chosen.finished is not None:
                    trial.state, trial.result = "finished", chosen.finished
        except Galaxy10Error as error:
            raise Galaxy10Error(f"{' '.join(settings) or 'the only trial'}: {error}; nothing was started") from error
    return list(trials.values())


def grid_name(trials: Sequence[Sequence[str]]) -> str:
    """Return `grid-<hash>` of the settings that all trials share, without seeds and experiments."""
    shared = set(trials[0]).intersection(*trials)
    return f"grid-{_digest(word for word in shared if not word.startswith(_ENLARGES))}"


def trial_name(config: dict[str, Any], overrides: Sequence[str], trials: Sequence[Sequence[str]]) -> str:
    """Name a trial: experiment or model, the settings that differ, the seed, and a hash of all settings."""
    shared = set(trials[0]).intersection(*trials)
    parts = [str(config.get("experiment") or config["model"]["name"])]
    for word in overrides:
        key, _, value = word.partition("=")
        if word not in shared and key not in ("experiment", "model", "seed"):
            parts.append(f"{key.rsplit('.', 1)[-1]}={value}")
    readable = re.sub(r"[^A-Za-z0-9._=-]+", "_", "-".join([*parts, f"seed{config['seed']}"]))
    return f"{readable[:_LONGEST_NAME]}-{_digest(overrides)}"


def _digest(overrides: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]


def run_grid(experiments: Sequence[tuple[dict[str, Any], list[str]]], options: Sequence[str]) -> int:
    """Run the trials that are not finished, one after the other, and print the results of all.

    Args:
        experiments, options: as for plan_grid.

    Returns:
        0 if all finished, 1 if any failed, 128 + number on a signal.

    Raises:
        Galaxy10Error: an experiment or GALAXY10_FORK_TRIALS is not valid, or this is a SLURM job of several tasks.
    """
    step = job_step()
    if step is not None and step.tasks > 1:
        raise Galaxy10Error(
            f"each of this job's {step.tasks} tasks would run the whole grid; type "
            f"`sbatch --array=0-{len(experiments) - 1} slurm/array.sbatch …`, or on the login node "
            f"`{program('train')} -m … hydra/launcher=slurm`"
        )
    may_fork()  # a wrong value is refused before anything is said
    trials = plan_grid(experiments, options)
    log_grid(trials)
    several = sum(trial.state != "finished" for trial in trials) > 1
    with TrialStarter(several) as starter, _signals_for_the_trial() as signals:
        for number, trial in enumerate(trials, 1):
            if trial.state != "finished" and not signals.received:
                logger.info(f"\n[{number}/{len(trials)}] {trial.directory.name}")
                run_trial(trial, signals, starter)
    return summarize_grid(trials, signals.received[0] if signals.received else None)


def become_trial(experiments: Sequence[tuple[dict[str, Any], list[str]]], options: Sequence[str], number: int) -> int:
    """Replace this process with one trial of a grid, in the directory that run_grid uses.

    Raises:
        Galaxy10Error: there is no trial of this number, or it is not valid.
    """
    last = len(experiments) - 1
    if number > last:
        raise Galaxy10Error(
            f"there is no trial {number}: these settings make {last + 1} trials, from 0; type "
            f"sbatch --array=0-{last} slurm/array.sbatch …"
        )
    given = int(os.environ.get("SLURM_ARRAY_TASK_COUNT") or last + 1)
    if given <= last and is_main_process():
        logger.info(f"these settings make {last + 1} trials, and this array runs {given} of them")
    all_settings = [[word for word in overrides if not word.startswith("run.")] for _, overrides in experiments]
    config, overrides = experiments[number]
    plan_grid(experiments, options, only=number)
    directory = (
        Path(config["run"]["root"]) / grid_name(all_settings) / trial_name(config, all_settings[number], all_settings)
    )
    environment = _environment(directory)
    environment.pop(TRIAL_VARIABLE)
    os.execve(sys.executable, GridTrial(overrides, directory, options).command(), environment)


def _environment(directory: Path) -> dict[str, str]:
    """Return the environment of a trial: with its W&B group, without another run's directory and ids."""
    return {GROUP_VARIABLE: directory.parent.name, **trial_environment(os.environ)}


@dataclass
class Signals:
    """Received signals, and the process to forward them to."""

    received: list[int] = field(default_factory=list)
    process: TrialHandle | None = None

    def pass_on(self, number: int) -> None:
        """Send a signal to the process, if one runs."""
        if self.process is not None:
            self.process.send_signal(number)


def run_trial(trial: GridTrial, signals: Signals, starter: TrialStarter) -> None:
    """Run a trial in its own process, and set its state, exit code and result."""
    environment = outside_step(_environment(trial.directory))
    reading, writing = os.pipe()
    with open(reading, errors="replace") as output:
        try:
            process = starter.start(trial.command(), environment, None, writing, None, lambda: signals.received)
        finally:
            os.close(writing)
        signals.process = process
        if signals.received:  # while the process started
            process.send_signal(signals.received[-1])
        last = ""
        for line in output:
            if last.strip():
                logger.info(last.rstrip("\n"))
            last = line
        trial.exit_code = process.wait()
        signals.process = None
    trial.result = _read_result(last)
    if not trial.result and last.strip():
        logger.info(last.rstrip("\n"))
    trial.state = "finished" if trial.exit_code == 0 and trial.result else "failed"
    if signals.received and trial.state != "finished":
        trial.state = "interrupted"


@contextmanager
def _signals_for_the_trial() -> Iterator[Signals]:
    """Forward signals to the running trial, which saves and stops."""
    signals = Signals()
    with collect_signals(signals.pass_on) as signals.received:
        yield signals


def _read_result(line: str) -> dict[str, Any]:
    try:
        result = json.loads(line)
    except ValueError:
        return {}
    return result if isinstance(result, dict) else {}
