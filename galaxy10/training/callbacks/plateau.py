"""ReduceLROnPlateau across a restart."""

from typing import Any

import lightning as L

_KEY = "plateau"  # in a checkpoint


class RestorePlateau(L.Callback):
    """Let schedulers that wait for a metric see that of an epoch whose end was the last thing saved.

    Lightning saves at the end of an epoch before it shows the epoch's metric to such schedulers, and not after.
    """

    def __init__(self) -> None:
        self._epoch_ends = False
        self._unseen: list[float | None] = []  # for each scheduler, what it was yet to be shown

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Schedulers have seen the last epoch's metric."""
        self._epoch_ends = False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What is saved from here on is saved before schedulers see this epoch's metric."""
        self._epoch_ends = True

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep what schedulers are about to see."""
        shown: list[float | None] = []
        for config in trainer.lr_scheduler_configs:
            due = self._epoch_ends and config.reduce_on_plateau and (trainer.current_epoch + 1) % config.frequency == 0
            value = trainer.callback_metrics.get(config.monitor) if due else None
            shown.append(None if value is None else float(value))
        checkpoint[_KEY] = shown

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        self._unseen = checkpoint.get(_KEY, [])

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Show it: schedulers have their states by now."""
        for config, value in zip(trainer.lr_scheduler_configs, self._unseen, strict=False):
            if value is not None:
                pl_module.lr_scheduler_step(config.scheduler, value)
        self._unseen = []
