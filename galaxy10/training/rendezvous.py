"""The wait of a run's processes for each other, which blocks the main thread in C++: its limit, notes and signals."""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from galaxy10.exit_codes import ExitCode, signal_exit_code
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.launcher import launch, rendezvous_limit_s
from galaxy10.runs.signals import SIGNALS
from galaxy10.training.distributed import kill_children
from galaxy10.training.loggers import close_loggers

logger = logging.getLogger(__name__)

SAY_AFTER_S = 10.0
SIGNAL_S = 4.0  # after a signal, so long for the main thread to end by itself
_CLOSE_S = 3.0
_POLL_S = 0.2


@contextmanager
def limited_rendezvous(processes: int, end: Callable[[str, int], None]) -> Iterator[None]:
    """While the body runs, watch the wait for the process group, if there are several processes.

    After SAY_AFTER_S, log what is waited for. If the group does not exist SIGNAL_S after a signal or, with processes
    that this one has not started, after `rendezvous_limit_s`, end this process.

    Args:
        processes: number of processes of the run.
        end: function of (message, signal number or 0) that ends the process.
    """
    if processes < 2:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, processes, done, end), daemon=True, name="rendezvous")
    thread.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        thread.join(2 * _POLL_S)
        os.close(writer)
        os.close(reader)


def _watch(reader: int, processes: int, done: threading.Event, end: Callable[[str, int], None]) -> None:
    start, said, received, signalled = time.monotonic(), False, 0, 0.0
    started = launch()
    limit = rendezvous_limit_s() if started.launcher in ("srun", "torchrun", "hand") else float("inf")
    while not done.is_set() and not torch.distributed.is_initialized():
        readable, _, _ = select.select([reader], [], [], _POLL_S)
        now = time.monotonic()
        if readable and not received:
            numbers = [number for number in os.read(reader, 64) if number in SIGNALS]
            received, signalled = (numbers[0], now) if numbers else (0, 0.0)
        elif readable:
            os.read(reader, 64)
        where = f"{os.environ.get('MASTER_ADDR', '127.0.0.1')}:{os.environ.get('MASTER_PORT', '…')}"
        if received and now - signalled > SIGNAL_S:
            end(f"stopped by {signal.Signals(received).name}", received)
        elif now - start > limit:
            end(
                f"process {started.rank} of {processes} has waited {limit:g} s for the others at {where}; check that "
                "every node started its processes and can reach this address, or set GALAXY10_RENDEZVOUS_S=600 "
                "for a longer limit",
                0,
            )
        elif not said and now - start > SAY_AFTER_S and started.launcher != "lightning":
            said = True
            logger.info(f"waiting for the {processes} processes of this run to meet at {where}")


def end_process(directory: RunDirectory, message: str, number: int) -> None:
    """End this process from another thread than the main one, and its children: interrupted by a signal, else failed.

    Args:
        number: the signal; 0 without one.
    """
    code = signal_exit_code(number) if number else int(ExitCode.FAILED)
    timer = threading.Timer(_CLOSE_S, os._exit, (code,))
    timer.daemon = True
    timer.start()
    with suppress(Exception):
        kill_children()
        if directory.lock is not None:
            directory.end("interrupted" if number else "failed", error=message)
        if directory.lock is not None or not number:
            logger.error(f"error: {message}" if not number else "interrupted; run the same command again to start")
        directory.release()
        close_loggers(code)
    os._exit(code)
