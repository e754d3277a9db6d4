"""Everything that can be wrong with a study, found before its first trial."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from galaxy10.classes import slugs
from galaxy10.config.compose import to_container
from galaxy10.config.explain import Vocabulary, explain
from galaxy10.config.fields import SOLVED_AT_ONCE
from galaxy10.config.overrides import overrides_of
from galaxy10.config.paths import CONF
from galaxy10.data.source import check_source
from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.points import covering
from galaxy10.sweeps.settings import Sweep, check_objectives
from galaxy10.training.preflight import check_experiment
from galaxy10.training.settings import check_values, known_keys


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
            quick = {**trial, "logger": {**trial["logger"], "name": "csv"}}  # asking a server takes seconds
            check_experiment(quick, here)
        except Galaxy10Error as error:
            raise Galaxy10Error(f"a trial with {' '.join(words)}: {error}; nothing was started") from error
    source = check_source(trial["data"])
    check_objectives(sweep, tuple(slugs(source.names)) if source else None)
    if trial["model"]["name"] in SOLVED_AT_ONCE and sweep.pruner != "none":
        raise Galaxy10Error(f"model={trial['model']['name']} has no epochs to prune after; type sweep.pruner=none")


def trial_config(sweep: Sweep, words: list[str]) -> dict[str, Any]:
    """What train.py would make of a trial's settings.

    Raises:
        Galaxy10Error: it would not take them.
    """
    overrides = [*sweep.overrides, *words, "run.test=false"]
    search = [f"hydra.searchpath=[file://{Path(sweep.config_dir).resolve()}]"] if sweep.config_dir else []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=[*search, *overrides])
            return to_container(config)
    except (HydraException, OmegaConfBaseException) as error:
        vocabulary = Vocabulary.of("train", [*search, *overrides], known_keys())
        raise Galaxy10Error(explain(error, overrides, vocabulary)) from error
