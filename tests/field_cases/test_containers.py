"""A lease across containers"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from galaxy10.errors import Galaxy10Error
from galaxy10.runs.liveness import describe_process, heartbeat, is_alive
from galaxy10.runs.lock import RunLock, check_free, read_holder, wait_for_heartbeat
from galaxy10.sweeps.trial_process import wait_until_unlocked
from tests.waiting import PATIENCE_S

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def other_container(**changes):
    """The lock of a living process of this machine, as if it was written in another PID namespace."""
    return {"token": "1", **describe_process(), "namespace": "pid:[1]", **heartbeat(), **changes}


@pytest.fixture
def container(tmp_path):
    """A process of another PID namespace that holds the lock of a run directory."""
    if shutil.which("unshare") is None or subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow another PID namespace (unshare --pid)")
    code = (
        "import sys, time; from pathlib import Path; from galaxy10.runs.lock import RunLock;"
        "RunLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(600)"
    )
    command = [*CONTAINER, sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_container(container, tmp_path, monkeypatch, says):
    """Two containers with one host name start a run in the same directory."""
    with pytest.raises(Galaxy10Error, match="in another container; wait for it") as caught:
        RunLock(tmp_path).acquire()
    killed = []
    monkeypatch.setattr("os.kill", lambda *signal: killed.append(signal))
    polls = iter([False, False, True])
    assert not wait_until_unlocked(tmp_path, lambda: next(polls))
    assert killed == []  # its number is that of another process here
    assert container.poll() is None
    says(str(caught.value))


def test_dead_container(container, tmp_path, monkeypatch, says, capsys):
    """The first container is killed, and the second goes on: it waits until a heartbeat is late."""
    container.kill()
    container.wait()
    assert is_alive(read_holder(tmp_path))  # for the limit
    monkeypatch.setattr("galaxy10.runs.liveness.STALE_S", 1.0)
    wait_for_heartbeat(tmp_path)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()
    says(capsys.readouterr().err)


def test_same_number(tmp_path, says):
    """A lock of another container names a process number that is alive here, but its heartbeat stopped long ago."""
    old = other_container(uptime=heartbeat()["uptime"] - 3600, renewed=time.time() - 3600)
    (tmp_path / "lock.json").write_text(json.dumps(old))
    check_free(tmp_path)
    says("the directory is free")


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_clock_jump(jump_s, tmp_path, says):
    """The machine's clock jumps by an hour while another container trains."""
    holder = other_container(renewed=time.time() - jump_s)
    (tmp_path / "lock.json").write_text(json.dumps(holder))
    with pytest.raises(Galaxy10Error, match="in another container") as caught:
        check_free(tmp_path)
    says(str(caught.value))


def test_living_container_is_refused_at_its_next_beat(tmp_path, says):
    """The first container trains on: the second is refused as soon as a heartbeat is seen."""
    path, done = tmp_path / "lock.json", threading.Event()

    def beat():
        while not done.wait(0.05):
            (tmp_path / "next").write_text(json.dumps(other_container()))
            os.replace(tmp_path / "next", path)

    path.write_text(json.dumps(other_container()))
    beating = threading.Thread(target=beat)
    beating.start()
    wait_for_heartbeat(tmp_path)
    with pytest.raises(Galaxy10Error, match="in another container") as caught:
        check_free(tmp_path)
    done.set()
    beating.join(PATIENCE_S)
    says(str(caught.value))


def test_same_container(tmp_path):
    """In the same container, a process number that does not exist frees the directory at once."""
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    holder = {**describe_process(), **heartbeat(), "pid": gone.pid}
    assert not is_alive(holder)
    assert is_alive({**describe_process(), "host": "renamed since"})  # the host's name does not matter


def test_other_host(tmp_path):
    """On another host, also one of the same name, the heartbeat decides."""
    same_name = {"host": socket.gethostname(), "boot": "another", "namespace": "pid:[1]", "pid": os.getpid()}
    assert is_alive({**same_name, "renewed": time.time() - 20})
    assert not is_alive({**same_name, "renewed": time.time() - 200})
    assert not is_alive({**same_name, "renewed": time.time() + 200})
