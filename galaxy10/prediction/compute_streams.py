"""Compute several batches at the same time on a CPU, each on few cores with networks of its own."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from queue import SimpleQueue
from threading import Event
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from galaxy10.system import memory_is_shared

MOST_STREAMS = 4  # each has weights and activations of its own in memory
_MOST_BYTES = 2**30  # of the weights of all streams but the first


class Networks(Protocol):
    """One or several networks on a device.

    Attributes:
        on_cpu: whether a CPU computes them.
        engine: torch, or what else computes them.
    """

    on_cpu: bool
    engine: str

    @property
    def modules(self) -> Sequence[nn.Module]:
        """Return what computes the forward passes."""
        ...

    def for_streams(self, number: int, threads: int) -> Sequence[Any]:
        """Return the same networks once for each of several threads, which compute with some threads each.

        What one of them keeps of a batch, the others do not see.
        """
        ...


N = TypeVar("N", bound=Networks)
B = TypeVar("B")
T = TypeVar("T")


class ComputeStreams(AbstractContextManager["ComputeStreams[N]"], Generic[N]):
    """Threads that share the cores of torch, each with networks of its own.

    The cores of one batch wait for each other at every layer, and longer while other threads read images: a small
    network computes more batches in the same time if every batch has one core. Every thread has networks of its own,
    because a network may keep something of a batch, such as its features, anywhere.

    Args:
        networks: with for_streams.
        most: number of threads at most, such as the number of batches.

    Attributes:
        number: of threads. If number_of_streams is 1, the caller's thread computes, with all of torch's threads.
    """

    def __init__(self, networks: N, most: int = MOST_STREAMS):
        self._torch_threads, self._networks = torch.get_num_threads(), networks
        found = number_of_streams(networks)
        self.number = min(most, found)
        self._stopping = Event()
        self._free: SimpleQueue[N] = SimpleQueue()
        self._hooks: list[Any] = []
        self._pool: ThreadPoolExecutor | None = None
        if found > 1:  # also for one batch, so that its digits do not depend on how many there are
            cores = max(1, self._torch_threads // found)
            for one in networks.for_streams(self.number, cores):
                parts = [part for module in one.modules for part in module.modules()]
                self._hooks += [part.register_forward_pre_hook(self._stop) for part in parts]
                self._free.put(one)
            self._pool = ThreadPoolExecutor(self.number, "compute", torch.set_num_threads, (cores,))

    def submit(self, compute: Callable[[N, B], T], batch: B) -> "Future[T]":
        """Return the future result of compute(networks, batch)."""
        if self._pool is not None:
            return self._pool.submit(self._compute, compute, batch)
        done: Future[T] = Future()
        done.set_result(compute(self._networks, batch))
        return done

    def map(self, compute: Callable[[N, B], T], batches: Iterable[B]) -> Iterator[tuple[B, T]]:
        """Yield each batch with compute(networks, batch), in order; few more than `number` batches are in memory."""
        waiting: deque[tuple[B, Future[T]]] = deque()
        for batch in batches:
            waiting.append((batch, self.submit(compute, batch)))
            if len(waiting) > self.number or self._pool is None:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()

    def _compute(self, compute: Callable[[N, B], T], batch: B) -> T:
        networks = self._free.get()
        try:
            return compute(networks, batch)
        finally:
            self._free.put(networks)

    def _stop(self, module: nn.Module, inputs: Any) -> None:
        if self._stopping.is_set():
            raise RuntimeError("the batch is not needed any more")

    def __exit__(self, *exception: object) -> None:
        """End the threads, within a layer of what they compute, and give torch's threads back to the caller."""
        if self._pool is not None:
            self._stopping.set()
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._torch_threads)
            for hook in self._hooks:
                hook.remove()


def number_of_streams(networks: Networks) -> int:
    """Return how many batches of networks are computed at the same time: on CPUs one per core, 4 at most; else 1.

    In torch it is less if the weights of all streams would need more than 1 GiB beside the first one's; in ONNX Runtime
    streams share them. It is 1 where the system would clear the memory of each batch again
    (galaxy10.system.share_memory_between_threads).
    """
    if not networks.on_cpu or not memory_is_shared():
        return 1
    if networks.engine != "torch":
        return min(MOST_STREAMS, torch.get_num_threads())
    weights = sum(
        weight.numel() * weight.element_size() for module in networks.modules for weight in module.parameters()
    )
    return min(MOST_STREAMS, torch.get_num_threads(), 1 + _MOST_BYTES // max(weights, 1))
