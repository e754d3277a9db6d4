"""Seed every training step, so that a resumed run draws the same random numbers."""

import random
from typing import Any

import lightning as L
import numpy as np
import torch

_STRIDE = 1_000_003


class StepSeed(L.Callback):
    """Seed torch, numpy and `random` before every training step from (seed, epoch, batch, rank).

    This is a callback so that it also works for a module that overrides hooks.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed all three generators."""
        where = (self.seed * _STRIDE + trainer.current_epoch) * _STRIDE + batch_idx
        number = (where * 4096 + trainer.global_rank) % 2**63
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number % 2**32)  # noqa: NPY002 - for modules that use the global generator
