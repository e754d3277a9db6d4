"""An Optuna study in its directory, which any number of workers share and which can be resumed."""

import json
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from galaxy10.config.fields import format_value
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.runs.directory import differences
from galaxy10.sweeps.journal import open_storage, without_password
from galaxy10.sweeps.points import all_points, choose, to_params
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.space import Parameter

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
_DEFINITION = "galaxy10:definition"
_ID = "galaxy10:id"  # also in study.json: a database identifies the studies of many directories by name only
_LATEST = "galaxy10:sweep"  # the latest settings: those that do not define the study may change


@contextmanager
def study_lock(sweep: Sweep) -> Iterator[None]:
    """Lock a study while a worker acquires a trial; the system releases the lock of a killed process."""
    sweep.path.mkdir(parents=True, exist_ok=True)
    with FileLock(sweep.path / ".lock"):
        yield


def create_or_load_study(sweep: Sweep, config: dict[str, Any]) -> optuna.Study:
    """Create the study of a directory with its initial points enqueued, or load the existing one.

    Args:
        config: the configuration that all trials share; it must not change within a study.

    Raises:
        Galaxy10Error: the directory or the storage holds a study of another space, objective or configuration, or the
            database has a study of this name that belongs to another directory.
    """
    definition = {
        "objectives": list(sweep.objectives),
        "directions": list(sweep.directions),
        "space": sweep.space,
        "overrides": list(sweep.overrides),
        "config": config,
    }
    record = {"name": study_name(sweep), "storage": _storage_name(sweep)}
    with study_lock(sweep):
        storage = open_storage(sweep.path, sweep.storage)
        study = find_study(sweep, storage)
        if study is not None:
            _check_owner(sweep, study)
        if study is None or _DEFINITION not in study.user_attrs:
            if any((sweep.path / "trials").glob("*")):
                raise Galaxy10Error(
                    f"{sweep.directory} holds trials that {_storage_name(sweep)} does not; give another sweep.dir"
                )
            if study is not None:  # its creation was interrupted
                optuna.delete_study(study_name=study_name(sweep), storage=storage)
            # Write the id to the directory first: after a kill, the study still belongs to the directory.
            identity = uuid.uuid4().hex
            write_json(sweep.path / "study.json", {"id": identity, **record, **definition})
            directions = [StudyDirection[name.upper()] for name in sweep.directions]
            try:
                study = optuna.create_study(storage=storage, study_name=study_name(sweep), directions=directions)
            except DuplicatedStudyError as error:  # another directory has created it meanwhile
                raise _wrong_owner(sweep) from error
            study.set_user_attr(_ID, identity)
            study.set_metric_names(list(sweep.objectives))
            for point in _first_points(sweep):
                study.enqueue_trial(point)
            study.set_user_attr(_DEFINITION, definition)
        else:
            _check_definition(sweep, study.user_attrs[_DEFINITION], definition)
            if sweep.sampler == "grid":  # the study may have begun with another sampler
                for point in _untried(sweep, study.get_trials(deepcopy=False)):
                    study.enqueue_trial(point)
        study.set_user_attr(_LATEST, {**asdict(sweep), "storage": None, "directory": str(sweep.path.resolve())})
        write_json(sweep.path / "study.json", {"id": study.user_attrs.get(_ID), **record, **definition})
    return study


def find_study(sweep: Sweep, storage: Any = None) -> optuna.Study | None:
    """Return the study of a directory; None if there is none."""
    storage = storage or open_storage(sweep.path, sweep.storage)
    try:
        return optuna.load_study(study_name=study_name(sweep), storage=storage)
    except KeyError:
        return None


def load_study(sweep: Sweep) -> tuple[Sweep, optuna.Study]:
    """Load the latest settings and the study of a directory.

    sweep: only its directory and storage are used.

    Raises:
        Galaxy10Error: there is no study, or it is in another storage.
    """
    if not (sweep.path / "study.json").exists():
        raise Galaxy10Error(
            f"there is no study in {sweep.directory}; begin one with sweep.action=run, or give another sweep.dir"
        )
    study = find_study(sweep)
    storage = read_json(sweep.path / "study.json").get("storage")
    if study is None and storage != _storage_name(sweep):
        raise Galaxy10Error(f"the study of {sweep.directory} is stored in {storage}; add sweep.storage=…")
    if study is not None:
        _check_owner(sweep, study)
    if study is None or _LATEST not in study.user_attrs:
        raise Galaxy10Error(
            f"the study of {sweep.directory} is being created, or its creation was interrupted; "
            "wait a moment, or run sweep.action=run again"
        )
    latest = json.dumps(study.user_attrs[_LATEST])
    return replace(Sweep.from_json(latest), directory=sweep.directory, storage=sweep.storage), study


def study_name(sweep: Sweep) -> str:
    """Return the study's name in the storage: the name of its directory."""
    return sweep.path.resolve().name


def _check_owner(sweep: Sweep, study: optuna.Study) -> None:
    """Refuse a study of another directory: leases are files in sweep.dir, so workers would not see each other's."""
    if sweep.storage is None:
        return  # the journal is in the directory itself
    record, attributes = read_json(sweep.path / "study.json"), study.user_attrs
    if record and (_ID in attributes or _DEFINITION in attributes) and record.get("id") == attributes.get(_ID):
        return
    if _ID not in attributes and _DEFINITION not in attributes and not study.get_trials(deepcopy=False):
        return  # its creation was killed, so it has no owner
    raise _wrong_owner(sweep, study)


