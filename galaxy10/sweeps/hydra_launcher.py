"""Run a grid with a launcher plugin of Hydra (submitit, joblib): `train -m … hydra/launcher=submitit_local`.

The launcher runs the trials in its own processes, on this machine or others; their results are read from their run
directories.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from galaxy10.config.command_line import SEARCH_PATH, option_value, user_config_dir
from galaxy10.config.compose import ComposedConfigs
from galaxy10.config.explain import KnownSettings, explain
from galaxy10.config.overrides import quote
from galaxy10.config.paths import CONF
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json
from galaxy10.runs.files import RunFiles
from galaxy10.runs.lock import is_held
from galaxy10.runs.signals import collect_signals
from galaxy10.sweeps.exec_with_parent import bound_to_parent
from galaxy10.sweeps.grid import GROUP_VARIABLE, plan_grid
from galaxy10.sweeps.grid_trials import GridTrial, log_grid, read_state, summarize_grid
from galaxy10.sweeps.trial_environment import trial_environment
from galaxy10.sweeps.trial_process import last_line
from galaxy10.sweeps.trial_task import TRIAL_KEY, TrialTask, clear_stop, log_path, outcome_path, stop
from galaxy10.system import usable_cpus

logger = logging.getLogger(__name__)

_ALL_AT_ONCE = "submitit_launcher.LocalLauncher"
_ON_THIS_MACHINE = (_ALL_AT_ONCE, "joblib_launcher.JoblibLauncher", "basic_launcher.BasicLauncher")
_POLL_S = 0.3


def launch_grid(composed: ComposedConfigs) -> int:
    """Let the launcher run the trials that are not finished, and print the results of all.

    Returns:
        0 if all finished, 1 if any did not, 128 + number on a signal.

    Raises:
        Galaxy10Error: a trial or a setting of the launcher is not valid.
    """
    target = launcher_target(composed)
    here = target.endswith(_ON_THIS_MACHINE)
    trials = plan_grid(composed.experiments, composed.options, here=here)
    log_grid(trials)
    waiting = [trial for trial in trials if trial.state == "waiting"]
    if not waiting:
        return summarize_grid(trials, None)
    folder = trials[0].directory.parent.resolve() / "launcher"
    environment = {GROUP_VARIABLE: folder.parent.name}
    if target.endswith(_ALL_AT_ONCE) and "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, usable_cpus() // len(waiting)))
    task = TrialTask(
        [trial.command() for trial in waiting],
        [str(trial.directory.resolve()) for trial in waiting],
        str(folder),
        environment,
        composed.experiments[0][0]["monitor"],
    )
    clear_stop(folder)
    for trial in waiting:
        outcome_path(folder, trial.directory).unlink(missing_ok=True)
    plural = "s" if len(waiting) > 1 else ""
    logger.info(f"launch  {len(waiting)} trial{plural} with hydra/launcher={composed.launcher}; output in {folder}")
    received = _Launch(_overrides(composed, folder, len(waiting)), task, here).wait()
    while here and any(is_held(trial.directory) for trial in waiting):
        time.sleep(_POLL_S)  # trials may run on after a signal, until saved, or after a launcher process was killed
    for trial in waiting:
        _read_outcome(trial, folder)
    if received and not here:
        logger.info("the launcher's jobs continue; run the same command again for their results")
    return summarize_grid(trials, received)


def launcher_target(composed: ComposedConfigs) -> str:
    """Return the path of the launcher's class; composing the launcher checks its settings.

    Raises:
        Galaxy10Error: the launcher does not have one of the settings.
    """
    own = user_config_dir(composed.options)
    search = [w.removeprefix(SEARCH_PATH).strip("\"'[]") for w in composed.options if w.startswith(SEARCH_PATH)]
    places = ",".join([*([f"file://{own}"] if own else []), *search])
    overrides = [*([f"{SEARCH_PATH}[{places}]"] if places else []), *composed.launcher_settings]
    try:
        with initialize_config_dir(option_value(composed.options, "--config-path") or str(CONF), version_base="1.3"):
            config = compose("train", overrides=overrides, return_hydra_config=True)
            return str(config.hydra.launcher._target_)
    except (HydraException, OmegaConfBaseException) as error:
        vocabulary = KnownSettings.of("train", composed.options)
        raise Galaxy10Error(explain(error, composed.launcher_settings, vocabulary)) from error


def _overrides(composed: ComposedConfigs, folder: Path, number: int) -> list[str]:
    """Return Hydra's command line: the overrides that all trials share, and the numbers of the trials."""
    shared = [word for word in composed.experiments[0][1] if all(word in other for _, other in composed.experiments)]
    return [
        *("-m", *composed.options, *shared, *composed.launcher_settings),
        f"hydra.sweep.dir={quote(folder)}",
        "hydra.sweep.subdir=.",
        "hydra.sweeper.params=null",
        f"hydra.job.name={folder.parent.name}",
        f"+{TRIAL_KEY}={','.join(map(str, range(number)))}",
    ]


def _read_outcome(trial: GridTrial, folder: Path) -> None:
    """Set a trial's state from its run directory, or from its output if it has none."""
    trial.exit_code = read_json(outcome_path(folder, trial.directory)).get("exit_code")
    if is_held(trial.directory):
        trial.state = "running"
    elif trial.exit_code is None and not RunFiles(trial.directory).status.exists():
        trial.state = "waiting"
    else:
        read_state(trial)
    if trial.state == "failed":
        with suppress(OSError):
            trial.last_line = last_line(log_path(folder, trial.directory).read_text(errors="replace")).removeprefix(
                "error: "
            )


class _Launch:
    """The process in which Hydra launches. On this machine, the first signal stops the trials, which save."""

    def __init__(self, overrides: Sequence[str], task: TrialTask, here: bool):
        self._here, self._folder = here, Path(task.folder)
        self._received: int | None = None
        self._process = subprocess.Popen(
            bound_to_parent([sys.executable, "-m", "galaxy10.sweeps.trial_task"]),
            stdin=subprocess.PIPE,
            stdout=sys.stderr,
            text=True,
            env=trial_environment(os.environ),
            process_group=0,
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            json.dump({"overrides": list(overrides), "task": asdict(task)}, self._process.stdin)
            self._process.stdin.close()

    def wait(self) -> int | None:
        """Wait until the process has ended; return the signal received meanwhile, if any."""
        with collect_signals(self._stop):
            self._process.wait()
        return self._received

    def _stop(self, number: int) -> None:
        again, self._received = self._received is not None, self._received or number
        if self._here:
            stop(self._folder, number)
        if again or not self._here:
            self._process.terminate()
