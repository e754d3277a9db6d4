"""What our loggers share: they take epochs from the run's tables, and from Lightning only what those do not hold.

So a resumed run has every epoch once in each logger, whichever of its starts had that logger.
"""

from typing import Any

import lightning as L


class EpochTableLogger:
    """Mixin for a Lightning logger that follows metrics.csv and profile.csv once a `LogEpochTables` is attached."""

    trainer: L.Trainer | None = None
    within_epoch = False  # whether training steps are being logged, rather than an epoch's values

    def log_epochs(self, before: int | None = None) -> None:
        """Log the rows that the tables have since the last call: those of epochs before one that begins, or all."""
        raise NotImplementedError

    def close_run(self, exit_code: int) -> None:
        """Log what the run directory holds in the end, and close."""
        raise NotImplementedError

    def without_epochs(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics that do not come with a row of the tables: those of steps, and those logged by hand."""
        if self.trainer is None or "epoch" not in metrics:  # which Lightning adds, but not to steps of a validation
            return metrics
        from_tables = {"epoch"} if self.within_epoch else {"epoch", *self.trainer.logged_metrics}
        return {key: value for key, value in metrics.items() if key not in from_tables}


class LogEpochTables(L.Callback):
    """Tell the trainer's `EpochTableLogger`s when an epoch is over. Its place among the callbacks does not matter."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Attach the loggers to the tables."""
        for logger in _attachable(trainer):
            logger.trainer = trainer

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epochs before."""
        for logger in _attachable(trainer):
            logger.log_epochs(trainer.current_epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last epoch."""
        for logger in _attachable(trainer):
            logger.log_epochs()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Let through what Lightning logs of a step."""
        _set_within_epoch(trainer, True)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold back what Lightning logs of an epoch."""
        _set_within_epoch(trainer, False)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold back what Lightning logs of the test: it comes with the results."""
        _set_within_epoch(trainer, False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold back what Lightning logs of an epoch."""
        _set_within_epoch(trainer, False)


def _attachable(trainer: L.Trainer) -> list[EpochTableLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, EpochTableLogger)]


def _set_within_epoch(trainer: L.Trainer, value: bool) -> None:
    for logger in _attachable(trainer):
        logger.within_epoch = value
