"""`sweep.sampler=grid`: every point once, also in a study that began with another sampler."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from galaxy10.sweeps.study import create_or_load_study, is_spent
from tests.sweeps.conftest import run_trial, small_study

SPACES = {
    "choices": {"model": {"dropout": {"choices": [0.1, 0.2, 0.3]}}},
    "steps": {
        "model": {"dropout": {"low": 0.1, "high": 0.7, "step": 0.1}},
        "trainer": {"max_epochs": {"choices": [1]}},
    },
}


def dropouts(study):
    """What every trial has tried or waits to try."""
    return sorted(
        round({**t.system_attrs.get("fixed_params", {}), **t.params}["model.dropout"], 6) for t in study.trials
    )


@pytest.mark.parametrize("storage", ["journal", "database"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("before", ["random", "tpe"])
def test_a_grid_completes_what_another_sampler_began(before, space, storage, tmp_path):
    address = f"sqlite:///{tmp_path / 'studies.sqlite'}" if storage == "database" else None
    sweep = small_study(tmp_path / "s", sampler=before, space=SPACES[space], storage=address)
    run_trial(create_or_load_study(sweep, {}), sweep)
    grid = replace(sweep, sampler="grid")
    study = create_or_load_study(grid, {})
    points = [0.1, 0.2, 0.3] if space == "choices" else [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert dropouts(study) == points
    while not is_spent(grid, study.get_trials()):
        run_trial(study, grid)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * len(points)
    assert len(create_or_load_study(grid, {}).trials) == len(points)  # nothing is tried again


def test_points_that_wait_run_or_have_failed_are_among_the_trials(tmp_path):
    sweep = small_study(tmp_path / "s", sampler="tpe", initial_points=({"model.dropout": 0.1}, {"model.dropout": 0.3}))
    study = create_or_load_study(sweep, {})
    running = study.ask()  # killed before it was told what it tries
    grid = replace(sweep, sampler="grid")
    assert dropouts(create_or_load_study(grid, {})) == [0.1, 0.2, 0.3]
    study.tell(running, state=TrialState.FAIL)
    assert dropouts(create_or_load_study(grid, {})) == [0.1, 0.2, 0.3]


def test_a_grid_whose_points_were_half_enqueued_is_completed(tmp_path):
    sweep = small_study(tmp_path / "s")
    study = create_or_load_study(sweep, {})
    study.enqueue_trial({"model.dropout": 0.2})  # and then it was killed
    grid = replace(sweep, sampler="grid")
    assert dropouts(create_or_load_study(grid, {})) == [0.1, 0.2, 0.3]


def test_a_grid_begins_with_the_points_of_first_and_has_none_twice(tmp_path):
    sweep = small_study(tmp_path / "s", sampler="grid", initial_points=({"model.dropout": 0.3},))
    study = create_or_load_study(sweep, {})
    assert dropouts(study) == [0.1, 0.2, 0.3]
    assert study.trials[0].system_attrs["fixed_params"] == {"model.dropout": 0.3}
