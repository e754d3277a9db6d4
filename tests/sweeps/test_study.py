"""`sweep.py`: the budget holds whatever happens to workers and trials, and the same command goes on."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState

from galaxy10.config.compose import to_container
from galaxy10.config.paths import CONF
from galaxy10.runs.directory import RunDirectory
from galaxy10.sweeps.journal import cut_torn_line, open_storage
from galaxy10.sweeps.local import WorkerPool
from tests.conftest import ROOT
from tests.sweeps.conftest import TINY, small_study, stand_in, status, trials_of

COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def states(trials, *wanted):
    return sum(trial.state in wanted for trial in trials)


@pytest.mark.long
def test_a_study_runs_its_budget_prunes_and_goes_on_where_it_stopped(sweep, here, tmp_path):
    done = sweep("sweep.n_trials=8", "sweep.workers=2", "sweep.space.model.dropout.high=0.7")
    assert done.code == 0, done.err
    trials = trials_of(tmp_path / "s")
    assert done.result["state"] == "finished"
    assert len(trials) == states(trials, COMPLETE, PRUNED) == 8
    assert states(trials, PRUNED) == done.result["pruned"] >= 1
    for trial in trials:
        trained = (tmp_path / "s" / "trials" / f"{trial.number:04}" / "trained.txt").read_text().split()
        assert trained == [str(epoch) for epoch in range(len(trained))]  # no epoch twice
        given_up = RunDirectory(tmp_path / "s" / "trials" / f"{trial.number:04}").pruned_after
        assert given_up == (trial.user_attrs["pruned_after"] if trial.state == PRUNED else None)
        if trial.state == COMPLETE:
            assert len(trained) == 4
            assert trial.value == pytest.approx(1 - trial.params["model.dropout"])
    assert status(tmp_path / "s", 0)["group"] == "s"  # W&B shows a study's runs together
    # The baseline's experiment comes first, and what depends on a choice is there with that choice only.
    assert trials[0].params == {
        "optimizer": "sgd",
        "optimizer.lr[sgd]": 0.01,
        "optimizer.momentum": 0.9,
        "model.dropout": 0.25,
        "data.batch_size": 8,
    }
    for trial in trials:
        assert ("optimizer.momentum" in trial.params) == (trial.params["optimizer"] == "sgd")
        assert f"optimizer.lr[{trial.params['optimizer']}]" in trial.params
    again = sweep("sweep.n_trials=8", "sweep.space.model.dropout.high=0.7")
    assert again.code == 0
    assert "begins" not in again.err
    more = sweep("sweep.n_trials=9", "sweep.space.model.dropout.high=0.7")
    assert more.err.count("begins") == 1
    assert len(trials_of(tmp_path / "s")) == 9
    other = here("sweep.py", *TINY, "sweep.n_trials=9")
    assert other.code == 2
    assert "sweep.space.model.dropout.high (0.7 there, 0.9 here)" in other.message
    fixed = here("sweep.py", *TINY, "sweep.n_trials=9", "sweep.space.model.dropout.high=0.7", "data.balance=none")
    assert fixed.code == 2
    assert "data.balance (soft there, none here)" in fixed.message
    # The best trial as a recipe composes to what the trial was given.
    best = max((t for t in trials_of(tmp_path / "s") if t.state == COMPLETE), key=lambda t: t.value)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        search = f"hydra.searchpath=[file://{tmp_path / 's'}]"
        config = to_container(compose("train", overrides=[search, "experiment=best"]))
    assert config["model"]["dropout"] == best.params["model.dropout"]
    assert config["optimizer"]["lr"] == best.params[f"optimizer.lr[{best.params['optimizer']}]"]
    assert config["optimizer"]["_target_"] in ("torch.optim.AdamW", "torch.optim.SGD")
    assert ("momentum" in config["optimizer"]) == (best.params["optimizer"] == "sgd")
    assert (config["data"]["name"], config["trainer"]["max_epochs"]) == ("hdf5", 4)


@pytest.mark.long
def test_a_crash_is_a_failed_trial_with_its_error_and_is_retried_as_often_as_allowed(sweep, tmp_path):
    crash = ("~sweep.space.optimizer", "~sweep.space.data", "sweep.initial_points=[{model.dropout:0.85}]")
    done = sweep(*crash, "sweep.n_trials=2", "sweep.retries=2", "sweep.sampler=random", "sweep.seed=1")
    assert done.code == 0, done.err
    trials = trials_of(tmp_path / "s")
    failed = [trial for trial in trials if trial.params["model.dropout"] == 0.85]
    assert [trial.state for trial in failed] == [FAIL] * 3  # the first attempt and two more
    assert states(trials, COMPLETE, PRUNED) == 2
    assert all(trial.user_attrs["error"] == "RuntimeError: it fell apart" for trial in failed)
    assert [trial.user_attrs.get("retry_of") for trial in failed] == [None, *[t.number for t in failed[:-1]]]


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "says"),
    [pytest.param("memory", "out of memory", marks=pytest.mark.long), ("refused", "model.dropout is too much")],
)
def test_what_would_fail_again_is_not_retried_and_a_study_of_failures_stops(kind, says, sweep, tmp_path):
    bad = ("sweep.space.model.dropout.low=0.82", "sweep.initial_points=[]", "sweep.max_failures=2")
    done = sweep(*bad, "sweep.n_trials=5", STAND_IN_CRASH=kind)
    assert done.code == 1
    trials = trials_of(tmp_path / "s")
    assert [trial.state for trial in trials] == [FAIL] * 2
    assert "attempt" not in trials[1].user_attrs
    assert says in trials[0].user_attrs["error"]
    assert "2 trials failed in a row" in done.err
    assert says in done.result["error"]


@pytest.mark.long
def test_a_full_disk_is_no_failure_of_a_trial_which_goes_on_when_there_is_space(sweep, tmp_path):
    given = ("~sweep.space.optimizer", "~sweep.space.data", "sweep.initial_points=[{model.dropout:0.85}]")
    words = (*given, "sweep.n_trials=2", "sweep.sampler=random", "sweep.seed=1", "sweep.pruner=none")
    full = sweep(*words, STAND_IN_CRASH="disk")
    assert full.code == 1
    assert "free some space" in full.result["error"], full.err
    assert states(trials_of(tmp_path / "s"), FAIL) == 0
    assert sweep(*words, STAND_IN_CRASH="no").code == 0
    assert [trial.state for trial in trials_of(tmp_path / "s")] == [COMPLETE] * 2
    epochs = (tmp_path / "s" / "trials" / "0000" / "trained.txt").read_text().split()
    assert epochs == ["0", "1", "1", "2", "3"]  # it went on after the last epoch that was kept


def test_the_workers_that_die_again_and_again_end_the_study_with_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy10.sweeps.local.bound_to_parent", lambda command: [sys.executable, "-c", "exit(9)"])
    pool = WorkerPool(small_study(tmp_path), [dict(os.environ)]).run()
    assert "ended with exit code 9, for the 4th time" in pool.error()


def wait_for(condition, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_ctrl_c_asks_all_trials_to_stop_and_the_same_command_goes_on_with_them(start, sweep, tmp_path):
    words = (*TINY, "sweep.n_trials=3", "sweep.workers=2", "sweep.pruner=none", "sweep.space.model.dropout.high=0.7")
    with start(ROOT / "sweep.py", *words, cwd=tmp_path, fresh=True, **stand_in(STAND_IN_EPOCH_S="1")) as process:
        folder = tmp_path / "s" / "trials"
        wait_for(lambda: all((folder / n / "metrics.csv").exists() for n in ("0000", "0001")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    result = json.loads(out.strip().splitlines()[-1])
    assert (result["state"], result["interrupted"]) == ("interrupted", 2)
    assert not list(folder.glob("*/lock.json"))
    done = sweep(*words[len(TINY) :])
    assert done.code == 0, done.err
    assert done.err.count("resumes") == 2
    trials = trials_of(tmp_path / "s")
    assert [trial.state for trial in trials] == [COMPLETE] * 3
    for number in range(3):
        assert (folder / f"{number:04}" / "trained.txt").read_text().split() == ["0", "1", "2", "3"]


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def of_a_study(pid):
    """Whether a process is a trial, a worker or the process that forks trials."""
    try:
        return b"galaxy10" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.long
@pytest.mark.slow
def test_ten_kills_of_workers_and_of_their_parent_lose_no_trial_and_count_none_twice(start, sweep, tmp_path):
    budget, moments = 12, random.Random(7)
    words = (f"sweep.n_trials={budget}", "sweep.workers=2", "sweep.space.model.dropout.high=0.7")
    kills = 0
    while kills < 10:
        command = (ROOT / "sweep.py", *TINY, *words)
        with start(*command, cwd=tmp_path, fresh=True, **stand_in(STAND_IN_EPOCH_S="0.6")) as process:
            wait_for(lambda: len(children(process.pid)) == 2 or process.poll() is not None)
            for target in ("worker", "worker", "parent"):
                time.sleep(moments.uniform(0, 1.5))
                workers = children(process.pid)
                if process.poll() is not None or not workers:
                    break
                os.kill(moments.choice(workers) if target == "worker" else process.pid, signal.SIGKILL)
                kills += 1
            process.kill()
            process.communicate()
        if states(trials_of(tmp_path / "s"), COMPLETE, PRUNED) >= budget:
            budget += 6
            words = (f"sweep.n_trials={budget}", *words[1:])
    done = sweep(*words)
    assert done.code == 0, done.err
    trials = trials_of(tmp_path / "s")
    assert states(trials, COMPLETE, PRUNED) == len(trials) == budget
    numbers = sorted(path.name for path in (tmp_path / "s" / "trials").iterdir())
    assert numbers == [f"{number:04}" for number in range(budget)]
    for trial in trials:
        folder = tmp_path / "s" / "trials" / f"{trial.number:04}"
        trained = [int(epoch) for epoch in (folder / "trained.txt").read_text().split()]
        # A row may be lost by a kill between an epoch and its row; then that epoch alone is trained again.
        assert sorted(set(trained)) == list(range(max(trained) + 1))
        assert sorted(trial.intermediate_values) == list(range(1, max(trial.intermediate_values) + 1))
        if trial.state == COMPLETE:
            assert max(trained) == 3
    assert not [
        pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if of_a_study(pid) and cwd(pid) == tmp_path
    ]


def cwd(pid):
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None


def test_a_torn_last_line_of_the_journal_is_cut_off_before_the_next_one(tmp_path):
    study = optuna.create_study(storage=open_storage(tmp_path, None), study_name="x")
    study.tell(study.ask(), 1.0)
    journal = tmp_path / "journal.log"
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')  # killed in the middle of a line
    other = optuna.load_study(study_name="x", storage=open_storage(tmp_path, None))
    assert len(other.trials) == 1
    other.tell(other.ask(), 2.0)
    assert [trial.value for trial in study.trials] == [1.0, 2.0]
    assert journal.read_bytes().startswith(whole)
    assert b"worker" in journal.read_bytes()[len(whole) :]
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    long = tmp_path / "long"
    long.write_bytes(b"a\n" + b"x" * 10_000)
    cut_torn_line(long)
    assert long.read_bytes() == b"a\n"


@pytest.mark.long
def test_with_several_objectives_the_front_is_kept_and_pruning_refused(sweep, tmp_path):
    both = "sweep.objective=[val/macro_f1,train/images_per_s]"
    refused = sweep(both)
    assert refused.code == 2
    assert "type sweep.pruner=none" in refused.message
    done = sweep(both, "sweep.pruner=none", "sweep.n_trials=4", "sweep.space.model.dropout.high=0.7")
    assert done.code == 0, done.err
    study = optuna.load_study(study_name="s", storage=open_storage(tmp_path / "s", None))
    assert len(study.best_trials) == 4  # the stand-in's speed grows as its score falls
    assert done.result["best"]["val/macro_f1"] == max(trial.values[0] for trial in study.trials)
