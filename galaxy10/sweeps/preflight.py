"""Everything that can be wrong with a study, found before its first trial."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from galaxy10.classes import slugs
from galaxy10.config.command_line import in_our_words
from galaxy10.config.compose import to_container
from galaxy10.config.explain import Vocabulary, explain
from galaxy10.config.overrides import overrides_of
from galaxy10.config.paths import CONF
from galaxy10.config.trust import trust_configuration
from galaxy10.data.build import check_data
from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.points import covering
from galaxy10.sweeps.settings import Sweep, check_objectives
from galaxy10.training.preflight import check_experiment, runs_own_code
from galaxy10.training.settings import check_values, complete, known_keys


def check_sweep(sweep: Sweep, config: dict[str, Any], *, here: bool = True) -> None:
    """Try the study on a few points of its space that hold every choice and both ends of every range.

    Args:
        config: what all trials share, composed.
        here: whether its workers are to run on this machine, rather than in jobs of their own.

    Raises:
        Galaxy10Error: the objective is no metric; a trial would be refused.
    """
    check_experiment(config, here)
    for point in [*sweep.initial_points, *covering(sweep.parameters)]:
        words = overrides_of(point)
        try:
            trial = trial_config(sweep, words)
            check_values(trial)
            quick = {**trial, "logger": {}}  # asking a server takes seconds
            check_experiment(quick, here)
        except Galaxy10Error as error:
            raise Galaxy10Error(f"a trial with {' '.join(words)}: {error}; nothing was started") from error
    source = check_data(trial["data"], trial["augment"])
    check_objectives(
        sweep, tuple(slugs(source.names)) if source else None, list(config["metrics"]), runs_own_code(config)
    )


def trust_study(sweep: Sweep, config: dict[str, Any]) -> None:
    """Trust the code that trials of a study may run, as the command line composes it: their evaluation is to run it.

    Args:
        sweep: as typed, not as a study's directory has it.
        config: what all trials share, composed.
    """
    trust_configuration(config)
    for point in covering(sweep.parameters):
        trust_configuration(trial_config(sweep, overrides_of(point)))


def trial_config(sweep: Sweep, words: list[str]) -> dict[str, Any]:
    """What train.py would make of a trial's settings.

    Raises:
        Galaxy10Error: it would not take them.
    """
    overrides = in_our_words([*sweep.overrides, *words, "run.test=false"], sweep.groups or {})
    search = [f"hydra.searchpath=[file://{Path(sweep.config_dir).resolve()}]"] if sweep.config_dir else []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=[*search, *overrides])
            return complete(to_container(config))
    except (HydraException, OmegaConfBaseException) as error:
        vocabulary = Vocabulary.of("train", [*search, *overrides], known_keys())
        raise Galaxy10Error(explain(error, overrides, vocabulary)) from error
