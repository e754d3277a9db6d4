"""One trial's training: `galaxy10 train` in a fresh process, watched through the files of its run directory alone."""

import contextlib
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from galaxy10.config.overrides import quoted
from galaxy10.config.paths import child_environment, command_line
from galaxy10.runs.directory import RUN_DIR_VARIABLE
from galaxy10.runs.epochs import epoch_rows
from galaxy10.runs.files import RunFiles
from galaxy10.runs.lock import is_alive, read_holder

GUARD = Path(__file__).with_name("exec_with_parent.py")
STOP_S = 60.0  # a run saves within a batch; one that does not is killed
_TAIL_BYTES = 20_000
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|can't allocate memory|Cannot allocate memory|oom[-_ ]kill",
    re.IGNORECASE,
)


class TrialProcess:
    """One trial's process. Its output goes to a file, so that nothing but the file system connects it with us."""

    def __init__(self, overrides: Sequence[str], directory: Path, log: Path, environment: dict[str, str]):
        self.directory, self.log = directory, log
        self._seen, self._last_epoch = 0, -1
        self._asked: float | None = None
        self._log_start = log.stat().st_size if log.exists() else 0
        command = train_command([*overrides, f"run.dir={quoted(directory)}", "run.test=false", "run.report=false"])
        self._process = start_logged(command, log, environment)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save and end; called again long after that, kill it."""
        if self.exit_code is not None:
            return
        if self._asked is None:
            self._asked = time.monotonic()
            self._process.terminate()
        elif time.monotonic() - self._asked > STOP_S:
            self.kill()

    def kill(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def new_epochs(self, metric: str) -> list[tuple[int, float]]:
        """(epochs done, value) for every epoch that has ended since the last call; NaN where it measured nothing."""
        try:
            changed = RunFiles(self.directory).metrics.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed == self._seen:
            return []
        self._seen = changed
        rows = [(epoch, row.get(metric)) for epoch, row in epoch_rows(self.directory, self._last_epoch)]
        if rows:
            self._last_epoch = rows[-1][0]
        return [(epoch + 1, float(value) if value is not None else math.nan) for epoch, value in rows]

    def error(self) -> str:
        """Why it failed, in one line: what its status says, else the end of what it printed."""
        code = self.exit_code
        recorded = RunFiles(self.directory).read_status()
        if recorded.get("state") == "failed" and recorded.get("error"):
            return str(recorded["error"])
        said = last_words(self._tail())
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}" + (f"; last words: {said}" if said else "")
        return said.removeprefix("error: ") or f"ended with exit code {code}"

    def ran_out_of_memory(self) -> bool:
        """Whether what it said, or its status, speaks of memory."""
        return _OUT_OF_MEMORY.search(f"{self.error()}\n{self._tail()}") is not None

    def _tail(self) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")


def start_logged(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a training that does not outlive this process, and whose output goes to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = child_environment({k: v for k, v in environment.items() if k != RUN_DIR_VARIABLE})
    with log.open("ab") as output:
        # A process group of its own: Ctrl-C then reaches the trial once, through us, and not twice.
        return subprocess.Popen(
            guarded(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, process_group=0
        )


def last_words(output: str) -> str:
    """Return the error that a command's output ends with, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error:")), lines[-1] if lines else "")


def train_command(overrides: Sequence[str]) -> list[str]:
    """Return the words that train with this Python and this package, from any folder."""
    return [*command_line("train"), *overrides]


def guarded(command: Sequence[str]) -> list[str]:
    """The same command, ended when this process dies."""
    return [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *command]


def wait_until_unlocked(directory: Path, should_stop: Callable[[], bool]) -> bool:
    """Wait until nobody writes a run directory; what a dead worker left running on this machine is asked to stop.

    Returns:
        False if should_stop said so first.
    """
    asked: float | None = None
    while (holder := read_holder(directory)) and is_alive(holder):
        if should_stop():
            return False
        if holder.get("host") == socket.gethostname():
            with contextlib.suppress(ProcessLookupError):
                if asked is None:
                    asked = time.monotonic()
                    os.kill(int(holder["pid"]), signal.SIGTERM)
                elif time.monotonic() - asked > STOP_S:
                    os.kill(int(holder["pid"]), signal.SIGKILL)
        time.sleep(0.5)
    return True
