"""Seed the training loader of a custom LightningDataModule in every epoch, so that a restart repeats its order."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch

from galaxy10.data.counter_rng import sample_seeds


def seed_epochs(data: L.LightningDataModule, seed: int) -> None:
    """Seed the global generators by (seed, epoch, process) before every epoch of a data module's training loader.

    A loader that shuffles draws from them, and Lightning makes its iterator at another point of the random stream when
    it resumes. A run that resumes within an epoch skips the batches that are done.
    """
    data.train_dataloader = _SeededHook(data, data.train_dataloader, seed)  # type: ignore[method-assign]


class _SeededHook:
    """A train_dataloader hook whose loader is seeded in every epoch."""

    def __init__(self, data: L.LightningDataModule, hook: Any, seed: int):
        self._data, self._hook, self._seed = data, hook, seed
        self.__wrapped__ = hook  # Lightning unwraps this to find what the data module overrides

    def __call__(self) -> Any:
        return _SeededLoader(self._data, self._hook(), self._seed)


class _SeededLoader:
    """A loader of any kind that is seeded at its first batch, not when Lightning makes its iterator."""

    def __init__(self, data: L.LightningDataModule, loader: Any, seed: int):
        self._data, self._loader, self._seed = data, loader, seed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling read these before there is a loader
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
        np.random.seed(key & 0xFFFF_FFFF)  # noqa: NPY002 - custom data sets draw from the global generator
        random.seed(key)
        yield from islice(self._loader, done, None)
