"""One process at a time writes a run directory, whatever became of the one before."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.lock import LockedError, RunLock, check_free, is_alive
from tests.waiting import PATIENCE_S


def test_a_dead_processes_lease_is_taken_over_and_a_living_ones_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    (tmp_path / "lock.json").write_text(json.dumps({"host": os.uname().nodename, "pid": dead.pid, "started": "1"}))
    lock = RunLock(tmp_path)
    lock.acquire()
    assert json.loads((tmp_path / "lock.json").read_text())["token"] == lock.token
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_across_hosts_the_heartbeat_decides():
    assert is_alive({"host": "elsewhere", "renewed": time.time() - 20})
    assert not is_alive({"host": "elsewhere", "renewed": time.time() - 200})


def test_a_lost_lease_is_noticed_and_left_to_its_new_owner(tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy10.runs.lock.BEAT_S", 0.02)
    lock = RunLock(tmp_path)
    lock.acquire()
    (tmp_path / "lock.json").write_text(json.dumps({"token": "another"}))
    assert lock.lost.wait(PATIENCE_S)
    lock.release()
    assert json.loads((tmp_path / "lock.json").read_text())["token"] == "another"


def test_only_a_later_start_of_the_same_job_may_take_a_living_ones_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy10.runs.lock.HANDOVER_S", 0.3)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = RunLock(tmp_path)
    first.acquire()
    with pytest.raises(Galaxy10Error, match="SLURM job 7"):
        check_free(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(Galaxy10Error):
        RunLock(tmp_path).acquire()
    assert first.still_held()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    second = RunLock(tmp_path)
    second.acquire()
    assert not first.still_held()
    assert first.lost.is_set()
    first.release()
    assert second.still_held()
    second.release()


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in (".status.json.7-abc.part", "checkpoints/.last.ckpt.7-abc.part", "checkpoints/last.ckpt"):
        (tmp_path / name).touch()
    directory = RunDirectory(tmp_path)
    directory.acquire()
    directory.release()
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["last.ckpt"]


def test_a_folder_that_cannot_be_written_is_not_taken_for_a_locked_one(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("galaxy10.runs.lock.os.rename", refuse)
    with pytest.raises(Galaxy10Error, match="cannot be written") as caught:
        RunLock(tmp_path).acquire()
    assert not isinstance(caught.value, LockedError)  # for which a study's worker would wait
