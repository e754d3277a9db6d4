"""The end of a run whose loss is no number."""

import lightning as L
import torch

from galaxy10.errors import TrainingError

_LOOK_EVERY = 20  # steps on a GPU, where a look at the loss waits for it


class FiniteLoss(L.Callback):
    """Refuse a loss that is no scalar, and one that is infinite or not a number, before it reaches the weights.

    A callback, so that a module that overrides a hook keeps it.
    """

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        """Look at the loss.

        Raises:
            TrainingError: it is no scalar that can be differentiated, or not finite; says what to try.
        """
        if loss.numel() != 1 or not loss.requires_grad:
            found = "does not depend on the weights" if loss.numel() == 1 else f"has the shape {tuple(loss.shape)}"
            raise TrainingError(
                f"the loss {found}; expected one number computed from the logits, such as their mean over the batch "
                "(see loss._target_, or the module's training_step)"
            )
        batch = trainer.fit_loop.batch_idx
        if loss.device.type != "cpu" and batch % _LOOK_EVERY:
            return
        if not torch.isfinite(loss).all():
            raise TrainingError(
                f"the loss is {loss.item()} at epoch {trainer.current_epoch + 1}, batch {batch + 1}: try a lower "
                "optimizer.lr, a smaller trainer.gradient_clip_val, or trainer.precision=32-true"
            )
