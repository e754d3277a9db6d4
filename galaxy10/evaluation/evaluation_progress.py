"""The progress of Lightning's validation and test."""

import math
from typing import Any

import lightning as L

from galaxy10.progress import EveryMinute, Progress


class EvaluationProgress(L.Callback):
    """Show batches done, images per second and time left: a bar on a terminal, else a line every minute.

    Args:
        bar: whether to draw a bar; None: only if standard error is a terminal.
        every: when to print a line.
    """

    def __init__(self, bar: bool | None = None, every: EveryMinute | None = None):
        self._bar, self._every = bar, every or EveryMinute()
        self._shown: Progress | None = None
        self._images = 0

    def begin(self, trainer: L.Trainer, what: str, batches: float, done: int = 0) -> None:
        """Show the progress of a new stage; batches may be infinite."""
        self.end()
        self._images = 0
        if trainer.is_global_zero:
            total = int(batches) if math.isfinite(batches) else None
            self._shown = Progress(what, total, done, unit="batches", bar=self._bar, every=self._every)

    def step(self, trainer: L.Trainer, batch: Any, done: int) -> None:
        """Show that another batch is done; done: number of batches, this one included."""
        self._images += len(batch["labels"]) * trainer.world_size
        if self._shown is not None:
            self._shown.update(done, self._images)

    def end(self) -> None:
        """Remove the progress from the terminal."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show validation; Lightning's sanity check before training is not shown."""
        if not trainer.sanity_checking:
            self.begin(trainer, "validating", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *others: Any
    ) -> None:
        """Show that another batch is done."""
        self.step(trainer, batch, batch_idx + 1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the progress from the terminal."""
        self.end()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the progress of the test."""
        self.begin(trainer, "testing", sum(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *others: Any
    ) -> None:
        """Show that another batch is done."""
        self.step(trainer, batch, batch_idx + 1)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the progress from the terminal."""
        self.end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the progress from the terminal."""
        self.end()
