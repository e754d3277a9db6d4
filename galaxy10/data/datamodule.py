"""The LightningDataModule: one labelled file, its split, and batches that the training device augments."""

import time
from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
import torch

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.device_cache import upload, use_device_cache
from galaxy10.data.loader import EpochSampler, GalaxyLoader, SequentialSampler
from galaxy10.data.split import Split
from galaxy10.data.store import Store, channel_statistics


class GalaxyData(L.LightningDataModule):
    """Train, val and test batches of one store under one split.

    Batches cross to the device as uint8; normalisation and augmentation act there, on the whole batch, and leave
    {"inputs": (B, 3, S, S) float32, "labels": (B,), "rows": (B,)}. Where the CPU trains, the thread that reads ahead
    does it, meanwhile.

    Args:
        batch_size: galaxies per optimizer step, over all devices.
        eval_batch_size: galaxies per evaluation batch, per device.
        cache_on_device: keep the training images in the GPU's memory: true, false or auto (see device_cache.py).
        seed: moves order and augmentation, never the split.
    """

    def __init__(
        self,
        store: Store,
        split: Split,
        class_names: Sequence[str],
        *,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        balance: str = "none",
        augmentation: Augmentation | None = None,
        cache_on_device: bool | str = False,
        seed: int = 0,
    ):
        super().__init__()
        self.store, self.split, self.class_names = store, split, tuple(class_names)
        self.batch_size, self.eval_batch_size, self.balance, self.seed = batch_size, eval_batch_size, balance, seed
        self.augmentation, self.cache_on_device = augmentation or Augmentation(), cache_on_device
        self.preprocessing: Preprocessing | None = None
        self.loaders: dict[str, GalaxyLoader] = {}
        self._resident: torch.Tensor | None = None
        self._prepared_s = 0.0
        self._batches_done = 0

    def training_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, on the 0–1 scale, of the training subset."""
        return channel_statistics(self.store.table.iloc[self.split.rows("train")])

    def labels(self, subset: str) -> np.ndarray:
        """(n,) int64 labels of one subset, in file order."""
        table = self.split.table
        return table.loc[table["subset"] == subset, "label"].to_numpy(np.int64)

    def train_dataloader(self) -> GalaxyLoader:
        """Batches of the training subset, in an order that depends on (seed, epoch) alone."""
        rank, world = self._processes()
        labels = self.labels("train")
        sampler = EpochSampler(labels, self.batch_size, self.seed, self.balance, rank, world)
        sampler.repeats = bool(getattr(self.trainer, "overfit_batches", 0))
        sampler.skip, self._batches_done = self._batches_done, 0
        return self._loader("train", sampler)

    def val_dataloader(self) -> GalaxyLoader:
        """The validation subset, every galaxy once."""
        return self._sequential("val")

    def test_dataloader(self) -> GalaxyLoader:
        """The test subset, every galaxy once."""
        return self._sequential("test")

    def _sequential(self, subset: str) -> GalaxyLoader:
        rank, world = self._processes()
        return self._loader(subset, SequentialSampler(len(self.split.rows(subset)), self.eval_batch_size, rank, world))

    def _loader(self, subset: str, sampler: EpochSampler | SequentialSampler) -> GalaxyLoader:
        device = self.trainer.strategy.root_device.type if self.trainer is not None else None
        prepare = (self.prepared if subset == "train" else self._prepared_plainly) if device == "cpu" else None
        images = None if subset == "train" and self._on_device() else self.store.images
        loader = GalaxyLoader(images, self.split.rows(subset), self.labels(subset), sampler, device == "cuda", prepare)
        self.loaders[subset] = loader
        return loader

    def uses_device_cache(self, device: torch.device) -> bool:
        """Where the training galaxies of a run on this device wait: host or device. Once said, it stays so."""
        rows = len(self.split.rows("train"))
        num_bytes = rows * self.store.images[:1].nbytes
        self.cache_on_device = use_device_cache(self.cache_on_device, num_bytes, device)
        return self.cache_on_device

    def _on_device(self) -> bool:
        """Whether training galaxies are on the device; the first time, bring them there."""
        if self.trainer is None or not self.uses_device_cache(self.trainer.strategy.root_device):
            return False
        if self._resident is None:
            device = self.trainer.strategy.root_device
            self._resident = upload(self.store.images, self.split.rows("train"), device)
        return True

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def augmented(self, batch: dict[str, Any], epoch: int) -> torch.Tensor:
        """A training batch's network input (B, 3, S, S) as it is in a given epoch."""
        assert self.preprocessing is not None
        return self.preprocessing.train_transform(
            batch["images"],
            self.augmentation,
            self.seed,
            epoch,
            batch["rows"],
            batch["copies"],
            batch["dihedral"],
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, torch.Tensor]:
        """Lightning's hook: from pixels to network input, on the device that trains, unless that is done already."""
        assert self.trainer is not None
        if "inputs" in batch:
            return batch
        if not self.trainer.training:
            return self._prepared_plainly(batch)
        start = time.perf_counter()
        batch = self.prepared(batch, self.trainer.current_epoch)
        self._prepared_s += time.perf_counter() - start
        return batch

    def prepared(self, batch: dict[str, Any], epoch: int) -> dict[str, torch.Tensor]:
        """A batch as the loader gathers it → inputs (B, 3, S, S), labels and rows, augmented for an epoch."""
        if self._resident is not None:
            batch = {**batch, "images": self._resident[batch["positions"]]}
        return {"inputs": self.augmented(batch, epoch), "labels": batch["labels"], "rows": batch["rows"]}

    def _prepared_plainly(self, batch: dict[str, Any], epoch: int = 0) -> dict[str, torch.Tensor]:
        assert self.preprocessing is not None
        inputs = self.preprocessing.eval_transform(batch["images"])
        return {"inputs": inputs, "labels": batch["labels"], "rows": batch["rows"]}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: how many batches of the running epoch are behind it (0 between epochs)."""
        assert self.trainer is not None
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return {"batches_done": done if done < self.trainer.num_training_batches else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """After a restart: the first epoch begins behind those batches."""
        self._batches_done = state_dict["batches_done"]

    def training_data_seconds(self) -> float:
        """Seconds for which training has waited for its batches, and on a GPU launched the work of preparing them."""
        return self.loaders["train"].waited_s + self._prepared_s if "train" in self.loaders else 0.0
