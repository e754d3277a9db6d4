"""What a trial knows of its start: whether it was forked, and how to start it again as a new Python process."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from galaxy10.runs.devices import number_of_devices

_command: list[str] = []  # of a forked trial
_environment: dict[str, str] = {}


def remember_start(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Note that this process is a forked trial.

    Args:
        command: what a new Python process would be started with.
        environment: the environment of such a process, before libraries added to it.
    """
    _command[:] = command
    _environment.clear()
    _environment.update(environment)


def needs_new_process(trainer: Mapping[str, Any]) -> bool:
    """Return whether an experiment starts processes of its own, which read how this one was started.

    Args:
        trainer: the `trainer` section of the configuration.
    """
    devices = number_of_devices(trainer["devices"]) or 1
    return devices > 1 or trainer["num_nodes"] > 1 or trainer.get("strategy", "auto") != "auto"


def leave_fork(trainer: Mapping[str, Any]) -> None:
    """In a forked trial that needs a new Python process, execute it in place of this one: its process id stays.

    Args:
        trainer: the `trainer` section of the configuration.
    """
    if _command and needs_new_process(trainer):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(_command[0], _command, _environment)
