"""Submit a grid to SLURM: `train -m … hydra/launcher=slurm`."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode, signal_exit_code
from galaxy10.files import json_safe, read_json, write_json
from galaxy10.runs.devices import number_of_devices
from galaxy10.runs.signals import Interrupted, interruptible
from galaxy10.sweeps.grid import GROUP_VARIABLE, plan_grid
from galaxy10.sweeps.grid_trials import GridTrial, log_grid, print_table, read_state
from galaxy10.sweeps.slurm import ENDED, array_states, check_slurm, gpus_of, submit_array, wait_for_array

logger = logging.getLogger(__name__)

SUBMITTED = "slurm/submitted.json"  # in the grid's directory: {job: [trial directory's name of task 0, 1, …]}


def submit_grid(experiments: Sequence[tuple[dict[str, Any], list[str]]], options: Sequence[str]) -> int:
    """Submit the experiments that are neither finished nor submitted as a job array, and wait unless slurm.wait=false.

    Args:
        experiments: (configuration, overrides) of each.
        options: the command-line options that all of them are composed with.

    Returns:
        0 if all finished (or, with slurm.wait=false, were submitted), 1 if any failed, 128 + number on a signal.

    Raises:
        Galaxy10Error: an experiment is not valid, or SLURM rejects the job.
    """
    check_slurm()
    settings, without_slurm = _settings(experiments)
    trials = plan_grid(without_slurm, options, here=False)
    grid = trials[0].directory.parent
    waiting = _already_submitted(grid)
    submitted = {name for names in waiting.values() for name in names}
    new = [trial for trial in trials if trial.state == "waiting" and trial.directory.name not in submitted]
    log_grid(trials)
    for job, names in waiting.items():
        logger.info(f"slurm   job {job}: {len(names)} submitted already")
    if new:
        job = submit_array(
            [["env", f"{GROUP_VARIABLE}={grid.name}", *trial.command()] for trial in new],
            grid / "slurm",
            name=grid.name,
            **_resources(without_slurm[0][0]["trainer"], settings),
        )
        waiting[job] = [trial.directory.name for trial in new]
        write_json(grid / SUBMITTED, {**read_json(grid / SUBMITTED), job: waiting[job]})
        logger.info(f"slurm   job {job}: {len(new)} submitted; output in {grid}/slurm/{job}_<task>.log")
    if not settings["wait"]:
        return _report(trials, grid, waiting, "submitted")
    try:
        with interruptible():
            for job in waiting:
                wait_for_array(job, _Progress(job).show)
    except Interrupted as interrupted:
        logger.info(
            "the jobs continue; run the same command again to wait for them, or "
            f"scancel {' '.join(waiting)} to end them"
        )
        return signal_exit_code(interrupted.number)
    for trial in trials:
        read_state(trial)
    print_table(trials)
    failed = any(trial.state != "finished" for trial in trials)
    _report(trials, grid, waiting, "failed" if failed else "finished")
    return ExitCode.FAILED if failed else ExitCode.FINISHED


def _settings(
    experiments: Sequence[tuple[dict[str, Any], list[str]]],
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], list[str]]]]:
    """Return the `slurm` section, and the experiments without the section, which does not affect their results."""
    without = []
    for config, overrides in experiments:
        rest = {key: value for key, value in config.items() if key != "slurm"}
        without.append((rest, [word for word in overrides if not word.startswith("slurm.")]))
    sections = [config["slurm"] for config, _ in experiments]
    if any(section != sections[0] for section in sections):
        raise Galaxy10Error("all trials are one job array, and slurm.… differs between them; type one value for all")
    return sections[0], without


def _resources(trainer: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the resources of each trial: one process per device, and a GPU per process unless it trains on CPUs."""
    return {
        "nodes": trainer["num_nodes"],
        "tasks_per_node": number_of_devices(trainer["devices"]) or 1,
        "gpus": gpus_of(trainer),
        "cpus": settings["cpus_per_task"],
    }


def _already_submitted(grid: Path) -> dict[str, list[str]]:
    """Return the trials that are pending or running in jobs of earlier commands, by job."""
    found = {}
    for job, names in read_json(grid / SUBMITTED).items():
        try:
            states = array_states(job)
        except OSError as error:
            raise Galaxy10Error(f"squeue does not respond ({error}); try again in a minute") from error
        open_tasks = [name for task, name in enumerate(names) if states.get(task, "COMPLETED") not in ENDED]
        if open_tasks:
            found[job] = open_tasks
    return found


def _report(trials: Sequence[GridTrial], grid: Path, jobs: dict[str, list[str]], state: str) -> int:
    summary = {"state": state, "grid": str(grid), "jobs": list(jobs), "trials": [trial.describe() for trial in trials]}
    print(json.dumps(json_safe(summary), allow_nan=False), flush=True)
    return ExitCode.FINISHED


class _Progress:
    """Log the number of a job's tasks in each state whenever a number changes."""

    def __init__(self, job: str) -> None:
        self._job, self._shown = job, ""

    def show(self, states: dict[int, str]) -> None:
        counts: dict[str, int] = {}
        for state in states.values():
            counts[state.lower()] = counts.get(state.lower(), 0) + 1
        line = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        if line and line != self._shown:
            self._shown = line
            logger.info(f"slurm   job {self._job}: {line}")
