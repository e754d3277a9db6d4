"""Prefetching: threads read and prepare images while the networks compute."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from galaxy10.data.galaxy_image import ImageReadError
from galaxy10.errors import first_line
from galaxy10.system import usable_cpus

_BATCHES_AHEAD = 2

T = TypeVar("T")


def read_ahead(
    prepare: Callable[[int], T], batches: Iterable[range], workers: int | None
) -> Iterator[tuple[range, list[T | str]]]:
    """Yield each batch with the prepared images, computed by threads, or the reason why an image cannot be read.

    At most a few batches are in memory. workers: number of threads; None: one per CPU core.
    """

    def attempt(index: int) -> T | str:
        try:
            return prepare(index)
        except ImageReadError as error:
            return str(error)
        except Exception as error:  # a decoder may raise anything on a broken file
            return f"broken: {type(error).__name__}: {first_line(error)}"

    waiting: deque[tuple[range, list[Future[T | str]]]] = deque()
    pool = ThreadPoolExecutor(workers or max(2, usable_cpus()), thread_name_prefix="reader")
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(attempt, index) for index in batch]))
            if len(waiting) > _BATCHES_AHEAD:
                done, futures = waiting.popleft()
                yield done, [future.result() for future in futures]
        while waiting:
            done, futures = waiting.popleft()
            yield done, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
