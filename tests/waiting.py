"""Waiting for what other processes do: for an event, never for a time."""

import time
from collections.abc import Callable
from typing import Protocol

# No test is decided by this: it ends one that would wait for ever, a long while after the slowest machine has answered.
PATIENCE_S = 1800.0


class Process(Protocol):
    """What subprocess.Popen and tests.warm.WarmProcess have in common."""

    def poll(self) -> int | None: ...

    def communicate(self) -> tuple[str, str]: ...


def wait_for(condition: Callable[[], object], what: str, process: Process | None = None) -> None:
    """Wait until a condition holds. what: said if it never does; process: brings it about, and must not end before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            raise AssertionError(f"{what} did not come before the process ended: {process.communicate()[1]}")
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.01)
