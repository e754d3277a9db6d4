"""Trials that are forked: each is as a new Python process would be, and whatever is killed, nothing else is lost."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.slurm import JobStep
from galaxy10.sweeps import forked_trial, trial_starter
from galaxy10.sweeps.fork_server import other_threads
from galaxy10.sweeps.forked_trial import leave_fork, remember_start
from galaxy10.sweeps.trial_starter import FORK_VARIABLE, ForkedProcess, TrialStarter, installed_code, may_fork
from tests.conftest import ROOT
from tests.galaxies import write_galaxies
from tests.waiting import wait_for

PATHS = os.pathsep.join([str(Path(__file__).with_name("described")), str(ROOT)])
HOLD = "+callbacks.hold._target_=tests.hold.Hold"  # waits at the batch that HOLD_AT names, until there is a file `go`
OWN = ("pid", "random")  # of each process
ALONE = {"devices": "auto", "num_nodes": 1, "strategy": "auto"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "galaxy10", "train", *words]


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrialStarter]:
    if sys.platform != "linux":
        pytest.skip("trials are forked on Linux only")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", PATHS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with TrialStarter() as starter:
        yield starter


def started(starter: TrialStarter, *words: str, **more: object) -> trial_starter.TrialHandle:
    """A trial whose output goes to the files `out` and `err`."""
    with open("out", "wb") as out, open("err", "wb") as err, open(os.devnull) as nothing:
        streams = (nothing.fileno(), out.fileno(), err.fileno())
        environment = {**os.environ, **more.pop("env", {})}
        return starter.start(command(*words), environment, *streams, **more)


def described() -> dict:
    return json.loads(Path("out").read_text())


def waits_in(process: trial_starter.TrialHandle) -> None:
    wait_for(lambda: Path("out").read_text().endswith("}\n"), "the trial", process)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_forked_trial_finds_what_a_new_process_finds(starter):
    found = []
    for begin in (starter, starter, TrialStarter(several=False)):
        process = started(begin, "seed=1", "run.dir='a b'")
        assert isinstance(process, ForkedProcess) == (begin is starter)
        assert process.wait() == 7
        found.append(described())
        assert found[-1]["parent"] == os.getpid()
        assert Path("err").read_text() == "while importing\nto the log\n"
    first, second, new = found
    assert first["pid"] != second["pid"]
    assert first["random"] != second["random"]
    assert {k: v for k, v in first.items() if k not in OWN} == {k: v for k, v in new.items() if k not in OWN}
    assert new["descriptors"] == ["0", "1", "2"]
    assert new["argv"][1:] == ["train", "seed=1", "run.dir='a b'"]
    starter._end_server()
    # The exit handlers of what was imported run once in each trial, and not in the server.
    assert Path("exits").read_text().split() == [str(one["pid"]) for one in found]


def test_a_kill_ends_one_trial_and_the_death_of_the_server_none(starter):
    process = started(starter, "wait")
    waits_in(process)
    server = starter._server._process
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == process.poll() == -signal.SIGKILL
    process.send_signal(signal.SIGTERM)  # to nobody
    process = started(starter, "wait")
    waits_in(process)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    process = started(starter, "wait")
    waits_in(process)
    assert starter._server._process is server
    server.kill()
    server.wait()
    assert process.poll() is None
    Path("go").touch()
    assert process.wait() == 7
    assert isinstance(started(starter), ForkedProcess)  # by another server
    assert starter._server._process is not server


def test_another_environment_or_code_gets_another_server(starter, monkeypatch):
    assert started(starter).wait() == 7
    first = starter._server._process.pid
    assert started(starter, env={"OMP_NUM_THREADS": "3"}).wait() == 7
    second = starter._server._process.pid
    assert described()["environment"]["OMP_NUM_THREADS"] == "3"
    monkeypatch.setattr(trial_starter, "installed_code", lambda: (("changed.py", 1, 2),))
    assert started(starter, env={"OMP_NUM_THREADS": "3"}).wait() == 7
    assert len({first, second, starter._server._process.pid}) == 3


def test_a_server_that_cannot_import_leaves_the_trials_to_new_processes(starter):
    process = started(starter, env={"BROKEN": "1"})
    assert isinstance(process, subprocess.Popen)
    assert process.wait() == 7
    assert not starter._forks  # it is not tried again


def test_a_trial_that_is_stopped_before_it_begins_never_does(starter):
    process = started(starter, stopped=lambda: True)
    assert process.wait() == process.poll() == -signal.SIGTERM
    process.terminate()
    starter._end_server()
    assert Path("out").read_text() == ""


def test_nothing_is_left_behind_when_the_process_that_starts_trials_is_killed(tmp_path):
    code = """
