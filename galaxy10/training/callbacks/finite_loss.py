"""Stop a run whose loss is not finite."""

import lightning as L
import torch

from galaxy10.errors import TrainingError

_CHECK_EVERY = 20  # steps on a GPU, where reading the loss waits for the device


class FiniteLoss(L.Callback):
    """Refuse a loss that is NaN, infinite or no scalar, before the backward pass.

    On GPUs, only every 20th batch is checked for NaN and inf. This is a callback so that it also works for a module
    that overrides hooks.
    """

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        """Check the loss.

        Raises:
            TrainingError: the loss is no scalar, does not depend on the weights, or is not finite.
        """
        if loss.numel() != 1 or not loss.requires_grad:
            found = "does not depend on the weights" if loss.numel() == 1 else f"has the shape {tuple(loss.shape)}"
            raise TrainingError(
                f"the loss {found}; expected one number computed from the logits, such as their mean over the batch "
                "(see loss._target_, or the module's training_step)"
            )
        batch = trainer.fit_loop.batch_idx
        if loss.device.type != "cpu" and batch % _CHECK_EVERY:
            return
        if not torch.isfinite(loss).all():
            raise TrainingError(
                f"the loss is {loss.item()} at epoch {trainer.current_epoch + 1}, batch {batch + 1}: try a lower "
                "optimizer.lr, a smaller trainer.gradient_clip_val, or trainer.precision=32-true"
            )
