"""Check a study before its first trial."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from galaxy10.classes import slugs
from galaxy10.config.command_line import translate_arguments
from galaxy10.config.compose import to_container
from galaxy10.config.explain import KnownSettings, explain
from galaxy10.config.overrides import to_overrides
from galaxy10.config.paths import CONF
from galaxy10.config.trust import trust_configuration
from galaxy10.data.build import check_data
from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.points import covering_points
from galaxy10.sweeps.settings import Sweep, check_objectives
from galaxy10.training.preflight import check_experiment, runs_user_code
from galaxy10.training.settings import check_values, complete, known_keys


def check_sweep(sweep: Sweep, config: dict[str, Any], *, here: bool = True) -> None:
    """Check the study on a few points of its space that contain every choice and both ends of every range.

    Args:
        config: the configuration that all trials share.
        here: whether the workers run on this machine, rather than in jobs of a cluster.

    Raises:
        Galaxy10Error: the objective is no metric, or a trial is not valid.
    """
    check_experiment(config, here)
    for point in [*sweep.initial_points, *covering_points(sweep.parameters)]:
        overrides = to_overrides(point)
        try:
            trial = trial_config(sweep, overrides)
            check_values(trial)
            quick = {**trial, "logger": {}}  # a request to a logger's server takes seconds
            check_experiment(quick, here)
        except Galaxy10Error as error:
            raise Galaxy10Error(f"a trial with {' '.join(overrides)}: {error}; nothing was started") from error
    source = check_data(trial["data"], trial["augment"])
    check_objectives(
        sweep, tuple(slugs(source.names)) if source else None, list(config["metrics"]), runs_user_code(config)
    )


def trust_study(sweep: Sweep, config: dict[str, Any]) -> None:
    """Trust the code that the trials of a study may run, so that their evaluation may run it, too.

    Args:
        sweep: as composed from the command line, never as read from a study's directory.
        config: the configuration that all trials share.
    """
    trust_configuration(config)
    for point in covering_points(sweep.parameters):
        trust_configuration(trial_config(sweep, to_overrides(point)))


def trial_config(sweep: Sweep, settings: list[str]) -> dict[str, Any]:
    """Compose the configuration of a trial from its overrides.

    Raises:
        Galaxy10Error: an override is not valid.
    """
    overrides = translate_arguments([*sweep.overrides, *settings, "run.test=false"], sweep.groups or {})
    search = [f"hydra.searchpath=[file://{Path(sweep.config_dir).resolve()}]"] if sweep.config_dir else []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=[*search, *overrides])
            return complete(to_container(config))
    except (HydraException, OmegaConfBaseException) as error:
        vocabulary = KnownSettings.of("train", [*search, *overrides], known_keys())
        raise Galaxy10Error(explain(error, overrides, vocabulary)) from error
