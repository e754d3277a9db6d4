"""An Optuna study in its directory: begun once, joined by any number of workers, taken up again after any end."""

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

from galaxy10.config.fields import show
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.runs.directory import differences
from galaxy10.sweeps.journal import open_storage, without_password
from galaxy10.sweeps.points import all_points, choose, named
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.space import Parameter

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
_DEFINITION = "galaxy10:definition"
_ID = "galaxy10:id"  # also in study.json: a database has the studies of many directories, and knows them by name alone
_LATEST = "galaxy10:sweep"  # as it was last asked for: what does not make it another study may change


@contextmanager
def study_lock(sweep: Sweep) -> Iterator[None]:
    """Held while trials are dealt out; the system gives it back when its holder is killed."""
    sweep.path.mkdir(parents=True, exist_ok=True)
    with FileLock(sweep.path / ".lock"):
        yield


def begin_study(sweep: Sweep, config: dict[str, Any]) -> optuna.Study:
    """The study of a directory: begun with its first points waiting, or the one that is there.

    Args:
        config: what train.py makes of the settings that all trials share; a study keeps to it.

    Raises:
        Galaxy10Error: the directory or the storage holds a study of another space, objective or configuration; the
            database has a study of this name that another directory began.
    """
    definition = {
        "objectives": list(sweep.objectives),
        "directions": list(sweep.directions),
        "space": sweep.space,
        "overrides": list(sweep.overrides),
        "config": config,
    }
    about = {"name": study_name(sweep), "storage": _place(sweep)}
    with study_lock(sweep):
        storage = open_storage(sweep.path, sweep.storage)
        study = find_study(sweep, storage)
        if study is not None:
            _refuse_anothers(sweep, study)
        if study is None or _DEFINITION not in study.user_attrs:
            if any((sweep.path / "trials").glob("*")):
                raise Galaxy10Error(
                    f"{sweep.directory} holds trials, but {_place(sweep)} knows nothing of them; give another sweep.dir"
                )
            if study is not None:  # its beginning was interrupted
                optuna.delete_study(study_name=study_name(sweep), storage=storage)
            # In the directory first: killed right after this, the study is still known as its own.
            identity = uuid.uuid4().hex
            write_json(sweep.path / "study.json", {"id": identity, **about, **definition})
            directions = [StudyDirection[name.upper()] for name in sweep.directions]
            try:
                study = optuna.create_study(storage=storage, study_name=study_name(sweep), directions=directions)
            except DuplicatedStudyError as error:  # another directory's, since we looked
                raise _is_anothers(sweep) from error
            study.set_user_attr(_ID, identity)
            study.set_metric_names(list(sweep.objectives))
            for point in _first_points(sweep):
                study.enqueue_trial(point)
            study.set_user_attr(_DEFINITION, definition)
        else:
            _refuse_another(sweep, study.user_attrs[_DEFINITION], definition)
            if sweep.sampler == "grid":  # maybe not what it was begun with
                for point in _untried(sweep, study.get_trials(deepcopy=False)):
                    study.enqueue_trial(point)
        study.set_user_attr(_LATEST, {**asdict(sweep), "storage": None, "directory": str(sweep.path.resolve())})
        write_json(sweep.path / "study.json", {"id": study.user_attrs.get(_ID), **about, **definition})
    return study


def find_study(sweep: Sweep, storage: Any = None) -> optuna.Study | None:
    """The study if it has been begun."""
    storage = storage or open_storage(sweep.path, sweep.storage)
    try:
        return optuna.load_study(study_name=study_name(sweep), storage=storage)
    except KeyError:
        return None


def known_study(sweep: Sweep) -> tuple[Sweep, optuna.Study]:
    """The study that has been begun in a directory, and how it was last asked for.

    sweep: gives its directory and storage; nothing else of it is used.

    Raises:
        Galaxy10Error: there is none.
    """
    if not (sweep.path / "study.json").exists():
        raise Galaxy10Error(
            f"there is no study in {sweep.directory}; begin it with sweep.action=run, or give its sweep.dir"
        )
    study = find_study(sweep)
    place = read_json(sweep.path / "study.json").get("storage")
    if study is None and place != _place(sweep):
        raise Galaxy10Error(f"the study of {sweep.directory} is kept in {place}; add sweep.storage=…")
    if study is not None:
        _refuse_anothers(sweep, study)
    if study is None or _LATEST not in study.user_attrs:
        raise Galaxy10Error(
            f"the study of {sweep.directory} is still being begun, or that was interrupted; "
            "wait a moment, or give its sweep.action=run again"
        )
    latest = json.dumps(study.user_attrs[_LATEST])
    return replace(Sweep.from_json(latest), directory=sweep.directory, storage=sweep.storage), study


def study_name(sweep: Sweep) -> str:
    """What the storage knows the study as: its directory's name."""
    return sweep.path.resolve().name


