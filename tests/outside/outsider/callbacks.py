"""Callbacks: one that logs, one that counts, one that ends the process."""

import os
import signal
from pathlib import Path

import lightning as L
import numpy as np
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


class Counter(L.Callback):
    """Counts steps and hands them to self.log; its state is a number of numpy's."""

    def __init__(self):
        self.steps = np.float64(0)

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.steps += 1
        pl_module.log("train/steps", float(self.steps), on_step=False, on_epoch=True, reduce_fx="max")

    def state_dict(self):
        return {"steps": np.float64(self.steps)}

    def load_state_dict(self, state_dict):
        self.steps = np.float64(state_dict["steps"])


class KillOnce(L.Callback):
    """Ends the process without a word after a step, the first time."""

    def __init__(self, step: int, flag: str = "killed"):
        self.step, self.flag = step, Path(flag)

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.global_step == self.step and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
