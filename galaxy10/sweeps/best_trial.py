"""Write the best trial as an experiment: STUDY/experiment/best.yaml, for `--config-dir STUDY experiment=best`."""

import shlex
from collections.abc import Sequence
from typing import Any

import optuna
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from optuna.trial import FrozenTrial, TrialState

from galaxy10.config.overrides import to_overrides
from galaxy10.config.paths import program
from galaxy10.files import atomic_write
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import settings_of


def best_trial(sweep: Sweep, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial with the best first objective; None without a complete trial."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = 1 if sweep.directions[0] == "maximize" else -1
    return max(complete, key=lambda trial: sign * trial.values[0], default=None)


def ranked(sweep: Sweep, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the complete trials, sorted by the first objective, the best first."""
    sign = -1 if sweep.directions[0] == "maximize" else 1
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: sign * trial.values[0])


def trial_overrides(sweep: Sweep, trial: FrozenTrial) -> list[str]:
    """Return the overrides of a trial, without its run directory."""
    return [*sweep.overrides, *to_overrides(settings_of(trial, sweep.parameters))]


def shell_command(sweep: Sweep, trial: FrozenTrial) -> str:
    """Return the command line that trains a trial's settings, for a shell."""
    folder = ["--config-dir", sweep.config_dir] if sweep.config_dir else []
    return f"{program('train')} " + shlex.join([*folder, *trial_overrides(sweep, trial)])


def write_best(sweep: Sweep, study: optuna.Study) -> int | None:
    """Write the best trial so far as an experiment file and return its number; None without a complete trial."""
    best = best_trial(sweep, study.get_trials(deepcopy=False))
    if best is None:
        return None
    shown = ", ".join(f"{name} {value:.4f}" for name, value in zip(sweep.objectives, best.values, strict=True))
    head = (
        "# @package _global_\n"
        f"# The best trial of the study {sweep.name}: number {best.number}.\n#\n"
        f"# From:    {sweep.path.resolve()} (report: {program('sweep')} sweep={sweep.name} sweep.action=report)\n"
        f"# Expect:  {shown}, on the validation galaxies that chose among "
        f"{_number_of_trials(study)} trials: expect less on others.\n"
        f"# Cost:    {best.user_attrs.get('seconds', 0):.0f} s as a trial.\n"
        f"# Command: {program('train')} --config-dir {sweep.directory} experiment=best\n"
    )
    path = sweep.path / "experiment" / "best.yaml"
    with atomic_write(path) as part:
        part.write_text(head + experiment_yaml(trial_overrides(sweep, best), set(sweep.groups or {})))
    return best.number


def experiment_yaml(overrides: Sequence[str], groups: set[str]) -> str:
    """Return the content of an experiment file with these overrides; groups: names of the configuration groups."""
    choices: dict[str, Any] = {}
    values: dict[str, Any] = {}
    parser = OverridesParser.create()
    for word in overrides:
        override = parser.parse_override(word)
        key, value = override.key_or_group, _plain(override.value())
        if key == "debug":  # shortens trials; the experiment is for full trainings
            continue
        if key in groups:
            choices[key] = value
        else:
            *sections, name = key.split(".")
            section = values
            for step in sections:
                section = section.setdefault(step, {})
            section[name] = value
    defaults: list[Any] = [choices.pop("experiment")] if choices.get("experiment") else []
    defaults += [{f"override /{group}": choice} for group, choice in choices.items()]
    content = {**({"defaults": defaults} if defaults else {}), **values}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if content else "{}\n"


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _number_of_trials(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False))
