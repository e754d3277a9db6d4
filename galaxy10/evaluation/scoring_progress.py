"""How far validation and test are, shown while Lightning goes through their batches."""

import math
from typing import Any

import lightning as L

from galaxy10.progress import EveryMinute, Progress


class ScoringProgress(L.Callback):
    """Show the batches done, images per second and the time left: as a bar on a terminal, a line a minute elsewhere.

    Args:
        bar: whether to draw a bar; None: where standard error is a terminal.
        every: when a line is due.
    """

    def __init__(self, bar: bool | None = None, every: EveryMinute | None = None):
        self._bar, self._every = bar, every or EveryMinute()
        self._shown: Progress | None = None
        self._images = 0

    def begin(self, trainer: L.Trainer, what: str, batches: float, done: int = 0) -> None:
        """Show another work, instead of what was shown."""
        self.end()
        self._images = 0
        if trainer.is_global_zero:
            total = int(batches) if math.isfinite(batches) else None
            self._shown = Progress(what, total, done, unit="batches", bar=self._bar, every=self._every)

    def step(self, trainer: L.Trainer, batch: Any, done: int) -> None:
        """Show that a batch is done; done: with it."""
        self._images += len(batch["labels"]) * trainer.world_size
        if self._shown is not None:
            self._shown.update(done, self._images)

    def end(self) -> None:
        """Show nothing any more."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show validation, but for the batches that Lightning tries out before training."""
        if not trainer.sanity_checking:
            self.begin(trainer, "validating", sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *others: Any
    ) -> None:
        """Show that a batch is done."""
        self.step(trainer, batch, batch_idx + 1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show nothing any more."""
        self.end()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the test."""
        self.begin(trainer, "testing", sum(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *others: Any
    ) -> None:
        """Show that a batch is done."""
        self.step(trainer, batch, batch_idx + 1)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show nothing any more."""
        self.end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.end()
