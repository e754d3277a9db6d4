"""Compute several batches at the same time on a CPU, each on few cores with its own copy of the networks."""

import copy
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import Generic, TypeVar

import torch
from torch import nn

from galaxy10.system import memory_is_shared

MOST_STREAMS = 4  # each has activations of its own in memory

logger = logging.getLogger(__name__)

N = TypeVar("N")
B = TypeVar("B")
T = TypeVar("T")


class ComputeStreams(AbstractContextManager["ComputeStreams[N]"], Generic[N]):
    """Threads that share the cores of torch, each with a copy of the networks that shares their weights.

    The cores of one batch wait for each other at every layer, and longer while other threads read images: a small
    network computes more batches in the same time if every batch has one core. Copies, because a network may keep
    something of a batch, such as its features, in itself.

    Args:
        networks: what computes: its class is free, its modules are given.
        modules: of the networks; their tensors are shared by the copies.
        number: of threads; 1 computes in the thread of the caller, with all of torch's threads.

    Attributes:
        number: of threads; 1 if the networks cannot be copied.
    """

    def __init__(self, networks: N, modules: Sequence[nn.Module], number: int):
        self._torch_threads = torch.get_num_threads()
        copies = [networks]
        try:
            copies += [_copy_with_same_weights(networks, modules) for _ in range(number - 1)]
        except Exception as error:  # a network may hold anything, such as a lock
            logger.debug("one batch at a time: the networks cannot be copied (%s)", error)
        self.number, self._networks = len(copies) if len(copies) == number else 1, networks
        self._free: SimpleQueue[N] = SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None
        if self.number > 1:
            for one in copies:
                self._free.put(one)
            cores = max(1, self._torch_threads // self.number)
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
            if len(waiting) > self.number or self.number == 1:
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

    def __exit__(self, *exception: object) -> None:
        """End the threads, and give torch's threads back to the caller."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._torch_threads)


def number_of_streams(device: torch.device, engine: str) -> int:
    """Return how many batches are computed at the same time: on CPUs one per core, 4 at most; else 1.

    Also 1 where the system would clear the memory of each batch again (galaxy10.system.share_memory_between_threads).
    """
    if device.type != "cpu" or engine != "torch" or not memory_is_shared():
        return 1
    return min(MOST_STREAMS, torch.get_num_threads())


def _copy_with_same_weights(networks: N, modules: Sequence[nn.Module]) -> N:
    """Return a deep copy whose modules have the tensors of the original ones."""
    tensors = [t for module in modules for part in module.modules() for t in _tensors_of(part)]
    return copy.deepcopy(networks, {id(tensor): tensor for tensor in tensors})


def _tensors_of(module: nn.Module) -> list[torch.Tensor]:
    own = [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]
    return [tensor for tensor in own if isinstance(tensor, torch.Tensor)]
