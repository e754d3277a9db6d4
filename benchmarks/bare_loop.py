"""Train on one fixed batch repeatedly, the upper bound of the training speed, and print images/s as JSON.

python benchmarks/bare_loop.py --images 640      (started by end_to_end.py)
"""

import json
import time

import timm
import torch
from side_by_side import arguments

from galaxy10.models.precision import choose_precision


def main() -> None:
    given = arguments(__doc__, repeats=1, images=640, compiled=0, batch=32, size_px=224)
    batch, size_px = given.batch, given.size_px
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = choose_precision("auto", "auto", "resnet50", size_px).name == "bf16-mixed"
    network: torch.nn.Module = timm.create_model("resnet50", num_classes=10)
    network = network.to(device, memory_format=torch.channels_last).train()
    if given.compiled:
        network.compile()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, fused=True)
    inputs = torch.randn(batch, 3, size_px, size_px, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 10

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            loss = torch.nn.functional.cross_entropy(network(inputs).float(), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    steps = max(1, given.images // batch)
    if device.type == "cuda":
        for _ in range(3):
            step()
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    print(json.dumps({"images_per_s": steps * batch / (time.perf_counter() - start)}))


if __name__ == "__main__":
    main()
