"""Average the weights over the steps of training (EMA): the average is validated, saved and used afterwards."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from galaxy10.compat import averaged_model, forget_average
from galaxy10.errors import TrainingError, first_line


class EMA(WeightAveraging):
    """Keep an exponential moving average (EMA) of the weights, with which every validation of the training is made.

    After every optimizer step, average ← d · average + (1 − d) · weights (Tarvainen & Valpola 2017, arXiv 1703.01780,
    eq. 2), d = min(decay, (1 + n) / (warmup + n)) after n earlier steps. This warm-up is that of TensorFlow's
    ExponentialMovingAverage: the first average is the weights after the first step, and with warmup=10 the average
    spans about the last ninth of all steps until that is 1 / (1 − decay) steps.

    Running statistics of batch norms (and all other floating-point buffers) are averaged like weights. Copies of those
    of the last step fit the last weights; an average over many steps is far from these, and with copies it was worse
    than no average (docs/training.md has numbers). Whole numbers, such as the count of batches, are copied, and so are
    buffers with infinite values (masks).

    In checkpoints, `state_dict` is the average, which everything loads; `current_model_state` has the weights of the
    last step, with which training resumes; `galaxy10.weights` says so in words. After fit, the module has the
    average, and weights that are loaded then are validated as they are.

    Args:
        decay: the largest d, from 0 (no average) to below 1.
        warmup: how slowly d grows; 1: d = decay from the start.

    Raises:
        ValueError: decay or warmup is outside of its range.
    """

    def __init__(self, decay: float = 0.999, warmup: int = 10):
        if not 0 <= decay < 1 or warmup < 1:
            raise ValueError(f"decay={decay} is not from 0 to below 1, or warmup={warmup} is below 1")
        super().__init__(use_buffers=True, multi_avg_fn=self._average)
        self.decay, self.warmup = float(decay), int(warmup)
        self._infinite: list[str] = []

    @property
    def description(self) -> str:
        """Return a line that says which weights checkpoints hold."""
        return f"average over the steps (EMA, decay {self.decay:g}, warm-up {self.warmup})"

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Copy the module at the start of fit.

        Raises:
            TrainingError: the module cannot be copied.
        """
        if stage != "fit":
            return
        self.load_state_dict({"latest_update_step": 0})  # a second fit starts anew, also after more steps
        try:
            super().setup(trainer, pl_module, stage)
        except (TypeError, RuntimeError) as error:  # of copy.deepcopy
            raise TrainingError(
                f"callbacks=ema averages a copy of {type(pl_module).__name__}, which cannot be copied "
                f"({first_line(error)}); leave out callbacks=ema"
            ) from error
        # Lightning copies before the module is moved. The number of updates stays on the CPU: reading it there does
        # not wait for the GPU.
        averaged_model(self).module.to(trainer.strategy.root_device)
        buffers = pl_module.named_buffers()
        self._infinite = [name for name, x in buffers if x.is_floating_point() and not x.isfinite().all()]

    def _average(self, averages: list[torch.Tensor], weights: list[torch.Tensor], _: Any) -> None:
        """Update averages, a list of tensors of one type, in place."""
        if not averages[0].is_floating_point():
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
            return
        n = int(averaged_model(self).n_averaged)
        decay = min(self.decay, (1 + n) / (self.warmup + n))
        get_ema_multi_avg_fn(decay)(averages, weights, n)  # type: ignore[no-untyped-call]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Update the average after an optimizer step."""
        super().on_train_batch_end(trainer, pl_module, *args)
        for name in self._infinite:
            averaged_model(self).module.get_buffer(name).copy_(pl_module.get_buffer(name))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Swap in the average, but only within fit and after its first update."""
        if self._validates_average(trainer):
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Swap the average out again."""
        if self._validates_average(trainer):
            super().on_validation_epoch_end(trainer, pl_module)

    def _validates_average(self, trainer: L.Trainer) -> bool:
        return trainer.state.fn == "fit" and self.state_dict()["latest_update_step"] > 0

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average in the place of the weights, within fit."""
        if self.state_dict()["latest_update_step"] > 0:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
            checkpoint["galaxy10"] = {**checkpoint.get("galaxy10", {}), "weights": self.description}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Load the weights of the last step and their average to resume; elsewhere the average is loaded already."""
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave the average in the module after fit, and drop it here."""
        if stage != "fit":
            return
        if self.state_dict()["latest_update_step"] > 0:
            super().on_train_end(trainer, pl_module)  # not called if training was complete when it resumed
        forget_average(self)
        self.load_state_dict({"latest_update_step": 0})


def saved_weights(callbacks: list[L.Callback]) -> dict[str, str]:
    """Return {"weights": which weights checkpoints hold} for a run's provenance; empty for those of the last step."""
    averages = [callback.description for callback in callbacks if isinstance(callback, EMA)]
    return {"weights": averages[0]} if averages else {}
