"""A trial's training: `galaxy10 train` in a process of its own, observed through the files of its run directory."""

import contextlib
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from galaxy10.config.overrides import quote
from galaxy10.config.paths import galaxy10_command
from galaxy10.files import can_write
from galaxy10.runs.epochs import epoch_rows
from galaxy10.runs.files import RunFiles
from galaxy10.runs.liveness import is_alive, shares_processes
from galaxy10.runs.lock import read_holder
from galaxy10.sweeps.exec_with_parent import bound_to_parent
from galaxy10.sweeps.trial_environment import trial_environment
from galaxy10.sweeps.trial_starter import TrialHandle, TrialStarter

STOP_S = 60.0  # a run stops after its current batch; after this time it is killed
_TAIL_BYTES = 20_000
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|can't allocate memory|Cannot allocate memory|oom[-_ ]kill",
    re.IGNORECASE,
)
_CANNOT_WRITE = re.compile(r"no space left|read-only file system|disk quota exceeded", re.IGNORECASE)


class TrialProcess:
    """The process of a trial; its output is appended to the file `log`.

    Args:
        overrides: of the trial.
        directory: the run directory.
        environment: of this process; the trial does not get the variables of another run.
        starter: starts the process.
        stopped: whether this process is to stop; a trial that could not begin before has ended with SIGTERM.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        directory: Path,
        log: Path,
        environment: dict[str, str],
        starter: TrialStarter,
        stopped: Callable[[], object],
    ):
        self.directory, self.log = directory, log
        self._seen, self._last_epoch = 0, -1
        self._stopped_at: float | None = None
        self._log_start = log.stat().st_size if log.exists() else 0
        command = train_command([*overrides, f"run.dir={quote(directory)}", "run.test=false", "run.report=false"])
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = trial_environment(environment)
        with log.open("ab") as output, open(os.devnull, "rb") as nothing:
            self._process: TrialHandle = starter.start(
                command, environment, nothing.fileno(), output.fileno(), output.fileno(), stopped
            )

    @property
    def exit_code(self) -> int | None:
        """Return the exit code; None while the process runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Send SIGTERM, so that the run saves and ends; if called again STOP_S seconds later, kill the process."""
        if self.exit_code is not None:
            return
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._process.terminate()
        elif time.monotonic() - self._stopped_at > STOP_S:
            self.kill()

    def kill(self) -> None:
        """Kill the process and its children, if it runs."""
        if self.exit_code is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def new_epochs(self, metric: str) -> list[tuple[int, float]]:
        """Return (epochs done, value) of every epoch since the last call; NaN for an epoch without the metric."""
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
        """Return why the trial failed, in one line: the error in its status, else its last output."""
        code = self.exit_code
        recorded = RunFiles(self.directory).read_status()
        if recorded.get("state") == "failed" and recorded.get("error"):
            return str(recorded["error"])
        line = last_line(self._tail())
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}" + (f"; last output: {line}" if line else "")
        return line.removeprefix("error: ") or f"ended with exit code {code}"

    def ran_out_of_memory(self) -> bool:
        """Return whether the trial's status or output mentions a lack of memory."""
        return _OUT_OF_MEMORY.search(f"{self.error()}\n{self._tail()}") is not None

    def failed_to_write(self) -> bool:
        """Return whether the disk of the trial's directory is full or read-only, by its messages or by trying.

        On a full disk the messages cannot be written either. Another folder, such as that of the store, does not count.
        """
        said = f"{self.error()}\n{self._tail()}"
        names_it = any(str(path) in said for path in (self.directory, self.directory.resolve()))
        return (names_it and _CANNOT_WRITE.search(said) is not None) or not can_write(self.log.parent)

    def _tail(self) -> str:
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")


def start_logged(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a training as a new process that ends with this process and appends its output to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        # In its own process group, the trial receives Ctrl-C once, from this process, not twice.
        return subprocess.Popen(
            bound_to_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=trial_environment(environment),
            process_group=0,
        )


def last_line(output: str) -> str:
    """Return the last error message in a command's output, else its last line; empty without output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error:")), lines[-1] if lines else "")


def train_command(overrides: Sequence[str]) -> list[str]:
    """Return the command that trains with this Python and this package, from any folder."""
    return [*galaxy10_command("train"), *overrides]


def wait_until_unlocked(directory: Path, should_stop: Callable[[], bool]) -> bool:
    """Wait until no process holds the lock of a run directory; a process that a dead worker left is stopped.

    Returns:
        False if should_stop returned true before that.
    """
    stopped_at: float | None = None
    while (holder := read_holder(directory)) and is_alive(holder):
        if should_stop():
            return False
        if shares_processes(holder):
            with contextlib.suppress(ProcessLookupError):
                if stopped_at is None:
                    stopped_at = time.monotonic()
                    os.kill(int(holder["pid"]), signal.SIGTERM)
                elif time.monotonic() - stopped_at > STOP_S:
                    os.kill(int(holder["pid"]), signal.SIGKILL)
        time.sleep(0.5)
    return True
