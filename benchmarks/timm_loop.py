"""The loop of timm's training script with its best flags for a CPU; prints images/s as JSON.

python benchmarks/timm_loop.py --network 0 --batches 4      (started by training.py)

The script itself is not in timm's package. This is its loop from the package's own parts: --channels-last, --amp
--amp-dtype bfloat16 where the processor has such instructions, its loader with a worker per core, its augmentation,
optimizer and loss.
"""

import json
import os

import numpy as np
import timm
import torch
from side_by_side import arguments
from survey import survey_store
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from torchvision_loaders import Galaxies, warm_images_per_s

from galaxy10.models.precision import cpu_has_bf16

NETWORKS = {
    "resnet50": ("resnet50", 224),
    "inceptionv3": ("inception_v3", 299),
    "efficientnet_lite0": ("tf_efficientnet_lite0", 128),
}
BATCH = 32


def main() -> None:
    given = arguments(__doc__, repeats=1, network=0, batches=4)
    backbone, size_px = list(NETWORKS.values())[given.network]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = device.type == "cuda" or cpu_has_bf16()
    images = np.array(survey_store().images)
    loader = create_loader(
        Galaxies(images, np.arange(len(images)) % 10, None, pil=True),  # create_loader sets the transform
        (3, size_px, size_px), BATCH, is_training=True, use_prefetcher=False, interpolation="random",
        num_workers=os.cpu_count() or 1, device=device,
    )  # fmt: skip
    auxiliary = {"aux_logits": False} if backbone == "inception_v3" else {}
    model = timm.create_model(backbone, num_classes=10, **auxiliary)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, momentum=0.9, weight_decay=2e-5)
    criterion = LabelSmoothingCrossEntropy(0.1)

    def step(inputs: torch.Tensor, labels: torch.Tensor) -> None:
        inputs = inputs.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = criterion(model(inputs), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    print(json.dumps({"images_per_s": warm_images_per_s(loader, step, given.batches)}))


if __name__ == "__main__":
    main()
