"""Training loss and accuracy over a whole epoch."""

from typing import Any

import lightning as L
import torch

_KEY = "epoch_totals"  # in a checkpoint


class EpochTotals(L.Callback):
    """Record train/loss and train/accuracy: means over the epoch's images, with the weights of each step.

    A training step returns its loss, or a mapping with `loss` and, for the accuracy, `logits` (B, C). The sums are
    saved in checkpoints, for a run that is resumed within an epoch. This is a callback so that it also works for a
    module that overrides hooks.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)  # loss × images, correct, images with logits, images

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Reset the sums and the module's metrics, so that no value of the last epoch remains."""
        pl_module.metrics = {}
        self._sums = torch.zeros_like(self._sums, device=pl_module.device)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add a step; after the epoch's last step, record the metrics.

        They are recorded here so that other callbacks can read them in on_train_epoch_end.
        """
        loss, logits = (outputs.get("loss"), outputs.get("logits")) if isinstance(outputs, dict) else (outputs, None)
        if isinstance(loss, torch.Tensor):
            self._add(loss * trainer.accumulate_grad_batches, logits, batch["labels"])
        # trainer.max_time sets should_stop. With several processes, they may not set it in the same step.
        stops = trainer.world_size == 1 and trainer.should_stop and _may_stop(trainer)
        if trainer.is_last_batch or stops or 0 < trainer.max_steps <= trainer.global_step:
            loss_sum, correct, with_logits, count = self._of_all(trainer).tolist()
            if count:
                measured = {"train/loss": loss_sum / count}
                pl_module.log_metrics(measured | ({"train/accuracy": correct / with_logits} if with_logits else {}))

    def _add(self, loss: torch.Tensor, logits: torch.Tensor | None, labels: torch.Tensor) -> None:
        self._sums = self._sums.to(loss.device)  # a checkpoint may have been loaded on another device
        count = torch.full((), len(labels), dtype=torch.float64, device=loss.device)
        zero = torch.zeros_like(count)
        classes = labels.argmax(dim=1) if labels.ndim == 2 else labels  # of mixed images, the class with most of each
        correct, with_logits = (zero, zero) if logits is None else ((logits.argmax(dim=1) == classes).sum(), count)
        self._sums += torch.stack([loss.detach().double() * count, correct.double(), with_logits, count])

    def _of_all(self, trainer: L.Trainer) -> torch.Tensor:
        """Return the sums (4,) of the epoch so far, over all processes."""
        if trainer.world_size == 1:
            return self._sums
        return trainer.strategy.reduce(self._sums.clone(), reduce_op="sum")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Save the sums over all processes."""
        checkpoint[_KEY] = self._of_all(trainer).tolist()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the sums on rank 0; other ranks start from zero."""
        sums = torch.tensor(checkpoint[_KEY], dtype=self._sums.dtype, device=pl_module.device)
        self._sums = sums if trainer.global_rank == 0 else torch.zeros_like(sums)


def _may_stop(trainer: L.Trainer) -> bool:
    """Return whether Lightning obeys should_stop: only after min_epochs and min_steps."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return epochs.processed >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
