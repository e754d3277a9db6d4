"""What a person sees while training runs: a bar on a terminal, one line per epoch elsewhere."""

import logging
import sys
import time
import warnings
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar


def say(text: str) -> None:
    """One line for the person, on standard error: standard output ends with the result alone."""
    print(text, file=sys.stderr, flush=True)


def quiet_libraries() -> None:
    """Advertisements and warnings that say nothing about this run."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "torch.distributed", "timm"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches.*",
        ".*GPU available but not used.*",
        ".*no logger configured.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*lr_scheduler.step\\(\\).* before .*optimizer.step\\(\\).*",
        ".*Trying to infer the .batch_size.*",
        ".*You called .self.log.* but have no logger configured.*",
        ".*The ``compute`` method of metric.*",
        ".*recommended to use .*sync_dist.*",
        ".*across ranks.*",
        ".*weights_only.*",
        ".*resuming from a checkpoint that ended before.*",
        ".*requested to overfit but enabled train dataloader shuffling.*",
        ".*could not find the monitored key in the returned metrics.*",
        ".*barrier\\(\\).*",
        ".*srun.*command is available.*",
    ):
        warnings.filterwarnings("ignore", message=message)


class EpochLines(L.Callback):
    """One line per epoch, for logs."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock also where a restart enters the middle of an epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say how the epoch went."""
        if not trainer.is_global_zero:
            return
        module: Any = pl_module
        values = {key: value for key, value in module.metrics.items() if value is not None}
        shown = [
            f"{key} {values[key]:.3f}"
            for key in ("train/loss", "val/loss", "val/accuracy", "val/macro_f1")
            if key in values
        ]
        seconds = time.perf_counter() - self._started
        say(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {', '.join(shown)} ({seconds:.0f} s)")


class ProgressBar(RichProgressBar):
    """Lightning's Rich bar with galaxies per second."""

    def __init__(self) -> None:
        super().__init__(leave=True)
        self._started, self._images = 0.0, 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started, self._images = time.perf_counter(), 0
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count galaxies."""
        self._images += len(batch["labels"]) * trainer.world_size
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Any, pl_module: Any) -> dict[str, Any]:
        """What stands at the end of the bar."""
        values = trainer.callback_metrics
        shown = {k: f"{float(values[k]):.3f}" for k in ("train/loss", "val/accuracy", "val/macro_f1") if k in values}
        seconds = time.perf_counter() - self._started
        return {"images/s": f"{self._images / seconds:.0f}" if self._images else "–", **shown}


def display_callbacks(progress_bar: bool | None) -> list[L.Callback]:
    """The bar where somebody watches (or it is asked for), else a line per epoch."""
    watched = sys.stderr.isatty() if progress_bar is None else progress_bar
    return [ProgressBar()] if watched else [EpochLines()]
