"""From the store to batches: one gather each, read ahead by a thread, the same batches at any number of devices."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from galaxy10.data.resampling import epoch_plan

READ_AHEAD = 2  # batches


_limits = threading.local()


def _take_one_core() -> None:
    """This thread's own operations run on one core: a second team of OpenMP's would wait for the network's by spinning.

    Not torch.set_num_threads, which in this thread, too, changes what MKL does in all.
    """
    _limits.kept = threadpool_limits(1, user_api="openmp")


class EpochSampler:
    """The training subset in a new order each epoch, as a function of (seed, epoch) alone.

    Yields (positions, copies, dihedral) of one process's share of each batch. batch_size counts the galaxies of
    one optimizer step over all processes. The last, incomplete batch is left out; every epoch leaves out others.
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int, seed: int, balance: str = "none", rank: int = 0, world: int = 1
    ):
        self.labels, self.batch_size, self.seed, self.balance = labels, batch_size, seed, balance
        self.rank, self.world = rank, world
        self.epoch = 0
        self.repeats = False  # the order of the first epoch in all of them
        self.skip = 0  # batches of the next epoch that were trained on before a restart
        self._total = len(self._plan()[0])

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch, and after a restart."""
        self.epoch = 0 if self.repeats else epoch

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
            if share == 0:  # fewer galaxies than processes: each process shows the same few
                yield batch[0], batch[1], batch[2]
                continue
            mine = slice(self.rank * share, (self.rank + 1) * share)
            yield batch[0][mine], batch[1][mine], batch[2][mine]


class SequentialSampler:
    """Every row once, in file order; each process takes every world-th batch.

    All processes get the same number of batches, the last ones repeated where they do not divide: whoever gathers
    the answers drops the repeats by row.
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
    """Batches of one subset: dicts of images (B, H, W, 3) uint8, labels, rows, copies, dihedral (B,) int64, and
    `first`, the row and the copy number of the first image, which on a GPU would cost a wait to look up.

    images: the store's whole array; None where the pixels wait on the device: then batches have `positions` (B,)
    within the subset in place of images.
    rows, labels: (n,) of this subset.
    prepare: (batch, epoch) → batch, done by the thread that reads ahead, on one core, while the consumer computes.
    waited_s adds up the seconds that the consumer stood still for the next batch.
    """

    batch_sampler = None  # Lightning looks for it, and for `sampler`, on which it sets the epoch

    def __init__(
        self,
        images: np.ndarray | None,
        rows: np.ndarray,
        labels: np.ndarray,
        sampler: EpochSampler | SequentialSampler,
        pin_memory: bool = False,
        prepare: Callable[[dict[str, Any], int], dict[str, Any]] | None = None,
    ):
        self.images, self.rows, self.labels, self.sampler, self.pin_memory = images, rows, labels, sampler, pin_memory
        self.prepare = prepare
        self.waited_s = 0.0

    def __len__(self) -> int:
        return len(self.sampler)

    def _gather(self, plan: tuple[np.ndarray, np.ndarray, np.ndarray], epoch: int) -> dict[str, Any]:
        positions, copies, dihedral = plan
        rows = self.rows[positions]
        pixels = {"positions": positions} if self.images is None else {"images": self.images[rows]}
        batch: dict[str, Any] = {
            **{key: torch.from_numpy(value) for key, value in pixels.items()},
            "labels": torch.from_numpy(self.labels[positions]),
            "rows": torch.from_numpy(rows),
            "copies": torch.from_numpy(copies),
            "dihedral": torch.from_numpy(dihedral),
            "first": (int(rows[0]), int(copies[0])),
        }
        if self.prepare is not None:
            batch = self.prepare(batch, epoch)
        if not self.pin_memory:
            return batch
        return {key: x.pin_memory() if isinstance(x, torch.Tensor) else x for key, x in batch.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = getattr(self.sampler, "epoch", 0)
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead", initializer=_take_one_core) as reader:
            ahead = []
            for plan in self.sampler:
                ahead.append(reader.submit(self._gather, plan, epoch))
                if len(ahead) > READ_AHEAD:
                    yield self._take(ahead.pop(0))
            while ahead:
                yield self._take(ahead.pop(0))

    def _take(self, future: Any) -> dict[str, Any]:
        start = time.perf_counter()
        batch = future.result()
        self.waited_s += time.perf_counter() - start
        return batch