def _wrong_owner(sweep: Sweep, study: optuna.Study | None = None) -> Galaxy10Error:
    owner = study.user_attrs.get(_LATEST, {}).get("directory") if study else None
    return Galaxy10Error(
        f"{_storage_name(sweep)} has a study {study_name(sweep)} that was begun in {owner or 'another directory'}, not "
        f"in {sweep.path.resolve()}; give a sweep.dir with another last part, or the directory of that study"
    )


def _storage_name(sweep: Sweep) -> str:
    """Return the name of a study's storage, without a password."""
    return without_password(sweep.storage) if sweep.storage else "journal.log"


def _first_points(sweep: Sweep) -> list[dict[str, Any]]:
    points = [to_params(sweep.parameters, point) for point in sweep.initial_points]
    if sweep.sampler == "grid":
        points += [point for point in _grid(sweep) if point not in points]
    return points


def _grid(sweep: Sweep) -> list[dict[str, Any]]:
    """Return the params of every point of a grid, in the order of their trials."""
    space = sweep.parameters
    points = [to_params(space, point) for point in all_points(space)]
    random.Random(sweep.seed).shuffle(points)
    return points


def _untried(sweep: Sweep, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return the points of a grid that no trial, in any state, has."""
    tried = {_rounded({**trial.system_attrs.get("fixed_params", {}), **trial.params}) for trial in trials}
    return [point for point in _grid(sweep) if _rounded(point) not in tried]


def _rounded(point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a key of a point that does not depend on rounding errors of steps, which samplers compute differently."""
    values = {name: f"{value:.12g}" if isinstance(value, float) else repr(value) for name, value in point.items()}
    return tuple(sorted(values.items()))


def _check_definition(sweep: Sweep, old: dict[str, Any], new: dict[str, Any]) -> None:
    keys = [key for key in ("objectives", "directions") if old[key] != new[key]]
    changes = [f"{key} ({', '.join(old[key])} there, {', '.join(new[key])} here)" for key in keys]
    for what in ("space", "config"):
        prefix = "sweep.space." if what == "space" else ""
        changes += [
            f"{prefix}{key} ({format_value(before)} there, {format_value(after)} here)"
            for key, before, after in differences(old[what], new[what])
        ]
    if changes:
        more = f" and {len(changes) - 6} more" if len(changes) > 6 else ""
        raise Galaxy10Error(
            f"{sweep.directory} holds a study with other settings: {', '.join(changes[:6])}{more}; "
            "give another sweep.dir, as its trials cannot be compared with new ones"
        )


def is_spent(sweep: Sweep, trials: Sequence[FrozenTrial]) -> bool:
    """Return whether no further trial may begin: sweep.n_trials are complete, pruned or running, or time is up."""
    begun = sum(trial.state in (*COUNTED, TrialState.RUNNING) for trial in trials)
    if sweep.n_trials is not None and begun >= sweep.n_trials:
        return True
    if sweep.sampler == "grid" and not any(trial.state == TrialState.WAITING for trial in trials):
        return True
    return sweep.hours is not None and seconds_used(trials) >= 3600 * sweep.hours


def seconds_used(trials: Sequence[FrozenTrial]) -> float:
    """Return the total time of all trials, summed over workers."""
    return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in trials))


def consecutive_failures(trials: Sequence[FrozenTrial]) -> int:
    """Count the latest trials that failed without a success in between."""
    ended = sorted((t for t in trials if t.state.is_finished() and t.datetime_complete), key=_end)
    count = 0
    for trial in reversed(ended):
        if trial.state != TrialState.FAIL:
            break
        count += 1
    return count


def _end(trial: FrozenTrial) -> Any:
    return trial.datetime_complete


def suggest(trial: optuna.Trial, space: Sequence[Parameter]) -> dict[str, Any]:
    """Let the sampler choose a point of the space; values that the trial already has are kept.

    Returns:
        Setting → value.
    """

    def chosen(parameter: Parameter) -> Any:
        name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
        if parameter.choices:
            return trial.suggest_categorical(name, parameter.choices)
        if parameter.integer:
            return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=parameter.log)
        return trial.suggest_float(name, low, high, step=step, log=parameter.log)

    return choose(list(space), chosen)


def settings_of(trial: FrozenTrial, space: Sequence[Parameter]) -> dict[str, Any]:
    """Return the settings of a trial, setting → value, as far as the sampler has chosen them."""
    return {parameter.key: trial.params[parameter.name] for parameter in space if parameter.name in trial.params}


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a parameter as an Optuna distribution."""
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    if parameter.integer:
        return IntDistribution(
            int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step or 1)
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def make_sampler(sweep: Sweep, number: int) -> optuna.samplers.BaseSampler:
    """Create the sampler of one trial; the seed depends on the trial's number, so that no two workers draw the same."""
    seed = (sweep.seed * 1_000_003 + number) % 2**32
    if sweep.sampler == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=sweep.startup_trials, seed=seed)
    if sweep.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(
            n_startup_trials=max(1, sweep.startup_trials), seed=seed, warn_independent_sampling=False
        )
    return optuna.samplers.RandomSampler(seed=seed)  # the points of a grid are enqueued


def make_pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """Create the pruner. Epochs count from 1; no trial is pruned before the end of warmup_epochs."""
    warmup = sweep.warmup_epochs
    if sweep.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=sweep.startup_trials, n_warmup_steps=warmup + 1)
    if sweep.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, warmup), reduction_factor=3)
    if sweep.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, warmup), max_resource=sweep.max_epochs or "auto", reduction_factor=3
        )
    return optuna.pruners.NopPruner()
