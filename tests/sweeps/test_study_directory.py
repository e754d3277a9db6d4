"""A study belongs to the directory that began it, also in a database that knows it by its name alone."""

import optuna
import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.journal import open_storage
from galaxy10.sweeps.settings import Sweep
from galaxy10.sweeps.study import create_or_load_study, load_study
from tests.sweeps.conftest import run_trial, small_study


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An empty database: its tables take a second to make."""
    path = tmp_path_factory.mktemp("database") / "studies.sqlite"
    open_storage(path.parent, f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def database(empty, tmp_path):
    """The address of an empty database."""
    (tmp_path / "studies.sqlite").write_bytes(empty)
    return f"sqlite:///{tmp_path / 'studies.sqlite'}"


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.long
def test_a_second_directory_of_the_same_name_does_not_join_the_firsts_study(database, tmp_path):
    first, second = (small_study(tmp_path / place / "s", storage=database) for place in ("a", "b"))
    study = create_or_load_study(first, {})
    run_trial(study, first)
    for _ in range(2):
        with pytest.raises(
            Galaxy10Error, match=rf"has a study s that was begun in {tmp_path}/a/s, not in .*/b/s; give"
        ):
            create_or_load_study(second, {})
    create_or_load_study(small_study(tmp_path / "b" / "t", storage=database), {})
    assert len(create_or_load_study(first, {}).trials) == 1
    assert not list(second.path.glob("study.json"))
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = small_study(tmp_path / "moved" / "s", storage=database)
    assert len(create_or_load_study(moved, {}).trials) == 1
    assert len(load_study(moved)[1].trials) == 1


def test_a_directory_with_a_study_of_its_own_does_not_show_anothers(database, tmp_path):
    create_or_load_study(small_study(tmp_path / "a" / "s", storage=database), {})
    create_or_load_study(small_study(tmp_path / "b" / "s"), {})  # in its journal
    asked = small_study(tmp_path / "b" / "s", storage=database)
    for action in (load_study, lambda sweep: create_or_load_study(sweep, {})):
        with pytest.raises(Galaxy10Error, match="another last part"):
            action(asked)


def test_a_study_of_somebody_elses_program_is_left_alone(database, tmp_path):
    theirs = optuna.create_study(storage=database, study_name="s")
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(Galaxy10Error, match="was begun in another directory"):
        create_or_load_study(small_study(tmp_path / "s", storage=database), {})
    assert len(theirs.trials) == 1


@pytest.mark.parametrize("call", [
    "optuna.create_study", "Study.set_user_attr", "Study.set_metric_names", "Study.enqueue_trial",
])  # fmt: skip
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_beginning_that_was_killed_is_begun_again(call, moment, database, tmp_path, monkeypatch):
    owner, name = (optuna, call[7:]) if call.startswith("optuna") else (optuna.Study, call[6:])
    real = getattr(owner, name)

    def killed(*arguments, **named):
        if moment == "after":
            real(*arguments, **named)
        raise Killed

    sweep = small_study(
        tmp_path / "s", storage=database, initial_points=({"model.dropout": 0.1}, {"model.dropout": 0.2})
    )
    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(Killed):
        create_or_load_study(sweep, {})
    monkeypatch.undo()
    with pytest.raises(Galaxy10Error, match="is being created, or its creation was interrupted"):
        load_study(sweep)
    assert len(create_or_load_study(sweep, {}).trials) == 2
    assert load_study(sweep)[0] == sweep


def test_two_directories_that_begin_at_once_are_told_apart(database, tmp_path, monkeypatch):
    first, second = (small_study(tmp_path / place / "s", storage=database) for place in ("a", "b"))
    real = optuna.create_study

    def slow(**settings):
        monkeypatch.undo()
        create_or_load_study(second, {})
        return real(**settings)

    monkeypatch.setattr(optuna, "create_study", slow)
    with pytest.raises(Galaxy10Error, match="was begun in another directory"):
        create_or_load_study(first, {})


def test_a_study_from_before_there_were_ids_is_gone_on_with_where_it_lies(database, tmp_path, monkeypatch):
    sweep: Sweep = small_study(tmp_path / "a" / "s", storage=database)
    real = optuna.Study.set_user_attr
    monkeypatch.setattr(
        optuna.Study, "set_user_attr", lambda study, key, value: key == "galaxy10:id" or real(study, key, value)
    )
    create_or_load_study(sweep, {})
    assert create_or_load_study(sweep, {}).study_name == "s"
    with pytest.raises(Galaxy10Error, match=r"not in .*/b/s"):
        create_or_load_study(small_study(tmp_path / "b" / "s", storage=database), {})
