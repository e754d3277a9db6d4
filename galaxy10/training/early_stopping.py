"""Early stopping that holds across a restart."""

from typing import Any

import lightning as L


class RestoreEarlyStopping(L.Callback):
    """A run that early stopping has ended, and that is gone on with while it is scored, is not trained any further.

    Lightning's checkpoints know how long the metric has not improved, but not that this was too long.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Callbacks have their states by now."""
        for stopping in trainer.early_stopping_callbacks:
            if stopping.wait_count >= max(1, stopping.patience):
                trainer.should_stop = True
