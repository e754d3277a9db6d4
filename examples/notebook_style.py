"""Train a network of your own on galaxies, without Hydra: python examples/notebook_style.py [FILE.h5]"""

import sys
from functools import partial

import lightning as L
import torch
from torch import nn

from galaxy10.data import GalaxyData
from galaxy10.models import Classifier

data = GalaxyData(path=sys.argv[1]) if len(sys.argv) > 1 else GalaxyData("simulated", num_images=1000, image_px=64)
data.prepare_data()
data.setup()
network = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU(),
    nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, data.num_classes),
)  # fmt: skip
module = Classifier(network, class_names=data.class_names, optimizer=partial(torch.optim.AdamW, lr=1e-3))
trainer = L.Trainer(max_epochs=3, devices=1, logger=False)
trainer.fit(module, data)
trainer.test(module, data)
print(module.predictions[["row", "label", "predicted_name"]])
