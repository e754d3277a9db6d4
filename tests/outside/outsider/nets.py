"""A network, and a LightningModule that changes what differs."""

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
        self.log("train/logit_size", size, on_step=False, on_epoch=True)
        return self.criterion(logits.float(), batch["labels"]) + self.penalty * size

    def on_train_batch_start(self, batch, batch_idx):
        """Overrides a hook without super()."""
