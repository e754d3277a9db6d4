"""Whatever stops a run, the same command goes on, and ends with the very same weights and metrics."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from galaxy10.runs.lock import RunLock, is_alive
from tests.conftest import QUIET, ROOT
from tests.galaxies import write_galaxies

EPOCHS = 4


class Survey:
    """A file big enough that an epoch takes a while, and its uninterrupted run."""

    def __init__(self, folder, warm):
        self.folder, self.warm = folder, warm
        write_galaxies(folder / "g.h5", per_class=60, num_classes=4)
        self.finish("whole")

    def start(self, name):
        words = ["data=hdf5", "data.path=g.h5", f"run.dir={name}", f"trainer.max_epochs={EPOCHS}"]
        words += ["data.batch_size=8", "augment=baseline_cnn", "logger=csv"]
        return self.warm.start([str(ROOT / "train.py"), *words], self.folder, {**os.environ, **QUIET})

    def finish(self, name):
        _, errors = self.start(name).communicate()
        assert json.loads((self.folder / name / "status.json").read_text())["state"] == "finished", errors


@pytest.fixture(scope="module")
def survey(tmp_path_factory, warm):
    return Survey(tmp_path_factory.mktemp("survey"), warm)


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same_as_uninterrupted(folder, name):
    whole, other = folder / "whole", folder / name
    first, second = weights(whole), weights(other)
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key
    assert (whole / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    status = [json.loads((run / "status.json").read_text()) for run in (whole, other)]
    assert status[0]["state"] == status[1]["state"] == "finished"
    for key, value in status[0]["metrics"].items():
        if not key.startswith("train/") or key in ("train/loss", "train/accuracy"):
            assert status[1]["metrics"][key] == value, key


def wait_for(condition, process, timeout=120):
    deadline = time.time() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.time() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_in_mid_epoch_saves_first_and_nothing_is_lost(survey, number):
    name = f"signal{number}"
    run = survey.folder / name
    process = survey.start(name)
    wait_for((run / "metrics.csv").exists, process)  # the first epoch is behind
    time.sleep(0.2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "goes on" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    survey.finish(name)
    assert_same_as_uninterrupted(survey.folder, name)


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_nothing(survey):
    kills = 0
    for attempt in range(20):
        process = survey.start("killed")
        try:
            process.wait(timeout=1 + attempt)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert kills >= 2
    assert process.returncode == 0, process.communicate()[1]
    assert_same_as_uninterrupted(survey.folder, "killed")


def test_a_run_does_not_go_on_with_other_galaxies(tmp_path, train):
    arguments = ["data=hdf5", "data.path=g.h5", "run.dir=r", "data.batch_size=8", "model.image_size=32", "logger=csv"]
    write_galaxies(tmp_path / "g.h5")
    assert train(*arguments, "trainer.max_epochs=1").code == 0
    status = json.loads((tmp_path / "r" / "status.json").read_text())
    (tmp_path / "r" / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    write_galaxies(tmp_path / "g.h5", seed=1)
    done = train(*arguments, "trainer.max_epochs=1")
    assert done.code == 1
    assert "was trained on other galaxies" in done.err


def test_a_damaged_checkpoint_is_moved_aside_when_asked(tmp_path, train):
    arguments = ["data=hdf5", "data.path=g.h5", "run.dir=r", "data.batch_size=8", "model.image_size=32", "logger=csv"]
    arguments += ["trainer.max_epochs=1", "run.report=false"]
    write_galaxies(tmp_path / "g.h5")
    first = train(*arguments)
    status = json.loads((tmp_path / "r" / "status.json").read_text())
    (tmp_path / "r" / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    os.truncate(tmp_path / "r" / "checkpoints" / "last.ckpt", 1000)
    assert "add run.overwrite=true to move r aside" in train(*arguments).message
    again = train(*arguments, "run.overwrite=true")
    assert again.code == 0, again.err
    assert again.result["val/loss"] == first.result["val/loss"]
    assert len(list(tmp_path.glob("r.before-*"))) == 1


@pytest.mark.slow
def test_a_directory_in_which_a_process_trains_is_refused(survey):
    first = survey.start("busy")
    wait_for((survey.folder / "busy" / "lease.json").exists, first)
    second = survey.start("busy")
    _, message = second.communicate(timeout=30)
    first.kill()
    assert second.returncode == 2
    assert f"is being written by process {first.pid} on " in message
    assert len(message.strip().splitlines()) == 1
    first.wait()


def test_a_dead_processes_lease_is_taken_over_and_a_living_ones_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    (tmp_path / "lease.json").write_text(json.dumps({"host": os.uname().nodename, "pid": dead.pid, "started": "1"}))
    lease = RunLock(tmp_path)
    lease.take()
    assert json.loads((tmp_path / "lease.json").read_text())["token"] == lease.token
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_across_hosts_the_heartbeat_decides():
    assert is_alive({"host": "elsewhere", "renewed": time.time() - 20})
    assert not is_alive({"host": "elsewhere", "renewed": time.time() - 200})


def test_a_lost_lease_is_noticed_and_left_to_its_new_owner(tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy10.runs.lock.BEAT_S", 0.02)
    lease = RunLock(tmp_path)
    lease.take()
    (tmp_path / "lease.json").write_text(json.dumps({"token": "another"}))
    assert lease.lost.wait(5)
    lease.release()
    assert json.loads((tmp_path / "lease.json").read_text())["token"] == "another"


def test_a_loss_that_is_not_a_number_stops_the_run_and_says_where(galaxies, train):
    done = train(
        "data=hdf5", f"data.path={galaxies}", "run.dir=r", "logger=csv", "data.batch_size=8", "optimizer=sgd",
        "optimizer.lr=1e18", "trainer.gradient_clip_val=null", "model.image_size=32", "scheduler=none",
    )  # fmt: skip
    assert done.code == 1
    assert "error: the loss is " in done.err
    assert "epoch 1, batch" in done.err
    assert "try a lower optimizer.lr" in done.err
    assert "Traceback" not in done.err
