"""Loss and accuracy of training, over a whole epoch."""

from typing import Any

import lightning as L
import torch

_KEY = "epoch_totals"  # in a checkpoint


class EpochTotals(L.Callback):
    """Record train/loss and train/accuracy: means over the epoch's images, as the network was at each step.

    A training step returns its loss, or a mapping with `loss` and, for the accuracy, `logits` (B, C). A run that was
    stopped within an epoch goes on with that epoch's sums. A callback, so that a module that overrides a hook keeps it.
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)  # loss × images, right answers, images with logits, images

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the epoch's sums anew; what it does not measure has no value, not the last epoch's."""
        pl_module.metrics = {}
        self._sums = torch.zeros_like(self._sums, device=pl_module.device)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add a step; at the end of the epoch, record.

        Here and not in on_train_epoch_end, so that callbacks that read these values there find them.
        """
        loss, logits = (outputs.get("loss"), outputs.get("logits")) if isinstance(outputs, dict) else (outputs, None)
        if isinstance(loss, torch.Tensor):
            self._add(loss * trainer.accumulate_grad_batches, logits, batch["labels"])
        # As trainer.max_time has it. Of several processes, some may know of it earlier than others.
        stops = trainer.world_size == 1 and trainer.should_stop and _may_stop(trainer)
        if trainer.is_last_batch or stops or 0 < trainer.max_steps <= trainer.global_step:
            loss_sum, correct, answered, count = self._of_all(trainer).tolist()
            if count:
                measured = {"train/loss": loss_sum / count}
                pl_module.log_metrics(measured | ({"train/accuracy": correct / answered} if answered else {}))

    def _add(self, loss: torch.Tensor, logits: torch.Tensor | None, labels: torch.Tensor) -> None:
        self._sums = self._sums.to(loss.device)  # where a checkpoint was read, it may not be
        count = torch.full((), len(labels), dtype=torch.float64, device=loss.device)
        zero = torch.zeros_like(count)
        correct, answered = (zero, zero) if logits is None else ((logits.argmax(dim=1) == labels).sum(), count)
        self._sums += torch.stack([loss.detach().double() * count, correct.double(), answered, count])

    def _of_all(self, trainer: L.Trainer) -> torch.Tensor:
        """(4,) sums of the epoch so far, over all processes."""
        if trainer.world_size == 1:
            return self._sums
        return trainer.strategy.reduce(self._sums.clone(), reduce_op="sum")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of all processes."""
        checkpoint[_KEY] = self._of_all(trainer).tolist()

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with them, in the first process."""
        sums = torch.tensor(checkpoint[_KEY], dtype=self._sums.dtype, device=pl_module.device)
        self._sums = sums if trainer.global_rank == 0 else torch.zeros_like(sums)


def _may_stop(trainer: L.Trainer) -> bool:
    """Whether Lightning heeds should_stop: not before the least number of epochs and steps."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    return epochs.processed >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