def _refuse_anothers(sweep: Sweep, study: optuna.Study) -> None:
    """Claims lie in sweep.dir: workers of two directories would take each other's living trials for left behind."""
    if sweep.storage is None:
        return  # the journal lies in the directory itself
    about, marks = read_json(sweep.path / "study.json"), study.user_attrs
    if about and (_ID in marks or _DEFINITION in marks) and about.get("id") == marks.get(_ID):
        return
    if _ID not in marks and _DEFINITION not in marks and not study.get_trials(deepcopy=False):
        return  # killed as soon as it was there: nobody's
    raise _is_anothers(sweep, study)


def _is_anothers(sweep: Sweep, study: optuna.Study | None = None) -> Galaxy10Error:
    begun = study.user_attrs.get(_LATEST, {}).get("directory") if study else None
    return Galaxy10Error(
        f"{_place(sweep)} has a study {study_name(sweep)} that was begun in {begun or 'another directory'}, not in "
        f"{sweep.path.resolve()}; give sweep.dir another last name, or the sweep.dir that began it"
    )


def _place(sweep: Sweep) -> str:
    """Where a study is kept, as it may be shown."""
    return without_password(sweep.storage) if sweep.storage else "journal.log"


def _first_points(sweep: Sweep) -> list[dict[str, Any]]:
    points = [named(sweep.parameters, point) for point in sweep.initial_points]
    if sweep.sampler == "grid":
        points += [point for point in _grid(sweep) if point not in points]
    return points


def _grid(sweep: Sweep) -> list[dict[str, Any]]:
    """Every point of a grid under its parameters' names, in the order in which they are tried."""
    space = sweep.parameters
    points = [named(space, point) for point in all_points(space)]
    random.Random(sweep.seed).shuffle(points)
    return points


def _untried(sweep: Sweep, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """The points of a grid that no trial has, whatever became of it, or waits to try."""
    tried = {_mark({**trial.system_attrs.get("fixed_params", {}), **trial.params}) for trial in trials}
    return [point for point in _grid(sweep) if _mark(point) not in tried]


def _mark(point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The same for the same values: a range's steps are added up here, and multiplied by some samplers."""
    values = {name: f"{value:.12g}" if isinstance(value, float) else repr(value) for name, value in point.items()}
    return tuple(sorted(values.items()))


def _refuse_another(sweep: Sweep, old: dict[str, Any], new: dict[str, Any]) -> None:
    changed = [key for key in ("objectives", "directions") if old[key] != new[key]]
    words = [f"{key} ({', '.join(old[key])} there, {', '.join(new[key])} here)" for key in changed]
    for what in ("space", "config"):
        prefix = "sweep.space." if what == "space" else ""
        words += [
            f"{prefix}{key} ({show(before)} there, {show(after)} here)"
            for key, before, after in differences(old[what], new[what])
        ]
    if words:
        more = f" and {len(words) - 6} more" if len(words) > 6 else ""
        raise Galaxy10Error(
            f"{sweep.directory} holds a study of something else: {', '.join(words[:6])}{more}; "
            "its trials could not be compared with new ones: give another sweep.dir"
        )


def is_spent(sweep: Sweep, trials: Sequence[FrozenTrial]) -> bool:
    """Whether no further trial may begin: as many as asked for are completed, pruned or under way, or time is up."""
    begun = sum(trial.state in (*COUNTED, TrialState.RUNNING) for trial in trials)
    if sweep.n_trials is not None and begun >= sweep.n_trials:
        return True
    if sweep.sampler == "grid" and not any(trial.state == TrialState.WAITING for trial in trials):
        return True
    return sweep.hours is not None and seconds_used(trials) >= 3600 * sweep.hours


def seconds_used(trials: Sequence[FrozenTrial]) -> float:
    """Time that all trials took, added up over workers."""
    return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in trials))


def failures_in_a_row(trials: Sequence[FrozenTrial]) -> int:
    """How many of the trials that ended last have failed, back to the last one that did not."""
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
    """Let the sampler choose a point of the space; what the trial has been given already stays.

    Returns:
        Setting → value.
    """

    def chosen(parameter: Parameter) -> Any:
        name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
        if parameter.choices:
            return trial.suggest_categorical(name, parameter.choices)
        if parameter.whole:
            return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=parameter.log)
        return trial.suggest_float(name, low, high, step=step, log=parameter.log)

    return choose(list(space), chosen)


def settings_of(trial: FrozenTrial, space: Sequence[Parameter]) -> dict[str, Any]:
    """Setting → value of a trial, as far as it has been given them."""
    return {parameter.key: trial.params[parameter.name] for parameter in space if parameter.name in trial.params}


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna has it."""
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    if parameter.whole:
        return IntDistribution(
            int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step or 1)
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def make_sampler(sweep: Sweep, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for one trial. Its seed follows from the trial's number, so that no two workers draw the same."""
    seed = (sweep.seed * 1_000_003 + number) % 2**32
    if sweep.sampler == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=sweep.startup_trials, seed=seed)
    if sweep.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(
            n_startup_trials=max(1, sweep.startup_trials), seed=seed, warn_independent_sampling=False
        )
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points wait in the storage


def make_pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """What stops trials early. Epochs count from 1; none is stopped before the end of warmup_epochs."""
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
