"""Signals that stop a process, and their handlers."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# slurm/job.sbatch has SLURM send SIGUSR1 before the time limit; the job is then requeued.
TIME_LIMIT = signal.SIGUSR1
SIGNALS = (signal.SIGINT, signal.SIGTERM, TIME_LIMIT)
ONE_S = 3.0  # signals within this time count as one: SLURM signals every process, and a grid passes its signal on


class Interrupted(BaseException):
    """Raised when a signal stops a run, or the run lost its directory; no Exception, so that `except` lets it pass.

    Attributes:
        number: the signal number.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class SignalHandler:
    """A signal handler that raises Interrupted at once or, while `deferring`, only remembers the signal.

    A second signal raises Interrupted in any case.

    Attributes:
        number: number of the first signal; None so far.
        deferring: whether a signal is only remembered, because work can stop safely only at certain points.
        progressed: whether a training step was made since the start.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.deferring = False
        self.progressed = False
        self._came = 0.0

    def install(self) -> None:
        """Install this handler for SIGINT, SIGTERM and SIGUSR1."""
        _set_handlers(self._handle, SIGNALS)

    def ignore(self) -> None:
        """Ignore further signals, while the run is closed."""
        ignore_signals()

    def _handle(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._came = number, now
            if self.deferring:
                return
        elif now - self._came < ONE_S:
            return
        raise Interrupted(number)

    def raise_if_signalled(self) -> None:
        """Raise Interrupted if a signal was received."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def collect_signals(
    pass_on: Callable[[int], object] = lambda number: None, numbers: Sequence[signal.Signals] = SIGNALS
) -> Iterator[list[int]]:
    """Collect the numbers of received signals in a list, instead of ending; restore the old handlers on exit.

    Args:
        pass_on: function called with each number, for instance to signal another process.
        numbers: the signals to collect.
    """
    received: list[int] = []

    def keep(number: int, frame: Any) -> None:
        received.append(number)
        pass_on(number)

    with _handled_by(keep, numbers):
        yield received


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted as soon as a signal is received; restore the old handlers on exit."""
    with _handled_by(SignalHandler()._handle, SIGNALS):
        yield


def ignore_signals() -> None:
    """Ignore the signals that stop a process, because they are for another process or have been handled."""
    _set_handlers(signal.SIG_IGN, SIGNALS)


@contextmanager
def _handled_by(handler: Any, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    before = _set_handlers(handler, numbers)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _set_handlers(handler: Any, numbers: Sequence[signal.Signals]) -> dict[signal.Signals, Any]:
    return {number: signal.signal(number, handler) for number in numbers}
