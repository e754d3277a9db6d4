"""Save the description of the network in checkpoints."""

from typing import Any

import lightning as L


class DescribeCheckpoint(L.Callback):
    """Add to every checkpoint the configuration from which its network is rebuilt.

    This is a callback so that it also works for a module that overrides `on_save_checkpoint`.
    """

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the description to the checkpoint."""
        pl_module.describe_checkpoint(checkpoint)
