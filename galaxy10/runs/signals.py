"""Signals that ask a process to stop: which they are, and the ways in which this project hears them."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# SIGUSR1 is what slurm/job.sbatch has sent before a time limit; the job is then requeued.
TIME_LIMIT = signal.SIGUSR1
SIGNALS = (signal.SIGINT, signal.SIGTERM, TIME_LIMIT)
ONE_S = 3.0  # SLURM tells every process of a step, and a grid passes it on to its trial: that is one signal


class Interrupted(BaseException):
    """A signal asked this run to stop, or it lost its directory; not an error, so nothing that catches errors sees it.

    number: the signal's.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class SignalHandler:
    """Remembers a signal while work can be stopped safely only now and then; raises Interrupted at once otherwise.

    A second signal is not waited for. progressed: whether any training step has been made since the start.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.deferring = False
        self.progressed = False
        self._came = 0.0

    def install(self) -> None:
        """Handle SIGINT, SIGTERM and SIGUSR1 from here on."""
        _set_handlers(self._handle, SIGNALS)

    def ignore(self) -> None:
        """While a run is closed: what asked it to stop has been heard."""
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
        """Stop here, if a signal has come."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def collect_signals(
    pass_on: Callable[[int], object] = lambda number: None, numbers: Sequence[signal.Signals] = SIGNALS
) -> Iterator[list[int]]:
    """Keep the numbers of the signals that come, in order, instead of ending; the handlers before are put back.

    Args:
        pass_on: also called with each number, for instance to tell another process.
        numbers: which signals.
    """
    received: list[int] = []

    def keep(number: int, frame: Any) -> None:
        received.append(number)
        pass_on(number)

    with _handled_by(keep, numbers):
        yield received


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted when a signal comes, wherever the work then is; the handlers before are put back."""
    with _handled_by(SignalHandler()._handle, SIGNALS):
        yield


def ignore_signals() -> None:
    """Let the signals that ask to stop pass: they are for another process, or have been heard."""
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
