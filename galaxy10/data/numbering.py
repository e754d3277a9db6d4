"""Rows for the batches of somebody's own LightningDataModule: each image's place in its data set, or in its loader."""

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

from galaxy10.data.variations import generators_seeded

_OF_ALL = (SequentialSampler, RandomSampler, WeightedRandomSampler, DistributedSampler)


def number_rows(data: L.LightningDataModule, rows: Mapping[str, np.ndarray]) -> None:
    """Let a data module's loaders give `rows` in every batch that has none.

    A torch DataLoader of a map-style data set gives each image its place in the data set, whatever the sampler and
    however many processes share it. Other loaders are counted through, from process to process in turn.

    Args:
        rows: of each subset, by the place in the data set (see places_of), or as in_order has them.
    """
    for subset, numbers in rows.items():
        method = f"{subset}_dataloader"
        hook = getattr(data, method)
        if is_overridden(method, data, L.LightningDataModule) and not isinstance(hook, _NumberedHook):
            setattr(data, method, _NumberedHook(data, hook, numbers))


def repeat_setup(data: L.LightningDataModule) -> None:
    """Let a data module's `setup` draw the same numbers whenever it is called, and change nobody else's.

    Lightning calls it once per stage, and so does whoever resumes a run: a random split that it draws would put test
    images among the training images. Which split it is does not depend on the run's seed.
    """
    hook = data.setup

    def setup(stage: str) -> None:
        with generators_seeded(0, torch.device("cpu")):
            hook(stage)

    data.setup = setup  # type: ignore[method-assign]


def places_of(loader: Any) -> np.ndarray | None:
    """Return which places of its data set a loader's images have, in order; None where it is no DataLoader of one.

    A sampler of torch's that goes through all of a data set does; of another, those places count that it gives first.
    """
    if not _is_indexed(loader):
        return None
    own = type(loader.batch_sampler) is not BatchSampler
    if not own and isinstance(loader.sampler, _OF_ALL):
        return np.arange(len(loader.dataset))
    given = islice(loader.batch_sampler, len(loader)) if own else ([place] for place in loader.sampler)
    return np.unique([place for batch in given for place in batch]).astype(np.int64)


def in_order(loader: Any) -> Iterable[Any]:
    """Return a loader's batches with each image once: in the order of its data set, where it has one."""
    places = places_of(loader)
    if places is None:
        return loader
    images = loader.dataset if len(places) == len(loader.dataset) else Subset(loader.dataset, places.tolist())
    return DataLoader(
        images, batch_size=loader.batch_size or 64, collate_fn=loader.collate_fn, num_workers=loader.num_workers
    )


class _NumberedHook:
    """A dataloader hook whose loaders give rows."""

    def __init__(self, data: L.LightningDataModule, hook: Any, rows: np.ndarray):
        self._data, self._hook, self._rows = data, hook, rows
        self.__wrapped__ = hook  # Lightning looks through it at what the data module overrides

    def __call__(self) -> Any:
        loader = self._hook()
        if _is_indexed(loader):
            return _with_indices(loader, self._rows)
        trainer = self._data.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return _CountedLoader(loader, self._rows, rank, world)


class _CountedLoader:
    """A loader of any kind, whose batches are numbered as they come."""

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
    """Whether a loader collates items of a data set by their index, and nothing else."""
    return (
        isinstance(loader, DataLoader)
        and type(loader).__iter__ is DataLoader.__iter__
        and loader.batch_sampler is not None
        and not isinstance(loader.dataset, IterableDataset)
        and hasattr(loader.dataset, "__len__")
    )


def _with_indices(loader: Any, rows: np.ndarray) -> Any:
    """The same DataLoader, with each image's place in the data set among what is collated."""
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


class _Indexed(Dataset):
    """A data set whose items come with their index."""

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
    """A collate function that adds rows; a class, so that worker processes can be given it."""

    def __init__(self, collate: Any, rows: np.ndarray):
        self._collate, self._rows = collate, rows

    def __call__(self, items: list[tuple[int, Any]]) -> Any:
        batch = self._collate([item for _, item in items])
        return {"rows": torch.from_numpy(self._rows[[index for index, _ in items]]), **batch}
