"""Add rows to the batches of a custom LightningDataModule: indices in its data set, or places in its loader."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
)

from galaxy10.data.custom_transforms import temporary_seed

_OF_ALL = (SequentialSampler, RandomSampler, WeightedRandomSampler, DistributedSampler)


def number_rows(data: L.LightningDataModule, rows: Mapping[str, np.ndarray]) -> None:
    """Add `rows` to every batch of a data module's loaders that has none.

    For a torch DataLoader of a map-style data set, rows follow the index in the data set, for any sampler and number of
    processes. The images of other loaders are counted, with processes in turn.

    Args:
        rows: of each subset, by index in the data set (see dataset_indices), or in the order of sequential_batches.
    """
    for subset, numbers in rows.items():
        method = f"{subset}_dataloader"
        hook = getattr(data, method)
        if is_overridden(method, data, L.LightningDataModule) and not isinstance(hook, _NumberedHook):
            setattr(data, method, _NumberedHook(data, hook, numbers))


def make_setup_repeatable(data: L.LightningDataModule) -> None:
    """Seed a data module's `setup` with the same number on every call, and restore the generators afterwards.

    Lightning calls `setup` once per stage, and a resumed run calls it again: a random split would otherwise put test
    images among the training images. The split does not depend on the run's seed.
    """
    hook = data.setup

    def setup(stage: str) -> None:
        with temporary_seed(0, torch.device("cpu")):
            hook(stage)

    data.setup = setup  # type: ignore[method-assign]


def dataset_indices(loader: Any) -> np.ndarray | None:
    """Return the sorted indices (n,) of a loader's images in its data set; None for no DataLoader of a map-style one.

    torch's samplers of a whole data set give all indices; another sampler is iterated once.
    """
    if not _is_indexed(loader):
        return None
    own = type(loader.batch_sampler) is not BatchSampler
    if not own and isinstance(loader.sampler, _OF_ALL):
        return np.arange(len(loader.dataset))
    batches = islice(loader.batch_sampler, len(loader)) if own else ([index] for index in loader.sampler)
    return np.unique([index for batch in batches for index in batch]).astype(np.int64)


def sequential_batches(loader: Any) -> Iterable[Any]:
    """Return a loader's batches with each image once, in the order of its data set if it has one."""
    indices = dataset_indices(loader)
    if indices is None:
        batches: Iterable[Any] = loader
        return batches
    images = loader.dataset if len(indices) == len(loader.dataset) else Subset(loader.dataset, indices.tolist())
    return DataLoader(
        images, batch_size=loader.batch_size or 64, collate_fn=loader.collate_fn, num_workers=loader.num_workers
    )


class _NumberedHook:
    """A dataloader hook whose loaders add rows."""

    def __init__(self, data: L.LightningDataModule, hook: Any, rows: np.ndarray):
        self._data, self._hook, self._rows = data, hook, rows
        self.__wrapped__ = hook  # Lightning unwraps this to find what the data module overrides

    def __call__(self) -> Any:
        loader = self._hook()
        if _is_indexed(loader):
            return _with_indices(loader, self._rows)
        trainer = self._data.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return _CountedLoader(loader, self._rows, rank, world)


class _CountedLoader:
    """A loader of any kind whose images are counted."""

    def __init__(self, loader: Any, rows: np.ndarray, rank: int, world: int):
        self._loader, self._rows, self._rank, self._world = loader, rows, rank, world

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        place = self._rank
        for batch in self._loader:
            places = place + self._world * np.arange(len(batch["labels"]))
            place += self._world * len(places)
            yield {"rows": torch.from_numpy(self._rows[places % max(1, len(self._rows))]), **batch}


def _is_indexed(loader: Any) -> bool:
    """Return whether a loader is a plain DataLoader of a map-style data set."""
    return (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and loader.batch_sampler is not None
        and not isinstance(loader.dataset, IterableDataset)
        and hasattr(loader.dataset, "__len__")
    )


def _with_indices(loader: Any, rows: np.ndarray) -> Any:
    """Return a copy of a DataLoader that also collates each image's row."""
    if type(loader.batch_sampler) is BatchSampler:
        batches = {"sampler": loader.sampler, "batch_size": loader.batch_size, "drop_last": loader.drop_last}
    else:
        batches = {"batch_sampler": loader.batch_sampler}
    return DataLoader(
        _Indexed(loader.dataset),
        **batches,
        collate_fn=_Collate(loader.collate_fn, rows),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


class _Indexed(Dataset[tuple[int, Any]]):
    """A data set whose items are (index, item)."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.dataset[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Any]]:
        together = getattr(self.dataset, "__getitems__", None)
        items = together(indices) if together else [self.dataset[index] for index in indices]
        return list(zip(indices, items, strict=True))


class _Collate:
    """A collate function that adds rows; a class, so that it can be pickled for worker processes."""

    def __init__(self, collate: Any, rows: np.ndarray):
        self._collate, self._rows = collate, rows

    def __call__(self, items: list[tuple[int, Any]]) -> Any:
        batch = self._collate([item for _, item in items])
        return {"rows": torch.from_numpy(self._rows[[index for index, _ in items]]), **batch}
