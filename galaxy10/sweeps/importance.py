"""Hyperparameter importance: functional ANOVA over the trials of a study."""

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.space import Parameter
from galaxy10.sweeps.study import distribution, settings_of

_FEWEST = 4


def importances(sweep: Sweep, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return each setting's share of the variance of the first objective; the shares add up to 1.

    The result is empty with fewer than four complete trials or equal values. A setting with a range per choice counts
    as one setting; a setting that only some trials have is left out.
    Hutter, Hoos & Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter Importance (ICML).
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) < _FEWEST or len({trial.values[0] for trial in complete}) < 2:
        return {}
    by_key: dict[str, list[Parameter]] = {}
    for parameter in sweep.parameters:
        by_key.setdefault(parameter.key, []).append(parameter)
    merged = {key: _merged(parts) for key, parts in by_key.items()}
    direction = sweep.directions[0]
    study = optuna.create_study(direction=optuna.study.StudyDirection[direction.upper()])
    for trial in complete:
        settings = settings_of(trial, sweep.parameters)
        study.add_trial(
            optuna.trial.create_trial(
                value=trial.values[0],
                params=settings,
                distributions={key: merged[key] for key in settings},
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in found.items() if share == share}


def _merged(parts: list[Parameter]) -> BaseDistribution:
    """Return one distribution that contains all ranges of a setting."""
    first = parts[0]
    if len(parts) == 1:
        return distribution(first)
    if all(part.choices for part in parts):
        return CategoricalDistribution(list(dict.fromkeys(choice for part in parts for choice in part.choices)))
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    log = all(part.log for part in parts)
    if all(part.integer for part in parts):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