import os, sys, time
from galaxy10.sweeps.trial_starter import TrialStarter
starter = TrialStarter()
trial = starter.start([sys.executable, "-m", "galaxy10", "train", "wait"], os.environ, None, 1, None)
print(starter._server._process.pid, flush=True)
time.sleep(3600)
"""
    out = tmp_path / "out"
    with out.open("wb") as file:
        environment = {**os.environ, "PYTHONPATH": PATHS, "CUDA_VISIBLE_DEVICES": ""}
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=file
        )
    wait_for(lambda: len(out.read_text().splitlines()) == 2, "trial and server", process)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    server = next(line for line in lines if isinstance(line, int))
    trial = next(line for line in lines if isinstance(line, dict))["pid"]
    assert not ended(trial)
    process.kill()
    process.wait()
    wait_for(lambda: ended(trial) and ended(server), "the end of trial and server")


def test_trials_are_forked_only_where_that_is_safe(monkeypatch):
    monkeypatch.setattr(trial_starter, "visible_gpus", lambda: 0)
    monkeypatch.setattr(trial_starter, "job_step", lambda: None)
    monkeypatch.setattr(sys, "platform", "linux")
    assert may_fork()
    for given, allowed in (("0", False), ("1", True), ("", True)):
        monkeypatch.setenv(FORK_VARIABLE, given)
        assert may_fork() == allowed
    monkeypatch.setenv(FORK_VARIABLE, "no")
    with pytest.raises(Galaxy10Error, match="GALAXY10_FORK_TRIALS=no in the environment is not allowed; expected 0 or"):
        TrialStarter()
    monkeypatch.delenv(FORK_VARIABLE)
    for name, value in (("visible_gpus", 1), ("job_step", JobStep("0", 2, 1, 2))):
        with monkeypatch.context() as changed:
            changed.setattr(trial_starter, name, lambda value=value: value)
            assert not may_fork()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not may_fork()


@pytest.mark.long
@pytest.mark.parametrize(("program", "words"), [("train.py", ["-m", "seed=0,1"]), ("sweep.py", ["sweep.n_trials=2"])])
def test_a_wrong_wish_is_refused_in_one_line(program, words, here, tmp_path):
    write_galaxies(tmp_path / "g.h5")
    done = here(program, "data=hdf5", "data.path=g.h5", "model=simple_cnn", *words, **{FORK_VARIABLE: "yes"})
    assert done.code == 2
    assert done.message == "error: GALAXY10_FORK_TRIALS=yes in the environment is not allowed; expected 0 or 1"
    assert {path.name for path in tmp_path.iterdir()} == {"g.h5"}


def test_threads_that_a_fork_would_lose_are_seen(tmp_path):
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    before = len(other_threads())
    thread.start()
    try:
        assert len(other_threads()) == before + 1
    finally:
        done.set()
        thread.join()
    for number, name in enumerate(("jemalloc_bg_thd", "worker")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "comm").write_text(f"{name}\n")
    assert other_threads(tmp_path) == ["worker"]


@pytest.mark.parametrize("changed", [{}, {"devices": 2}, {"num_nodes": 2}, {"strategy": "ddp"}])
def test_a_trial_of_several_processes_leaves_its_fork(changed, monkeypatch):
    executed = []
    monkeypatch.setattr(os, "execve", lambda *arguments: executed.append(arguments))
    leave_fork({**ALONE, **changed})
    assert not executed  # it is no fork
    monkeypatch.setattr(forked_trial, "_command", [])
    monkeypatch.setattr(forked_trial, "_environment", {})
    remember_start(["python", "-m", "galaxy10"], {"A": "1"})
    leave_fork({**ALONE, **changed})
    assert executed == ([("python", ["python", "-m", "galaxy10"], {"A": "1"})] if changed else [])


def test_changed_code_is_noticed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text("1")
    before = installed_code(tmp_path)
    assert installed_code(tmp_path) == before
    (tmp_path / "sub" / "a.py").write_text("12")
    changed = installed_code(tmp_path)
    assert changed != before
    (tmp_path / "b.py").touch()
    assert installed_code(tmp_path) != changed


@pytest.mark.long
def test_forked_trials_that_were_killed_resume_and_end_as_new_processes_do_bit_for_bit(start, train, tmp_path):
    import pandas as pd
    import torch

    write_galaxies(tmp_path / "g.h5", per_class=20)
    small = ("model=simple_cnn", "model.image_size=32", "data.batch_size=16", "trainer.max_epochs=2", HOLD)
    words = ("-m", "data=hdf5", "data.path=g.h5", *small, "run.report=false", "logger=csv", "seed=0,1")
    forks = {"CUDA_VISIBLE_DEVICES": "", FORK_VARIABLE: "1"}
    held = tmp_path / "held"
    with start(ROOT / "train.py", *words, "run.root=forked", cwd=tmp_path, **forks, HOLD_AT="batch 1 0") as process:
        for number, seed in ((signal.SIGKILL, 0), (signal.SIGTERM, 1)):
            wait_for(held.exists, f"the second epoch of seed {seed}", process)
            (lock,) = tmp_path.glob(f"forked/grid-*/*-seed{seed}-*/lock.json")
            held.unlink()
            os.kill(json.loads(lock.read_text())["pid"], number)
        (tmp_path / "go").touch()
        out, err = process.communicate()
    assert process.returncode == 1, err
    trials = json.loads(out.strip().splitlines()[-1])["trials"]
    assert [trial["error"] for trial in trials] == ["killed by SIGKILL", "stopped by SIGTERM"]
    for root, environment in (("forked", forks), ("new", {FORK_VARIABLE: "0"})):
        done = train(*words, f"run.root={root}", **environment)
        assert done.code == 0, done.err
    forked, new = (sorted(tmp_path.glob(f"{root}/grid-*/*")) for root in ("forked", "new"))
    assert [run.name for run in forked] == [run.name for run in new]
    assert len(forked) == 2
    for one, other in zip(forked, new, strict=True):
        assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
        pd.testing.assert_frame_equal(*(pd.read_parquet(run / "predictions" / "test.parquet") for run in (one, other)))
        weights, same = (
            torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (one, other)
        )
        assert weights.keys() == same.keys()
        assert all(torch.equal(weights[name], same[name]) for name in weights)
