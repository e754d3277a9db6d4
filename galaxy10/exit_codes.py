"""The exit codes of commands."""

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command; after a signal, a command ends with `signal_exit_code(number)`."""

    FINISHED = 0
    FAILED = 1
    REFUSED = 2  # before anything started: the same command would be refused again
    PARTIAL = 3  # some inputs could not be processed, all others were


def signal_exit_code(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells report it: 128 + number."""
    return 128 + number


def describe_exit(code: int) -> str:
    """Describe a process's return code: `killed by SIGKILL`, or `ended with exit code 1`."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
