"""Progress of training: a bar or a line per minute within an epoch, and a line for each finished epoch."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L

from galaxy10.evaluation.evaluation_progress import EvaluationProgress
from galaxy10.progress import EveryMinute

logger = logging.getLogger(__name__)

SHOWN = ("train/loss", "val/loss", "val/accuracy", "val/macro_f1")


class TrainingProgress(EvaluationProgress):
    """Show the batches of an epoch done, images per second and the time left, and each epoch's metrics at its end.

    Args:
        bar: whether to draw a bar; None: if standard error is a terminal.
        metrics: metrics in the line of an epoch, in addition to SHOWN.
        every: timer for the lines within an epoch.
    """

    def __init__(self, bar: bool | None = None, metrics: Sequence[str] = (), every: EveryMinute | None = None):
        super().__init__(bar, every)
        self._metrics = tuple(dict.fromkeys((*SHOWN, *metrics)))
        self._epoch_started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; a restart within an epoch does not call on_train_epoch_start."""
        self._epoch_started = self._every.clock()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._epoch_started = self._every.clock()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show the epoch, from its start, or from the batch where it was resumed."""
        if self._shown is None:
            self.begin(trainer, _epoch(trainer), trainer.num_training_batches, done=batch_idx)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the progress."""
        self.step(trainer, batch, batch_idx + 1)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log the epoch's metrics."""
        self.end()
        if not trainer.is_global_zero:
            return
        values = {key: pl_module.metrics.get(key) for key in self._metrics}
        shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
        logger.info("%s: %s (%.0f s)", _epoch(trainer), shown, self._every.clock() - self._epoch_started)
        self._every.restart()


def _epoch(trainer: L.Trainer) -> str:
    """Return `epoch 3/20`, or `epoch 3` if there is no max_epochs."""
    of = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{of}"
