"""Training batches of somebody's own LightningDataModule in an order that a restart repeats."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch

from galaxy10.data.counter_rng import sample_seeds


def repeat_order(data: L.LightningDataModule, seed: int) -> None:
    """Let every epoch of a data module's training loader begin with generators seeded by (seed, epoch, process).

    A loader that shuffles draws from them. Lightning makes its iterator at another point of the random stream when it
    resumes. A run that goes on within an epoch leaves out the batches that it has had.
    """
    data.train_dataloader = _RepeatableHook(data, data.train_dataloader, seed)  # type: ignore[method-assign]


class _RepeatableHook:
    """A train_dataloader hook whose loader is repeatable."""

    def __init__(self, data: L.LightningDataModule, hook: Any, seed: int):
        self._data, self._hook, self._seed = data, hook, seed
        self.__wrapped__ = hook  # Lightning looks through it at what the data module overrides

    def __call__(self) -> Any:
        return _RepeatableLoader(self._data, self._hook(), self._seed)


class _RepeatableLoader:
    """A loader of any kind, which draws when its first batch is asked for, not when Lightning makes its iterator."""

    def __init__(self, data: L.LightningDataModule, loader: Any, seed: int):
        self._data, self._loader, self._seed = data, loader, seed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # as copying and pickling ask, before there is a loader
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        trainer: Any = self._data.trainer
        epoch, rank = (trainer.current_epoch, trainer.global_rank) if trainer else (0, 0)
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer else 0
        key = int(sample_seeds(self._seed, epoch, torch.tensor([-1 - rank]))) & 0x7FFF_FFFF_FFFF_FFFF
        torch.manual_seed(key)
        np.random.seed(key & 0xFFFF_FFFF)  # noqa: NPY002 - the global one, from which data sets of others draw
        random.seed(key)
        yield from islice(self._loader, done, None)
