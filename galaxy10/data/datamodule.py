"""The LightningDataModule of one labelled file: its split, and batches that are augmented on the device."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import lightning as L
import numpy as np
import torch
from omegaconf import OmegaConf

from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.batch_transform import BatchTransform
from galaxy10.data.device_cache import upload, use_device_cache
from galaxy10.data.hdf5 import SourceFile
from galaxy10.data.loader import EpochSampler, GalaxyLoader, SequentialSampler
from galaxy10.data.quality import TrainingImages, stored_line
from galaxy10.data.settings import galaxy_data_settings
from galaxy10.data.source import obtain_source, obtain_store
from galaxy10.data.split import Split
from galaxy10.data.split_settings import split_of_settings
from galaxy10.data.store import Store, channel_statistics
from galaxy10.data.train_fraction import keep_train_fraction
from galaxy10.data.votes import check_soft_labels, votes_of
from galaxy10.errors import Galaxy10Error

logger = logging.getLogger(__name__)


class GalaxyData(L.LightningDataModule):
    """Train, val and test batches of one labelled file under one split, for any lightning.Trainer.

    `prepare_data` and `setup` find, download or simulate the file, and make its store and split. Afterwards `source`,
    `store`, `split`, `class_names`, `class_counts` and `preprocessing` are set.

    Batches are copied to the device as uint8; normalisation and augmentation run there, on the whole batch, and give
    {"inputs": (B, 3, S, S) float32, "labels": (B,), "rows": (B,)}, with "votes": (B, C) float32 if the file has votes.
    On the CPU, the prefetching thread runs them.

    Args:
        name: galaxy10 (the published file), hdf5 (the file at `path`) or simulated; default: hdf5 if `path` is given.
        path: an HDF5 file with `images` (N, H, W, 3) uint8 and `ans` (N,) or `votes` (N, C), a folder with one folder
            per class, a table of paths and labels, or the input of `reader`.
        dir: folder of downloaded and simulated files.
        variant: of the published file: full (default) or no_duplicates.
        class_names: names in label order; default: the file's.
        store_dir: folder of stores; default: beside the file if writable, else `dir`.
        reader: read(path) → (images, labels, class names[, table]), see readers.py; or a mapping with its `_target_`
            and further arguments. Default: by the type of `path`.
        vote_columns: the columns of a table with the votes for each class, in place of a column of labels.
        soft_labels: whether training batches have the votes for each class, if the file has votes: true, false, or auto
            (true if it has). Evaluation batches always have them.
        protocol, split_seed, num_folds, fold, duplicates, blanks, group_radius_arcsec: see
            split.make_split. The published file has the split galaxy10-split-v1 unless one of them is set.
        split_file: a table with the split (split_table.read_split_file), in place of a drawn one.
        train_fraction: of the training images, to train on (default: all); drawn by `seed`, see
            train_fraction.keep_train_fraction.
        balance: none, soft, dihedral or weighted, see resampling.py.
        batch_size: images per optimizer step, over all devices.
        eval_batch_size: images per evaluation batch, per device.
        cache_on_device: keep the training images in the GPU's memory: true, false or auto (see device_cache.py).
        num_images, image_px, simulation_seed: of a simulated survey.
        augmentation: an Augmentation, or a mapping of its settings; default: none.
        image_size: px of the network's square input; default: the smaller side of the file's images.
        preprocessing: how stored pixels become inputs; default: the training subset's mean and standard deviation at
            image_size. A LightningModule whose `preprocessing` is not None decides instead; one where it is None is
            given this one.
        seed: of order, augmentation and the images that train_fraction keeps; the split does not depend on it.

    Raises:
        Galaxy10Error: a setting or the file is wrong.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        path: str | PathLike[str] | None = None,
        dir: str | PathLike[str] = "data",
        variant: str | None = None,
        class_names: Sequence[str] | None = None,
        store_dir: str | PathLike[str] | None = None,
        reader: Callable[..., Any] | Mapping[str, Any] | None = None,
        vote_columns: Sequence[str] | None = None,
        soft_labels: bool | str = "auto",
        protocol: str = "default",
        split_seed: int = 0,
        num_folds: int | None = None,
        fold: int | None = None,
        duplicates: str = "drop",
        blanks: str = "drop",
        group_radius_arcsec: float | None = None,
        split_file: str | PathLike[str] | None = None,
        train_fraction: float | None = None,
        balance: str = "soft",
        batch_size: int = 32,
        eval_batch_size: int = 64,
        cache_on_device: bool | str = "auto",
        num_images: int = 2000,
        image_px: int = 256,
        simulation_seed: int = 0,
        augmentation: Augmentation | Mapping[str, Any] | None = None,
        image_size: int | None = None,
        preprocessing: Preprocessing | None = None,
        seed: int = 0,
    ):
        arguments = dict(locals())
        super().__init__()
        self.settings = galaxy_data_settings(arguments)
        self.settings["reader"] = _plain(reader)
        self.batch_size, self.eval_batch_size, self.balance, self.seed = batch_size, eval_batch_size, balance, seed
        self.cache_on_device, self.image_size = cache_on_device, image_size
        given = _plain(augmentation)
        self.augmentation = given if isinstance(given, Augmentation) else Augmentation.from_config(given or {})
        self.transform = BatchTransform(self.augmentation, seed)
        self.source: SourceFile | None = None
        self.loaders: dict[str, GalaxyLoader] = {}
        self._store: Store | None = None
        self._split: Split | None = None
        self._class_names: tuple[str, ...] = ()
        self._own_preprocessing, self._preprocessing_of_module = preprocessing, None
        self._prepared_s = 0.0
        self._batches_done = 0
        self._first_images = TrainingImages()

    @classmethod
    def from_store(
        cls,
        store: Store,
        split: Split,
        class_names: Sequence[str],
        *,
        balance: str = "none",
        cache_on_device: bool | str = False,
        **options: Any,
    ) -> "GalaxyData":
        """Return the data module of an existing store and split; nothing is read or made.

        Args:
            options: batch_size, eval_batch_size, augmentation, image_size, preprocessing, seed.
        """
        data = cls("hdf5", path=store.path, balance=balance, cache_on_device=cache_on_device, **options)
        data._store, data._split, data._class_names = store, split, tuple(class_names)
        return data

    # --- file, store and split ------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Download or simulate the file, and build its store; Lightning calls this once per machine."""
        self._read()

    def setup(self, stage: str | None = None) -> None:
        """Open the store, make the split, and share the preprocessing with the trainer's module."""
        self._read()
        if self._split is None:
            split = split_of_settings(self.settings, self.store, self.class_names)
            notes = (*(self.source.notes if self.source else ()), stored_line(self.store.table), *split.notes)
            split = replace(split, notes=tuple(filter(None, notes)))
            every_class = votes_of(self.store.table) is None
            fraction = self.settings["train_fraction"]
            self._split = keep_train_fraction(split, fraction, self.seed, self.class_names, every_class)
        self._share_preprocessing()

    def _read(self) -> None:
        if self._store is None:
            self.source = obtain_source(self.settings)
            self._class_names = self.source.names
            check_soft_labels(self.settings["soft_labels"], self.source.table, self.source.path)
            self._store = obtain_store(self.settings, self.source)

    @property
    def store(self) -> Store:
        """Return the store: all images of the file, and a table with a line for each."""
        if self._store is None:
            raise _not_set_up("store")
        return self._store

    @property
    def split(self) -> Split:
        """Return the split into train, val and test."""
        if self._split is None:
            raise _not_set_up("split")
        return self._split

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the class names in label order."""
        if not self._class_names:
            raise _not_set_up("class names")
        return self._class_names

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def class_counts(self) -> np.ndarray:
        """Return the number of training images of each class, (C,) int64."""
        return np.bincount(self.labels("train"), minlength=self.num_classes)

    @property
    def preprocessing(self) -> Preprocessing | None:
        """Return how pixels become inputs: of the trainer's module, else as given, else from the training subset.

        None before setup if it was not given.
        """
        if self._preprocessing_of_module is not None:
            return self._preprocessing_of_module
        if self._own_preprocessing is None and self._split is not None:
            mean, std = self.training_statistics()
            size = self.image_size or min(self.store.images.shape[1:3])
            self._own_preprocessing = Preprocessing(size, mean, std, noise_sigma=std)
        return self._own_preprocessing

    @preprocessing.setter
    def preprocessing(self, preprocessing: Preprocessing | None) -> None:
        self._own_preprocessing = preprocessing

    def _share_preprocessing(self) -> None:
        module: Any = self.trainer.lightning_module if self.trainer is not None else None
        self._preprocessing_of_module = getattr(module, "preprocessing", None)
        if self._preprocessing_of_module is None and hasattr(module, "preprocessing"):
            module.preprocessing = self.preprocessing

    def training_statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation per channel, on the 0–1 scale, of the training subset."""
        return channel_statistics(self.store.table.iloc[self.split.rows("train")])

    def labels(self, subset: str) -> np.ndarray:
        """Return the labels (n,) int64 of one subset, in file order."""
        table = self.split.table
        return table.loc[table["subset"] == subset, "label"].to_numpy(np.int64)

    def votes(self, subset: str) -> np.ndarray | None:
        """Return the votes (n, C) float32 of one subset, in file order; None if the file has none."""
        votes = votes_of(self.store.table)
        return None if votes is None else votes[self.split.rows(subset)].astype(np.float32)

    @property
    def training_votes(self) -> np.ndarray | None:
        """Return the votes (n, C) float32 of the training subset; None if the labels are trained on."""
        return None if self.settings["soft_labels"] is False else self.votes("train")

    # --- loaders --------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> GalaxyLoader:
        """Return batches of the training subset, in an order that depends only on (seed, epoch)."""
        rank, world = self._processes()
        labels = self.labels("train")
        sampler = EpochSampler(labels, self.batch_size, self.seed, self.balance, rank, world)
        sampler.same_order = bool(getattr(self.trainer, "overfit_batches", 0))
        sampler.skip, self._batches_done = self._batches_done, 0
        return self._loader("train", sampler)

    def val_dataloader(self) -> GalaxyLoader:
        """Return batches of the validation subset, every galaxy once."""
        return self._sequential("val")

    def test_dataloader(self) -> GalaxyLoader:
        """Return batches of the test subset, every galaxy once."""
        return self._sequential("test")

    def predict_dataloader(self) -> GalaxyLoader:
        """Return batches of the test subset, every galaxy once."""
        return self._sequential("test")

    def _sequential(self, subset: str) -> GalaxyLoader:
        rank, world = self._processes()
        return self._loader(subset, SequentialSampler(len(self.split.rows(subset)), self.eval_batch_size, rank, world))

    def _loader(self, subset: str, sampler: EpochSampler | SequentialSampler) -> GalaxyLoader:
        self._share_preprocessing()  # again: a module may set it in its own setup
        device = self.trainer.strategy.root_device.type if self.trainer is not None else None
        prepare = self._prefetched if subset == "train" else self._evaluated
        ahead = device == "cpu" and (subset != "train" or self.transform.can_prefetch)
        images = None if subset == "train" and self._on_device() else self.store.images
        votes = self.training_votes if subset == "train" else self.votes(subset)
        rows, labels = self.split.rows(subset), self.labels(subset)
        loader = GalaxyLoader(images, rows, labels, sampler, device == "cuda", prepare if ahead else None, votes)
        self.loaders[subset] = loader
        return loader

    def uses_device_cache(self, device: torch.device) -> bool:
        """Return whether the training images are kept in this device's memory; the first decision stays."""
        rows = len(self.split.rows("train"))
        num_bytes = rows * self.store.images[:1].nbytes
        self.cache_on_device = use_device_cache(self.cache_on_device, num_bytes, device)
        return self.cache_on_device

    def _on_device(self) -> bool:
        """Return whether the training images are on the device; copy them there the first time."""
        if self.trainer is None or not self.uses_device_cache(self.trainer.strategy.root_device):
            return False
        if self.transform.cached_images is None:
            device = self.trainer.strategy.root_device
            self.transform.cached_images = upload(self.store.images, self.split.rows("train"), device)
        return True

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    # --- batches --------------------------------------------------------------------------------------------------

    def augmented(self, batch: dict[str, Any], epoch: int) -> torch.Tensor:
        """Return the network input (B, 3, S, S) of a training batch in a given epoch."""
        inputs: torch.Tensor = self.transform.train(batch, epoch, self._known_preprocessing)["inputs"]
        return inputs

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, torch.Tensor]:
        """Turn pixels into network inputs on the device, unless the batch was prefetched."""
        assert self.trainer is not None
        if not self.trainer.training:
            return batch if "inputs" in batch else self._evaluated(batch)
        start = time.perf_counter()
        batch = self.transform.train(batch, self.trainer.current_epoch, self._known_preprocessing)
        self._prepared_s += time.perf_counter() - start
        if not self._first_images.complete:
            self._look_at_augmented(batch)
        return batch

    def _look_at_augmented(self, batch: dict[str, torch.Tensor]) -> None:
        """Say if the augmentation spoils the first images."""
        if self.trainer is not None and self.trainer.is_global_zero and "quality" in self.store.table:
            pixels = self._known_preprocessing.denormalize(batch["inputs"]).cpu().numpy()
            line = self._first_images.add(pixels, self.store.table["quality"].iloc[batch["rows"].tolist()].tolist())
            if line:
                logger.info(f"note: {line}")

    @property
    def _known_preprocessing(self) -> Preprocessing:
        if self.preprocessing is None:
            raise _not_set_up("preprocessing")
        return self.preprocessing

    def _prefetched(self, batch: dict[str, Any], epoch: int) -> dict[str, Any]:
        return self.transform.prefetch(batch, epoch, self._known_preprocessing)

    def _evaluated(self, batch: dict[str, Any], epoch: int = 0) -> dict[str, Any]:
        return self.transform.evaluate(batch, self._known_preprocessing)

    # --- restart --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches of the current epoch that are done (0 between epochs), for a checkpoint."""
        assert self.trainer is not None
        done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return {"batches_done": done if done < self.trainer.num_training_batches else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the first epoch after a restart skip the batches that are done."""
        self._batches_done = state_dict["batches_done"]

    def training_data_seconds(self) -> float:
        """Return the seconds that training has waited for batches, and on a GPU launched their preparation."""
        return self.loaders["train"].waited_s + self._prepared_s if "train" in self.loaders else 0.0


def _plain(settings: Any) -> Any:
    """Return settings of OmegaConf as plain containers; return anything else unchanged."""
    return OmegaConf.to_container(settings, resolve=True) if OmegaConf.is_config(settings) else settings


def _not_set_up(what: str) -> Galaxy10Error:
    return Galaxy10Error(
        f"the data module has no {what} yet; call its prepare_data() and setup(), or let a Trainer call them"
    )
