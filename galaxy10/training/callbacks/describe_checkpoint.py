"""What a checkpoint says of its network."""

from typing import Any

import lightning as L


class DescribeCheckpoint(L.Callback):
    """Add to every checkpoint what rebuilds its network.

    A callback, so that a module that overrides `on_save_checkpoint` keeps it.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add it."""
        pl_module.describe_checkpoint(checkpoint)
