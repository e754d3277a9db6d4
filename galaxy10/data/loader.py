"""Samplers and the loader: batches gathered from the store by a thread, the same for any number of devices."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from galaxy10.data.resampling import epoch_plan
from galaxy10.data.votes import VOTES

PREFETCHED_BATCHES = 2

_limits = threading.local()


def _limit_to_one_core() -> None:
    """Limit OpenMP in this thread to one core: a second OpenMP team would spin while it waits for the network's.

    torch.set_num_threads would also change MKL in all threads.
    """
    _limits.kept = threadpool_limits(1, user_api="openmp")


class EpochSampler:
    """The training subset in a new order each epoch, as a function of only (seed, epoch).

    Yields (positions, repeat_index, dihedral) of one process's share of each batch. batch_size counts the galaxies of
    one optimizer step over all processes. The last, incomplete batch is dropped, which differs from epoch to epoch.

    Attributes:
        same_order: every epoch has the order of the first one (for overfit_batches).
        skip: batches of the next epoch that were trained on before a restart.
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int, seed: int, balance: str = "none", rank: int = 0, world: int = 1
    ):
        self.labels, self.batch_size, self.seed, self.balance = labels, batch_size, seed, balance
        self.rank, self.world = rank, world
        self.epoch = 0
        self.same_order = False
        self.skip = 0
        self._total = len(self._plan()[0])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this at the start of every epoch, and after a restart."""
        self.epoch = 0 if self.same_order else epoch

    def _plan(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return epoch_plan(self.labels, self.balance, np.random.default_rng((self.seed, self.epoch)))

    def __len__(self) -> int:
        return max(1, self._total // self.batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        plan, skip = self._plan(), self.skip
        self.skip = 0
        for start in range(skip * self.batch_size, len(self) * self.batch_size, self.batch_size):
            batch = [part[start : start + self.batch_size] for part in plan]
            share = len(batch[0]) // self.world
            if share == 0:  # fewer galaxies than processes: each process gets all
                yield batch[0], batch[1], batch[2]
                continue
            mine = slice(self.rank * share, (self.rank + 1) * share)
            yield batch[0][mine], batch[1][mine], batch[2][mine]


class SequentialSampler:
    """Every row once, in file order; process `rank` of `world` takes every world-th batch.

    All processes get the same number of batches. If they do not divide, the last batch is repeated: remove repeated
    rows after gathering.
    """

    def __init__(self, num_rows: int, batch_size: int, rank: int = 0, world: int = 1):
        self.num_rows, self.batch_size, self.rank, self.world = num_rows, batch_size, rank, world
        self._batches = -(-num_rows // batch_size)

    def __len__(self) -> int:
        return -(-self._batches // self.world)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for i in range(len(self)):
            number = min(i * self.world + self.rank, self._batches - 1)
            start = number * self.batch_size
            positions = np.arange(start, min(start + self.batch_size, self.num_rows))
            zeros = np.zeros_like(positions)
            yield positions, zeros, zeros


class GalaxyLoader:
    """Batches of one subset, prefetched by a thread.

    A batch is a dict of images (B, H, W, 3) uint8; labels, rows, repeat_index and dihedral (B,) int64; votes (B, C), if
    there are any; and `first`, row and repeat_index of the first image as numbers, which on a GPU would need a
    synchronisation.

    Args:
        images: the store's whole array; None if the pixels are cached on the device: batches then have `positions`
            (B,) within the subset in place of images.
        rows, labels: (n,) of this subset.
        prepare: (batch, epoch) → batch, called by the prefetching thread on one core.
        votes: (n, C) float32 of this subset; None without votes.

    Attributes:
        waited_s: seconds that the consumer has waited for batches.
    """

    batch_sampler = None  # Lightning reads this, and `sampler`, on which it sets the epoch

    def __init__(
        self,
        images: np.ndarray | None,
        rows: np.ndarray,
        labels: np.ndarray,
        sampler: EpochSampler | SequentialSampler,
        pin_memory: bool = False,
        prepare: Callable[[dict[str, Any], int], dict[str, Any]] | None = None,
        votes: np.ndarray | None = None,
    ):
        self.images, self.rows, self.labels, self.sampler, self.pin_memory = images, rows, labels, sampler, pin_memory
        self.prepare, self.votes = prepare, votes
        self.waited_s = 0.0

    def __len__(self) -> int:
        return len(self.sampler)

    def _gather(self, plan: tuple[np.ndarray, np.ndarray, np.ndarray], epoch: int) -> dict[str, Any]:
        positions, repeat_index, dihedral = plan
        rows = self.rows[positions]
        pixels = {"positions": positions} if self.images is None else {"images": self.images[rows]}
        batch: dict[str, Any] = {
            **{key: torch.from_numpy(value) for key, value in pixels.items()},
            "labels": torch.from_numpy(self.labels[positions]),
            "rows": torch.from_numpy(rows),
            "repeat_index": torch.from_numpy(repeat_index),
            "dihedral": torch.from_numpy(dihedral),
            "first": (int(rows[0]), int(repeat_index[0])),
        }
        if self.votes is not None:
            batch[VOTES] = torch.from_numpy(self.votes[positions])
        if self.prepare is not None:
            batch = self.prepare(batch, epoch)
        if not self.pin_memory:
            return batch
        return {key: x.pin_memory() if isinstance(x, torch.Tensor) else x for key, x in batch.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = getattr(self.sampler, "epoch", 0)
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead", initializer=_limit_to_one_core) as reader:
            ahead = []
            for plan in self.sampler:
                ahead.append(reader.submit(self._gather, plan, epoch))
                if len(ahead) > PREFETCHED_BATCHES:
                    yield self._wait_for(ahead.pop(0))
            while ahead:
                yield self._wait_for(ahead.pop(0))

    def _wait_for(self, future: Any) -> dict[str, Any]:
        start = time.perf_counter()
        batch: dict[str, Any] = future.result()
        self.waited_s += time.perf_counter() - start
        return batch
