"""How a command ends: its exit codes, and what other processes' codes mean."""

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """What every command returns; after a signal it is `signalled(number)`."""

    FINISHED = 0
    FAILED = 1
    REFUSED = 2  # before anything began: the same command would be refused again
    PARTLY = 3  # all that could be done is done; some of it could not


def signalled(number: int) -> int:
    """Return the exit code of a process that a signal has ended, as shells have it."""
    return 128 + number


def describe_exit(code: int) -> str:
    """Say how a process ended, from its return code: `killed by SIGKILL`, or `ended with exit code 1`."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
