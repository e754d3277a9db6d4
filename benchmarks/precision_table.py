"""Compare training in bfloat16 and float32 on this CPU, for the table in galaxy10/models/precision.py.

One thread and its CPU time are measured, so that other work on the machine does not matter. Needs a CPU with bfloat16
instructions.
"""

import sys
import time

import torch
from side_by_side import Row, arguments, keep, side_by_side

from galaxy10.models.factory import build_classifier
from galaxy10.models.precision import cpu_has_bf16

SIZES_PX = {
    "resnet50": (64, 128, 224),
    "resnet18": (64, 224),
    "inception_v3": (75, 128, 299),
    "tf_efficientnet_lite0": (64, 128, 224),
    "efficientnet_b0": (128, 224),
    "convnext_tiny": (64, 224),
    "vit_small_patch16_224": (224,),
    "simple_cnn": (84,),
}
CLASSES = {"simple_cnn": "SimpleCNN", "inception_v3": "InceptionV3Classifier"}


class Training:
    """A network of galaxy10 with a fixed batch."""

    def __init__(self, architecture: str, size_px: int, batch: int):
        settings = {
            "_target_": f"galaxy10.models.{CLASSES.get(architecture, 'TimmClassifier')}",
            "name": architecture, "image_size": size_px, "dropout": 0.2, "min_image_size": 1,
            **({} if architecture == "simple_cnn" else {"backbone": architecture}),
        }  # fmt: skip
        statistics = ([0.2] * 3, [0.1] * 3)
        self.module = build_classifier(settings, [str(i) for i in range(10)], size_px, statistics)[0].train()
        self.optimizer = torch.optim.AdamW(self.module.parameters(), fused=True)
        self.inputs = torch.randn(batch, 3, size_px, size_px).to(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % 10

    def rate(self, bf16: bool) -> float:
        """Train one step and return images per second of CPU time."""
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss, _ = self.module.loss(self.inputs, self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return len(self.labels) / (time.process_time() - start)


def main() -> None:
    if not cpu_has_bf16():
        sys.exit("this CPU has NO bfloat16 instructions: nothing is measured")
    given = arguments(__doc__, repeats=5, batch=16)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for architecture, sizes in SIZES_PX.items():
        for size_px in sizes:
            training = Training(architecture, size_px, given.batch)
            training.rate(True), training.rate(False)
            rows.append(
                side_by_side(
                    f"{architecture} at {size_px} px: bf16 ÷ fp32",
                    lambda training=training: training.rate(True),
                    lambda training=training: training.rate(False),
                    repeats=given.repeats,
                    unit="images per second of CPU time",
                )
            )
            del training
    keep("precision_table", rows, given)


if __name__ == "__main__":
    main()
