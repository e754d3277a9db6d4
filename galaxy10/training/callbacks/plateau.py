"""ReduceLROnPlateau in a resumed run."""

from typing import Any

import lightning as L

_KEY = "plateau"  # in a checkpoint


class RestorePlateau(L.Callback):
    """Step ReduceLROnPlateau in a resumed run with the metric of the epoch after which it was stopped.

    Lightning saves the checkpoint of an epoch before it steps these schedulers, so the step would be lost.
    """

    def __init__(self) -> None:
        self._epoch_ends = False
        self._pending: list[float | None] = []  # for each scheduler, the metric of its missing step

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that the schedulers have been stepped with the last epoch's metric."""
        self._epoch_ends = False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that checkpoints from here on are saved before the schedulers are stepped."""
        self._epoch_ends = True

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Save the metrics with which the schedulers are stepped next."""
        pending: list[float | None] = []
        for config in trainer.lr_scheduler_configs:
            due = self._epoch_ends and config.reduce_on_plateau and (trainer.current_epoch + 1) % config.frequency == 0
            value = trainer.callback_metrics.get(config.monitor) if due else None
            pending.append(None if value is None else float(value))
        checkpoint[_KEY] = pending

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the metrics of missing steps."""
        self._pending = checkpoint.get(_KEY, [])

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Do the missing steps, now that the schedulers' states are restored."""
        for config, value in zip(trainer.lr_scheduler_configs, self._pending, strict=False):
            if value is not None:
                pl_module.lr_scheduler_step(config.scheduler, value)
        self._pending = []
