"""A network, and a LightningModule that changes what differs."""

import random

import numpy as np
import torch
from torch import nn

from galaxy10.models import Classifier


class MyNet(nn.Module):
    """(B, 3, S, S) → (B, C), with a dropout to sample from."""

    def __init__(self, num_classes: int, width: int = 4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 5, stride=2), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16 * width, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = nn.functional.adaptive_avg_pool2d(self.features(inputs), 4).flatten(1)
        return self.head(self.dropout(features))


class MyClassifier(Classifier):
    """Own training step without super(), an argument of its own, and something handed to self.log."""

    def __init__(self, penalty: float = 0.01, **others):
        super().__init__(**others)
        self.penalty = penalty

    def training_step(self, batch, batch_idx):
        logits = self(batch["inputs"])
        size = logits.square().mean()
        self.log("train/logit_size", size, on_step=True, on_epoch=True)
        return self.criterion(logits.float(), batch["labels"]) + self.penalty * size

    def test_step(self, batch, batch_idx):
        super().test_step(batch, batch_idx)
        self.log("logit_size", self(batch["inputs"]).square().mean())

    def on_train_batch_start(self, batch, batch_idx):
        """Overrides a hook without super()."""


class Drawing(MyNet):
    """One that draws from numpy and `random`, as other people's code does."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            inputs = inputs * (1 + random.random()) + float(np.random.rand())  # noqa: NPY002
        return super().forward(inputs)


class Silent(Classifier):
    """Overrides every hook that the framework might count on, without super()."""

    def on_fit_start(self):
        """Nothing."""

    def on_train_start(self):
        """Nothing."""

    def on_train_epoch_start(self):
        """Nothing."""

    def on_train_batch_start(self, batch, batch_idx):
        """Nothing."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        """Nothing."""

    def on_train_epoch_end(self):
        """Nothing."""

    def on_before_backward(self, loss):
        """Nothing."""

    def on_save_checkpoint(self, checkpoint):
        """Nothing."""

    def on_load_checkpoint(self, checkpoint):
        """Nothing."""


class Broken(MyNet):
    """One with a mistake in it."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise IndexError("no such layer\nand more that nobody reads")
