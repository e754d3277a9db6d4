"""Log epochs from metrics.csv and profile.csv, and from Lightning only the values that these tables do not hold.

So each logger has every epoch of a resumed run exactly once, also if the logger was added later.
"""

from typing import Any

import lightning as L


class EpochTableLogger:
    """Mixin for a Lightning logger that logs the rows of metrics.csv and profile.csv; needs a `LogEpochTables`."""

    trainer: L.Trainer | None = None
    within_epoch = False  # whether Lightning now logs values of training steps, rather than of an epoch

    def log_epochs(self, before: int | None = None) -> None:
        """Log the rows that are new since the last call; with `before`, only those of earlier epochs."""
        raise NotImplementedError

    def close_run(self, exit_code: int) -> None:
        """Log the final content of the run directory, and close."""
        raise NotImplementedError

    def without_epochs(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics that are in no row of the tables: those of steps, and those logged by hand."""
        if self.trainer is None or "epoch" not in metrics:  # Lightning adds "epoch", except in validation steps
            return metrics
        from_tables = {"epoch"} if self.within_epoch else {"epoch", *self.trainer.logged_metrics}
        return {key: value for key, value in metrics.items() if key not in from_tables}


class LogEpochTables(L.Callback):
    """Make the trainer's `EpochTableLogger`s log each epoch. The order of the callbacks does not matter."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the loggers the trainer."""
        for logger in _attachable(trainer):
            logger.trainer = trainer

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epochs before this one."""
        for logger in _attachable(trainer):
            logger.log_epochs(trainer.current_epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the last epoch."""
        for logger in _attachable(trainer):
            logger.log_epochs()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Allow values of training steps."""
        _set_within_epoch(trainer, True)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold back Lightning's values of an epoch."""
        _set_within_epoch(trainer, False)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold back Lightning's test metrics, which are logged with the results."""
        _set_within_epoch(trainer, False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Hold back Lightning's values of an epoch."""
        _set_within_epoch(trainer, False)


def _attachable(trainer: L.Trainer) -> list[EpochTableLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, EpochTableLogger)]


def _set_within_epoch(trainer: L.Trainer, value: bool) -> None:
    for logger in _attachable(trainer):
        logger.within_epoch = value
