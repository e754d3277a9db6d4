"""Callbacks that log."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger


class WeightNorm(L.Callback):
    """Hands val/weight_norm to self.log, and counts its calls."""

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def on_validation_epoch_end(self, trainer, pl_module):
        norm = sum(float(p.detach().norm()) for p in pl_module.parameters())
        pl_module.log("val/weight_norm", self.scale * norm)


class LogsEverywhere(L.Callback):
    """Uses whatever loggers there are, each as its documentation says."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        mean = batch["inputs"].mean()
        pl_module.log("mine/mean", mean, on_step=True)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.log({"mine/direct": mean})
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_scalar("mine/direct", mean, trainer.global_step)
