"""One process at a time writes a run directory, whatever became of the one before."""

import json
import os
import subprocess
import sys
import time

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.lock import RunLock, check_free, is_alive
from tests.waiting import PATIENCE_S


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
    assert lease.lost.wait(PATIENCE_S)
    lease.release()
    assert json.loads((tmp_path / "lease.json").read_text())["token"] == "another"


def test_only_a_later_start_of_the_same_job_may_take_a_living_ones_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy10.runs.lock.HANDOVER_S", 0.3)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = RunLock(tmp_path)
    first.take()
    with pytest.raises(Galaxy10Error, match="SLURM job 7"):
        check_free(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(Galaxy10Error):
        RunLock(tmp_path).take()
    assert first.is_ours()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    second = RunLock(tmp_path)
    second.take()
    assert not first.is_ours()
    assert first.lost.is_set()
    first.release()
    assert second.is_ours()
    second.release()
