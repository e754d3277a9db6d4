"""`sweep.action=confirm`: one process at a time, so that the test galaxies are asked once."""

import json
import os
import subprocess

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.lock import RunLock
from galaxy10.sweeps import confirm as module
from galaxy10.sweeps.confirm import confirm
from galaxy10.sweeps.study import create_or_load_study
from tests.sweeps.conftest import run_trial, small_study

TRAINER = {"accelerator": "cpu", "devices": 1}


@pytest.fixture
def sweep(tmp_path):
    """A study with one complete trial."""
    sweep = small_study(tmp_path / "s")
    run_trial(create_or_load_study(sweep, {}), sweep)
    return sweep


@pytest.fixture
def trained(sweep):
    """Both repeats of the trial, finished already."""
    for seed in (0, 1):
        folder = sweep.path / "confirm" / f"0000-seed{seed}"
        folder.mkdir(parents=True)
        (folder / "status.json").write_text(json.dumps({"state": "finished", "metrics": {"val/macro_f1": 0.5}}))
        (folder / "provenance.json").write_text(json.dumps({"data": {"path": "g.h5"}}))


def answers(monkeypatch, *, code=0, out="", err="", during=lambda: None):
    """What `galaxy10 evaluate` answers, and how often it was asked."""
    asked = []

    def run(command, **options):
        asked.append(command)
        during()
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(module.subprocess, "run", run)
    return asked


def test_a_second_one_is_refused_and_touches_nothing_of_the_first(sweep, monkeypatch):
    started = []
    monkeypatch.setattr(module, "_train", lambda *arguments: started.append(arguments) or [2])
    (sweep.path / "confirm").mkdir()
    first = RunLock(sweep.path / "confirm")
    first.acquire()
    says = rf"process {os.getpid()} on .* already runs sweep\.action=confirm of .*/s; wait for it or stop it"
    with pytest.raises(Galaxy10Error, match=says):
        confirm(sweep, TRAINER, 1, [0], 1)
    assert not started
    first.release()
    assert confirm(sweep, TRAINER, 1, [0], 1)[0] == 130
    assert started
    assert not (sweep.path / "confirm" / "lock.json").exists()


def test_the_lease_is_held_until_the_test_galaxies_are_evaluated_once(sweep, trained, monkeypatch):
    def second():
        with pytest.raises(Galaxy10Error, match="already"):
            confirm(sweep, TRAINER, 1, [0, 1], 1)

    line = json.dumps({f"test/{name}": 0.5 for name in ("accuracy", "balanced_accuracy", "macro_f1")})
    asked = answers(monkeypatch, out=line, during=second)
    code, result = confirm(sweep, TRAINER, 1, [0, 1], 1)
    assert (code, result["test"]["accuracy"]["mean"], len(asked)) == (0, 0.5, 2)
    assert confirm(sweep, TRAINER, 1, [0, 1], 1)[1]["test"] == result["test"]
    assert len(asked) == 2


def test_one_that_a_later_start_of_its_job_has_taken_over_does_not_ask_the_test_galaxies(sweep, trained, monkeypatch):
    asked = answers(monkeypatch)
    monkeypatch.setattr(module.RunLock, "still_held", lambda lock: False)
    assert confirm(sweep, TRAINER, 1, [0, 1], 1)[0] == 143
    assert not asked


@pytest.mark.parametrize(("err", "says"), [("", "exit code -9"), ("warning\nerror: no file g.h5\n", "no file g.h5")])
def test_an_evaluation_that_fails_is_said_in_one_line_also_when_it_was_killed(err, says, sweep, trained, monkeypatch):
    answers(monkeypatch, code=-9, err=err)
    with pytest.raises(Galaxy10Error, match=f"0000-seed0 cannot be evaluated: {says}$"):
        confirm(sweep, TRAINER, 1, [0, 1], 1)
