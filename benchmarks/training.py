"""Compare training images/s of train.py with the plain loop that a user would write, and with timm's.

Each runs in a process of its own. A last row says how much of the processor's matrix peak, that of a bare torch.mm, the
training of ResNet50 reaches.
"""

import time

import torch
import torchvision
from our_runs import warm_rate
from plain_loop import NETWORKS, SIZE_PX
from side_by_side import ROOT, Row, alone, arguments, keep, last_json, run, side_by_side, skipped
from timm_loop import NETWORKS as OF_TIMM
from torch.utils.flop_counter import FlopCounterMode

from galaxy10.models.precision import choose_precision

TARGET = {"resnet50": 4.0, "inceptionv3": 3.0, "simple_cnn": 2.0}
TARGET_GPU = {"resnet50": 5.0}
SHARE_TARGET = 0.05
AS_THE_LOOP = ["optimizer=sgd", "optimizer.lr=0.001", "scheduler=none", "data.balance=none"]


def ours(name: str, batches: int, size_px: int) -> float:
    """Return images per second of the second epoch of train.py."""
    choices = [f"model={name}", "model.pretrained=false", f"model.image_size={size_px}"]
    augment = "augment=none" if name == "simple_cnn" else "augment=baseline_transfer"
    return warm_rate(batches, *choices, augment, *AS_THE_LOOP)["images_per_s"]


def plain_loop(name: str, batches: int) -> float:
    """Return images per second of the plain loop after its first batch."""
    words = ["--network", NETWORKS.index(name), "--batches", batches]
    return last_json(run(ROOT / "benchmarks" / "plain_loop.py", *words))["images_per_s"]


def timm_loop(name: str, batches: int) -> float:
    """Return images per second of timm's loop after its first batch."""
    words = ["--network", list(OF_TIMM).index(name), "--batches", batches]
    return last_json(run(ROOT / "benchmarks" / "timm_loop.py", *words))["images_per_s"]


def matrix_peak(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product, the best of five."""
    size, device = 4096, "cuda" if torch.cuda.is_available() else "cpu"
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        (one @ other)[0, 0].item()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def share_of_peak(batches: int) -> float:
    """Return the share of the matrix peak that the training of ResNet50 reaches: operations of forward and backward."""
    size_px = SIZE_PX["resnet50"]
    network, counter = torchvision.models.resnet50(num_classes=10), FlopCounterMode(display=False)
    with counter:
        network(torch.rand(1, 3, size_px, size_px)).sum().backward()
    bf16 = choose_precision("auto", "auto", "resnet50", size_px).name == "bf16-mixed"
    rate = ours("resnet50", batches, size_px)
    return rate * counter.get_total_flops() / matrix_peak(torch.bfloat16 if bf16 else torch.float32)


def main() -> None:
    given = arguments(
        __doc__, repeats=3, our_batches=8, plain_batches=3, timm_batches=4, cnn_batches=40, share_batches=40
    )
    gpu = torch.cuda.is_available()
    rows: list[Row] = []
    for name in NETWORKS:
        small = name == "simple_cnn"
        target = (TARGET_GPU if gpu else TARGET).get(name)
        rows.append(
            side_by_side(
                f"{name} at {SIZE_PX[name]} px ÷ plain loop{' on a GPU' if gpu else ''}",
                lambda name=name, small=small: ours(
                    name, given.cnn_batches if small else given.our_batches, SIZE_PX[name]
                ),
                lambda name=name, small=small: plain_loop(name, given.cnn_batches if small else given.plain_batches),
                repeats=given.repeats,
                target=target,
            )
        )
    for name, (_, size_px) in OF_TIMM.items():
        rows.append(
            side_by_side(
                f"{name} at {size_px} px ÷ timm's loop{' on a GPU' if gpu else ''}",
                lambda name=name, size_px=size_px: ours(name, given.our_batches, size_px),
                lambda name=name: timm_loop(name, given.timm_batches),
                repeats=given.repeats,
                target=1.0,
            )
        )
    share = alone(
        "resnet50 at 224 px, share of the processor's matrix peak",
        lambda: share_of_peak(given.our_batches),
        repeats=given.repeats,
        unit="of the peak",
        at_most=False,
    )
    rows.append(share)
    for augment in ("dihedral", "baseline_cnn", "affine"):
        rows.append(
            alone(
                f"data share of a simple-CNN run, augment={augment}",
                lambda augment=augment: warm_rate(given.share_batches, f"augment={augment}")["data_time_fraction"],
                repeats=given.repeats,
                unit="of the time",
                target=SHARE_TARGET,
            )
        )
    if not gpu:
        rows.append(
            skipped("resnet50 at 224 px ÷ plain loop on a GPU", "this machine has NO GPU", TARGET_GPU["resnet50"])
        )
    keep("training_gpu" if gpu else "training", rows, given)


if __name__ == "__main__":
    main()
