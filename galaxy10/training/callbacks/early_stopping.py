"""Early stopping that knows the direction of each metric, and that lasts across a restart."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from galaxy10.metrics.specs import metric_mode


class EarlyStopping(LightningEarlyStopping):
    """Lightning's EarlyStopping, with the mode derived from the metric.

    Args:
        monitor: name of the monitored metric.
        mode: min or max; None: the direction of the metric.
        directions: metric → min or max, for a user's own metrics.
        others: further arguments of Lightning's EarlyStopping.
    """

    def __init__(
        self, monitor: str, *, mode: str | None = None, directions: Mapping[str, str] | None = None, **others: Any
    ):
        super().__init__(monitor, mode=mode or metric_mode(monitor, directions or {}), **others)


class RestoreEarlyStopping(L.Callback):
    """Stop a resumed run at once, if early stopping had ended its training before.

    Lightning's checkpoints keep the number of epochs without improvement, but not that training has stopped.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Stop, now that the callbacks' states are restored."""
        for stopping in trainer.early_stopping_callbacks:
            if stopping.wait_count >= max(1, stopping.patience):
                trainer.should_stop = True
