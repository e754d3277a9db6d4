"""Early stopping that knows which way a metric is better, and that holds across a restart."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from galaxy10.metrics.specs import metric_mode


class EarlyStopping(LightningEarlyStopping):
    """Lightning's early stopping, with the direction of the metric derived.

    Args:
        monitor: the metric to wait for.
        mode: min or max; None: what suits the metric.
        directions: metric → min or max, for a user's own metrics.
        others: as Lightning's.
    """

    def __init__(
        self, monitor: str, *, mode: str | None = None, directions: Mapping[str, str] | None = None, **others: Any
    ):
        super().__init__(monitor, mode=mode or metric_mode(monitor, directions or {}), **others)


class RestoreEarlyStopping(L.Callback):
    """Keep a run that early stopping has ended, and that goes on while it is scored, from training any further.

    Lightning's checkpoints know how long the metric has not improved, but not that this was too long.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Callbacks have their states by now."""
        for stopping in trainer.early_stopping_callbacks:
            if stopping.wait_count >= max(1, stopping.patience):
                trainer.should_stop = True
