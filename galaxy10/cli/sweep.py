"""`galaxy10 sweep` and sweep.py: check the command, run the study. Optuna is imported late, torch never."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from galaxy10.cli.output import print_error, print_result
from galaxy10.config.command_line import SEARCH_PATH, is_help_only, translate_arguments, user_config_dir
from galaxy10.config.explain import KnownSettings, check_setting_names
from galaxy10.config.groups import config_folders, default_choice, help_text, read_yaml
from galaxy10.config.paths import import_from_working_directory
from galaxy10.console import set_up_logging
from galaxy10.errors import Galaxy10Error
from galaxy10.exit_codes import ExitCode
from galaxy10.metrics.specs import metric_directions
from galaxy10.runs.launcher import check_one_process, drop_stale_variables
from galaxy10.sweeps.settings import SWEEP_FIELDS, Sweep, read_sweep
from galaxy10.system import provide_home
from galaxy10.training.settings import complete_and_check, known_keys

logger = logging.getLogger(__name__)

_KEYS = (*SWEEP_FIELDS, "sweep.space", "sweep.space.")


def main(arguments: Sequence[str]) -> int:
    """Compose and check the command line, then run the action; return the exit code.

    Exit codes: 0 finished, 1 failed, 2 refused, 130, 138 or 143 after a signal.

    Args:
        arguments: the command line without the program's name.
    """
    if is_help_only(arguments):
        print(help_text("sweep"))
        return ExitCode.FINISHED
    provide_home()
    import_from_working_directory()
    try:
        set_up_logging()
        known = KnownSettings.of("sweep", arguments, {*known_keys(), *_KEYS})
        typed = translate_arguments(arguments, known.choices)
        check_setting_names(typed, known)
        fixed, completed = insert_space_overrides(typed)
        from galaxy10.config.compose import compose

        composed = compose(completed, known, _check_settings)
        if not composed.experiments:
            return ExitCode.FINISHED  # --help, --cfg
        if composed.multirun:
            raise Galaxy10Error("a study runs many trials by itself; leave out -m (start several studies one by one)")
        if any(word.startswith(SEARCH_PATH) for word in typed):
            raise Galaxy10Error("a study does not support hydra.searchpath; type --config-dir FOLDER")
        config, overrides = composed.experiments[0]
        section: dict[str, Any] = config.pop("sweep")
        if section["overrides"] != fixed:
            raise Galaxy10Error(
                "sweep.overrides can only be set in the space's file; type the settings themselves, e.g. model=resnet50"
            )
        own = metric_directions(config["metrics"])
        sweep, remarks = read_sweep(section, shared_overrides(overrides), known.choices, user_config_dir(typed), own)
        if not any(parameter.key == "trainer.max_epochs" for parameter in sweep.parameters):
            sweep = replace(sweep, max_epochs=config["trainer"]["max_epochs"])
        return _act(section, sweep, config, typed, remarks)
    except Galaxy10Error as error:
        return print_error(error)


def _act(section: Mapping[str, Any], sweep: Sweep, config: dict[str, Any], typed: list[str], remarks: list[str]) -> int:
    action = section["action"]
    check_one_process("a study")
    drop_stale_variables()
    if action != "run" or section["launcher"] == "local":
        from galaxy10.sweeps.local import strip_slurm_env

        strip_slurm_env(os.environ)  # trials start their own processes, whatever tasks the SLURM job has
    if action == "status":
        from galaxy10.sweeps.table import show_status

        result = show_status(sweep)
    elif action == "report":
        from galaxy10.sweeps.report import build_study_report

        result = {"report": str(build_study_report(sweep))}
    elif action == "confirm":
        from galaxy10.sweeps.confirm import confirm
        from galaxy10.sweeps.preflight import trust_study

        trust_study(sweep, config)
        top, seeds = section["confirm_top"], section["confirm_seeds"]
        code, result = confirm(sweep, config["trainer"], top, seeds, section["workers"])
        print_result(result)
        return code
    else:
        from galaxy10.sweeps.local import run_study
        from galaxy10.sweeps.preflight import check_sweep

        check_sweep(sweep, config, here=section["launcher"] == "local")
        for remark in remarks:
            logger.info(remark)
        if section["launcher"] == "slurm":
            from galaxy10.sweeps.slurm_workers import submit_workers

            result = submit_workers(sweep, section["workers"], config, typed)
        else:
            code, result = run_study(sweep, config, section["workers"], section["workers_per_gpu"])
            print_result(result)
            return code
    print_result(result)
    return ExitCode.FINISHED


def _check_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Complete and check the settings of train.py; those of the sweep are checked with the space."""
    return {
        **complete_and_check({key: value for key, value in config.items() if key != "sweep"}),
        "sweep": config["sweep"],
    }


def insert_space_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Insert the overrides of the space's file before the typed ones, so that both are composed and checked.

    Returns:
        The inserted overrides, and the new command line.
    """
    name = next((word.partition("=")[2] for word in reversed(arguments) if word.startswith("sweep=")), None)
    if name is None:
        name = default_choice("sweep", "sweep")
    for folder in config_folders(arguments):
        path = folder / "sweep" / f"{name}.yaml"
        if path.exists():
            fixed = [str(word) for word in read_yaml(path).get("overrides") or []]
            # Next to the other settings, because Hydra parses only one contiguous block of them.
            place = next((n for n, word in enumerate(arguments) if "=" in word and word[0] != "-"), len(arguments))
            return fixed, [*arguments[:place], *fixed, *arguments[place:]]
    return [], list(arguments)  # Hydra reports that there is no such space


def shared_overrides(overrides: list[str]) -> list[str]:
    """Return the overrides that every trial gets; of several for one setting, the last.

    Raises:
        Galaxy10Error: an override cannot be given to every trial.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    kept: dict[str, str] = {}
    for word in overrides:
        try:
            key = parser.parse_override(word).key_or_group
        except HydraException:
            key = word.partition("=")[0]
        if key == "sweep" or key.startswith("sweep."):
            continue
        if key.startswith("run."):
            raise Galaxy10Error(f"{word}: each trial has its own run directory inside the study; set sweep.dir instead")
        if word.startswith("~"):
            raise Galaxy10Error(f"{word}: settings of trials cannot be removed; set another value instead")
        kept.pop(key, None)
        kept[key] = word.lstrip("+") if not key.startswith(("optimizer.", "trainer.")) else word
    return list(kept.values())
