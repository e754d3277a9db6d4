"""The process that has imported what every trial imports, and forks the trials of a grid or study.

It computes nothing, so that a fork is as a Python process that has just imported the same. It forks twice: the process
in between ends at once, and the kernel gives the trial to the process that wants it (see trial_starter.py) as a child
of its own. That process alone waits for the trial and signals it; the trial does not notice if this process is killed.

This process ends when its socket is closed, and with its parent. Its output is a file in memory, for every trial.
"""

import gc
import json
import os
import runpy
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from galaxy10.sweeps.exec_with_parent import end_with_parent
from galaxy10.sweeps.forked_trial import remember_start
from galaxy10.system import provide_home

# The allocator of pyarrow has a thread, and handles forks itself.
_MAY_RUN = ("jemalloc_bg_thd",)


def serve(control: socket.socket, parent: int) -> dict[str, Any]:
    """Fork a trial for each message; return only in a trial: its order, a dict with the key `command`.

    A message of one byte comes with four descriptors: a socket for the trial's process id and order, and its standard
    input, output and error. The socket is closed if the trial cannot be forked.

    Args:
        control: the socket that messages arrive on.
        parent: the process id of the process that started this one, and that gets the trials as children.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 4)
        if not message:
            os._exit(0)  # nothing was computed, and the exit handlers of libraries are the trials'
        if not other_threads() and _fork_twice():
            control.close()
            return _begin(socket.socket(fileno=descriptors[0]), descriptors[1:], parent)
        for descriptor in descriptors:
            os.close(descriptor)


def other_threads(tasks: Path = Path("/proc/self/task")) -> list[str]:
    """Return the names of this process's threads that a fork would break: all but the first, and harmless ones."""
    names = []
    for task in {*tasks.iterdir()} - {tasks / str(os.getpid())}:
        with suppress(OSError):  # it has just ended
            names.append((task / "comm").read_text().strip())
    return [name for name in names if name not in _MAY_RUN]


def _fork_twice() -> bool:
    """Fork a child of a child that has ended; return whether this process is the fork."""
    wait, ended = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            if os.fork():
                os._exit(0)
        except OSError:  # no memory: the trial is started in another way
            os._exit(1)
        os.close(ended)
        os.read(wait, 1)  # until the process between has ended: then this one has its new parent
        os.close(wait)
        return True
    os.waitpid(between, 0)
    os.close(ended)
    os.close(wait)
    return False


def _begin(answer: socket.socket, streams: list[int], parent: int) -> dict[str, Any]:
    """Become a process of its own in a fork, and wait for the order; exit if there is none, or no such parent."""
    os.setpgid(0, 0)
    if os.getppid() != parent:
        os._exit(1)
    end_with_parent(parent)
    with answer:
        answer.sendall(b"%d\n" % os.getpid())
        order = answer.makefile("rb").readline()
    if not order:
        os._exit(1)  # the trial was stopped before it began
    printed = os.pread(2, os.fstat(2).st_size, 0)  # by libraries while they were imported
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in streams:
        if descriptor > 2:
            os.close(descriptor)
    with suppress(OSError):  # a closed pipe does not stop the work
        os.write(2, printed)
    return dict(json.loads(order))


def _import_libraries() -> None:
    import_module("galaxy10.sweeps.trial_imports")
    # Libraries for linear algebra may have started threads, which they end before a fork, and start again when needed.
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    gc.collect()
    gc.freeze()  # a collection would copy the memory that trials share


def _run_as_python(command: list[str], environment: Mapping[str, str]) -> None:
    """Run `python -m MODULE …` in this process; does not return normally if the module exits."""
    remember_start(command, environment)
    import_module("galaxy10.sweeps.trial_imports").seed_anew()
    sys.orig_argv = list(command)
    sys.argv = ["-m", *command[3:]]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)


def main() -> None:
    """Import, serve, and in each fork run the trial. Arguments: the number of the socket, the parent's process id."""
    control, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    control.set_inheritable(False)
    environment = dict(os.environ)
    provide_home()  # as the command does, before it imports
    _import_libraries()
    sys.stdout.flush()
    _run_as_python(serve(control, parent)["command"], environment)


if __name__ == "__main__":
    main()
