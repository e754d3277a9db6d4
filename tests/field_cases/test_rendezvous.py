"""Waiting for the other processes of a run; children left behind"""

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from galaxy10.runs import launcher
from galaxy10.runs.launcher import Launch
from galaxy10.training import distributed, rendezvous
from galaxy10.training.rendezvous import limited_rendezvous
from tests.waiting import PATIENCE_S, wait_for


@pytest.fixture
def ended(monkeypatch):
    """How a wait of two processes ended: (message, signal), or nothing in the given seconds."""
    monkeypatch.setattr(rendezvous, "_POLL_S", 0.02)
    monkeypatch.setattr(rendezvous, "SIGNAL_S", 0.1)

    def wait(launcher_name, act=lambda: None, seconds=PATIENCE_S):
        monkeypatch.setattr(rendezvous, "launch", lambda: Launch(launcher_name, 0, 2))
        ends, event = [], threading.Event()

        def end(message, number):
            ends.append((message, number))
            event.set()

        with limited_rendezvous(2, end):
            act()
            event.wait(seconds)
        return ends[:1]

    return wait


def test_processes_that_others_start_are_waited_for_up_to_a_limit(ended, monkeypatch, says):
    """Processes of another node never come."""
    monkeypatch.setattr(rendezvous, "rendezvous_limit_s", lambda: 0.1)
    monkeypatch.setenv("MASTER_ADDR", "node17.cluster")
    ((message, number),) = ended("srun")
    assert number == 0
    assert "waited 0.1 s for the others at node17.cluster:" in message
    assert ended("lightning", seconds=0.5) == []
    says(message)


def test_the_limit_is_two_minutes_or_as_the_environment_says(monkeypatch, says):
    """The wait for other processes has no limit."""
    monkeypatch.delenv("GALAXY10_RENDEZVOUS_S", raising=False)
    assert launcher.rendezvous_limit_s() == 120
    monkeypatch.setenv("GALAXY10_RENDEZVOUS_S", "7")
    assert launcher.rendezvous_limit_s() == 7
    says("the limit is 120 s, or GALAXY10_RENDEZVOUS_S")


def test_what_is_waited_for_is_said(ended, monkeypatch, caplog, says):
    """Other processes are late."""
    monkeypatch.setattr(rendezvous, "SAY_AFTER_S", 0.05)
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)

    def is_said():
        return any("waiting for the 2 processes" in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.INFO):
        ended(None, lambda: wait_for(is_said, "the message"), seconds=0)
    says(next(message for message in caplog.messages if "waiting" in message))


def test_a_signal_ends_the_wait(ended, says):
    """SIGTERM arrives while other processes are waited for."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert ended(None, lambda: os.kill(os.getpid(), signal.SIGTERM)) == [("stopped by SIGTERM", signal.SIGTERM)]
    finally:
        signal.signal(signal.SIGTERM, before)
    says("stopped by SIGTERM")


def test_a_taken_port_is_named_and_the_children_are_ended(monkeypatch, says):
    """The port of the rendezvous is taken, and a child process has been started."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"]) as child:
        monkeypatch.setattr(distributed, "_children", [child])
        message = distributed.explain_dist_error(RuntimeError("code: -98, name: EADDRINUSE"))
        assert child.wait(PATIENCE_S) == -signal.SIGKILL
    assert message.startswith("another program uses 127.0.0.1:29500,")
    says(message)


CHILD = """
import os, subprocess, sys, time
code = "from galaxy10.runs.launcher import end_with_rank_zero as end; end(); print('up', flush=True); time.sleep(3600)"
names = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "GALAXY10_RUN_DIR": "r", "GALAXY10_RANK_0_PID": str(os.getpid())}
child = subprocess.Popen([sys.executable, "-c", "import time; " + code], env={**os.environ, **names})
time.sleep(3600)
"""


def test_a_child_ends_with_rank_zero_and_lets_go_of_standard_output(says):
    """Rank 0 is killed; `… | tee` waits for its children."""
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        assert parent.stdout.read() == ""  # ends when nobody holds it: the child sleeps for an hour
    says("the child ends with rank 0, and standard output is closed")
