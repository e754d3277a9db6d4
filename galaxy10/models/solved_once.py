"""Modules that rank 0 solves at the start of the first epoch, instead of learning in steps."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import nn

from galaxy10.data.datamodule import GalaxyData
from galaxy10.errors import TrainingError
from galaxy10.models.classifier import Classifier


class SolvedOnce(Classifier):
    """A module that is solved on rank 0; the epoch's batches only measure the result, and training ends after it.

    A subclass sets `automatic_optimization` to False, and its training_step steps the optimizer, which changes nothing.
    """

    @abstractmethod
    def solved(self) -> list[nn.Parameter]:
        """Return the parameters that are solved; they are broadcast from rank 0."""

    @abstractmethod
    def solve_and_write(self, data: GalaxyData, rows: np.ndarray, labels: np.ndarray) -> None:
        """Solve on rank 0, and write to the run directory how.

        Args:
            rows, labels: (n,) training images.
        """

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer that counts steps and changes no weight."""
        return torch.optim.SGD(self.solved()[-1:], lr=0.0)

    def on_train_epoch_start(self) -> None:
        """Solve on rank 0, and broadcast.

        Raises:
            TrainingError: the data module is not galaxy10.data.GalaxyData.
        """
        if self.current_epoch > 0:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, GalaxyData):
            raise TrainingError(
                f"{type(self).__name__} needs the store of galaxy10.data.GalaxyData; type data=hdf5 or another model"
            )
        if self.trainer.is_global_zero:
            self.solve_and_write(data, *self._training_images(data))
        if self.trainer.world_size > 1:
            for parameter in self.solved():
                torch.distributed.broadcast(parameter.data, src=0)

    def _training_images(self, data: GalaxyData) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and labels (n,) of the training images that Lightning's limits leave."""
        rows, labels = data.split.rows("train"), data.labels("train")
        limit = training_limit(
            self.trainer.num_training_batches, len(data.loaders["train"]), data.batch_size, len(rows)
        )
        if limit == len(rows):
            return rows, labels
        chosen = np.sort(np.random.default_rng(data.seed).permutation(len(rows))[:limit])
        return rows[chosen], labels[chosen]

    def on_train_epoch_end(self) -> None:
        """Stop after the first epoch."""
        self.trainer.should_stop = True


def training_limit(batches: float, all_batches: int, batch_size: int, num_rows: int) -> int:
    """Return the number of training images that Lightning's limits leave, 1 to num_rows.

    batches: how many of all_batches Lightning trains on; the last, incomplete batch is not among them.
    """
    return num_rows if batches >= all_batches else max(1, min(num_rows, int(batches * batch_size)))
