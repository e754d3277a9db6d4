"""The plain PyTorch loop that a user would write: float32, NCHW, torchvision's loader. Prints images/s as JSON.

python benchmarks/plain_loop.py --network 0 --batches 4      (started by training.py)
"""

import json

import numpy as np
import torch
from side_by_side import arguments
from survey import survey_store
from torch import nn
from torchvision import models
from torchvision_loaders import Galaxies, baseline_transfer, loader, plain, warm_images_per_s

NETWORKS = ("resnet50", "inceptionv3", "simple_cnn")
SIZE_PX = {"resnet50": 224, "inceptionv3": 299, "simple_cnn": 84}
MEAN, STD = (0.167, 0.162, 0.159), (0.128, 0.118, 0.111)
AUXILIARY_WEIGHT = 0.4


def network(name: str) -> nn.Module:
    """Return a new network of ten classes, that of torchvision or the published baseline's CNN."""
    if name == "resnet50":
        return models.resnet50(num_classes=10)
    if name == "inceptionv3":
        return models.inception_v3(num_classes=10, aux_logits=True, init_weights=False)
    return nn.Sequential(
        nn.Conv2d(3, 24, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 48, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(48 * 18 * 18, 576), nn.ReLU(), nn.Dropout(0.25),
        nn.Linear(576, 64), nn.ReLU(), nn.Dropout(0.25), nn.Linear(64, 10),
    )  # fmt: skip


def main() -> None:
    given = arguments(__doc__, repeats=1, network=0, batches=4)
    name = NETWORKS[given.network]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = np.array(survey_store().images)
    transform = (plain if name == "simple_cnn" else baseline_transfer)(SIZE_PX[name], MEAN, STD)
    batches = loader(Galaxies(images, np.arange(len(images)) % 10, transform, pil=True))
    model = network(name).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = model(inputs)
        if name == "inceptionv3":
            loss = criterion(outputs.logits, labels) + AUXILIARY_WEIGHT * criterion(outputs.aux_logits, labels)
        else:
            loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        loss.item()  # a user prints it

    print(json.dumps({"images_per_s": warm_images_per_s(batches, step, given.batches)}))


if __name__ == "__main__":
    main()
