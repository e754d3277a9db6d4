"""Start the processes of trials: forked from a process that has imported the libraries, or new Python processes."""

import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from galaxy10.config.paths import PACKAGE
from galaxy10.errors import Galaxy10Error
from galaxy10.runs.devices import visible_gpus
from galaxy10.runs.slurm import job_step
from galaxy10.sweeps.exec_with_parent import bound_to_parent

logger = logging.getLogger(__name__)

FORK_VARIABLE = "GALAXY10_FORK_TRIALS"
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.1


class ForkedProcess:
    """A forked trial, a child of this process, with those methods of subprocess.Popen that trials need.

    Attributes:
        pid: the process id, also of the process group.
        returncode: as of Popen; None while the process runs or nobody has waited for it.
    """

    def __init__(self, pid: int, returncode: int | None = None):
        self.pid, self.returncode = pid, returncode

    def poll(self) -> int | None:
        """Return the exit code (-N after signal N), or None while the process runs."""
        self._reap(os.WNOHANG)
        return self.returncode

    def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        self._reap(0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        if self._reap(os.WNOHANG):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM to the process, if it runs."""
        self.send_signal(signal.SIGTERM)

    def _reap(self, flags: int) -> bool:
        """Set the exit code if the process has ended (without WNOHANG: wait for it); return whether it runs."""
        if self.returncode is not None:
            return False
        try:
            pid, status = os.waitpid(self.pid, flags)
        except ChildProcessError:  # a signal handler came in between, and its call has set the exit code or will
            return False
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)
        return not pid


TrialHandle = subprocess.Popen[bytes] | ForkedProcess


class TrialStarter:
    """Start trials as processes in groups of their own that end with this process.

    Trials are forked on Linux, if no GPU is visible and GALAXY10_FORK_TRIALS is not 0; else, or if forking does not
    work, each is a new Python process. As a context manager, it ends its fork server on exit.

    Args:
        several: whether several trials are to be started; one trial gains nothing from a fork.

    Raises:
        Galaxy10Error: GALAXY10_FORK_TRIALS is neither 0 nor 1.
    """

    def __init__(self, several: bool = True):
        self._forks = may_fork() and several
        self._server: _ForkServer | None = None

    def __enter__(self) -> "TrialStarter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end_server()

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stdin: int | None,
        stdout: int,
        stderr: int | None,
        stopped: Callable[[], object] = lambda: False,
    ) -> TrialHandle:
        """Start a trial.

        Args:
            command: `python -m MODULE …`.
            environment: of the process; another one than before needs a new fork server.
            stdin, stdout, stderr: descriptors of its standard streams; None for those of this process.
            stopped: whether this process is to stop; a trial that could not begin before has ended with SIGTERM.
        """
        if self._forks:
            streams = (0 if stdin is None else stdin, stdout, 2 if stderr is None else stderr)
            process = self._fork(command, dict(environment), streams, stopped)
            if process is not None:
                return process
        # In its own process group, the trial receives Ctrl-C once, from this process, not twice.
        return subprocess.Popen(
            bound_to_parent(command), stdin=stdin, stdout=stdout, stderr=stderr, env=environment, process_group=0
        )

    def _fork(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        streams: tuple[int, int, int],
        stopped: Callable[[], object],
    ) -> ForkedProcess | None:
        state = (environment, _working_directory(), installed_code())
        if self._server is None or self._server.state != state or not self._server.is_alive():
            self._end_server()
            try:
                self._server = _ForkServer(state)
            except OSError as error:  # a container may forbid what it needs
                logger.debug("no process that forks: %s", error)
                self._forks = False
                return None
        process = self._server.fork(command, streams, stopped)
        if process is None:
            logger.debug("a trial was not forked; it is started as a new process")
            self._forks = self._server.has_forked  # one that has forked was killed, and is started again
            self._end_server()
        return process

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.end()
        self._server = None


def may_fork() -> bool:
    """Return whether this process may fork trials: on Linux, without visible GPUs, not as one task of several.

    Raises:
        Galaxy10Error: GALAXY10_FORK_TRIALS is neither 0 nor 1.
    """
    given = os.environ.get(FORK_VARIABLE) or "1"
    if given not in ("0", "1"):
        raise Galaxy10Error(f"{FORK_VARIABLE}={given} in the environment is not allowed; expected 0 or 1")
    step = job_step()
    alone = step is None or step.tasks == 1
    return given == "1" and sys.platform == "linux" and alone and visible_gpus() == 0


def installed_code(package: Path = PACKAGE) -> tuple[tuple[str, int, int], ...]:
    """Return names, times (ns) and sizes (bytes) of the package's source files and of the folder of libraries.

    If they differ from those of an earlier call, a process that was started in between may hold other code than a new
    one would import.
    """
    found = []
    libraries = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    for path in (*libraries, *sorted(package.rglob("*.py"))):
        with suppress(OSError):  # removed meanwhile
            about = path.stat()
            found.append((str(path), about.st_mtime_ns, about.st_size))
    return tuple(found)


def _working_directory() -> tuple[int, int]:
    here = os.stat(".")
    return here.st_dev, here.st_ino


@contextmanager
def _adopting() -> Iterator[None]:
    """Get processes as children whose parent, a descendant of this process, has ended; else the system gets them."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _receive(channel: socket.socket) -> bytes:
    try:
        return channel.recv(32)
    except ConnectionError:
        return b""


class _ForkServer:
    """The process of fork_server.py.

    Attributes:
        state: environment, working directory and code that it was started with.
        has_forked: whether it has forked a trial.
    """

    def __init__(self, state: tuple[dict[str, str], Any, Any]):
        self.state, self.has_forked = state, False
        self._control, theirs = socket.socketpair()
        module = [sys.executable, "-m", "galaxy10.sweeps.fork_server"]
        with theirs, open(os.memfd_create("output"), "wb") as output:
            self._process = subprocess.Popen(
                bound_to_parent([*module, str(theirs.fileno()), str(os.getpid())]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=state[0],
                pass_fds=(theirs.fileno(),),
                process_group=0,
            )

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def fork(
        self, command: Sequence[str], streams: tuple[int, int, int], stopped: Callable[[], object]
    ) -> ForkedProcess | None:
        """Fork a trial, once the process has imported the libraries; return None if it cannot."""
        ours, theirs = socket.socketpair()
        with ours, _adopting():
            with theirs:
                try:
                    socket.send_fds(self._control, [b"1"], [theirs.fileno(), *streams])
                except OSError:
                    return None
            ours.settimeout(_POLL_S)
            pid = None
            while pid is None:
                if stopped():
                    return ForkedProcess(0, -signal.SIGTERM)
                with suppress(TimeoutError):
                    pid = _receive(ours)
            if not pid:
                return None
            with suppress(OSError):  # killed meanwhile: its exit code says so
                ours.sendall(json.dumps({"command": list(command)}).encode() + b"\n")
        self.has_forked = True
        return ForkedProcess(int(pid))

    def end(self) -> None:
        """End the process: its forks do not notice."""
        self._control.close()
        self._process.kill()
        self._process.wait()
