"""Compare training images/s of train.py with the plain loop that a user would write, each in its own process."""

import torch
from our_runs import warm_rate
from plain_loop import NETWORKS, SIZE_PX
from side_by_side import ROOT, Row, alone, arguments, keep, last_json, run, side_by_side, skipped

TARGET = {"resnet50": 4.0, "inceptionv3": 3.0, "simple_cnn": 2.0}
TARGET_GPU = {"resnet50": 5.0}
SHARE_TARGET = 0.05
AS_THE_LOOP = ["optimizer=sgd", "optimizer.lr=0.001", "scheduler=none", "data.balance=none"]


def ours(name: str, batches: int) -> float:
    """Return images per second of the second epoch of train.py."""
    choices = [f"model={name}", "model.pretrained=false", f"model.image_size={SIZE_PX[name]}"]
    augment = "augment=none" if name == "simple_cnn" else "augment=baseline_transfer"
    return warm_rate(batches, *choices, augment, *AS_THE_LOOP)["images_per_s"]


def plain_loop(name: str, batches: int) -> float:
    """Return images per second of the plain loop after its first batch."""
    words = ["--network", NETWORKS.index(name), "--batches", batches]
    return last_json(run(ROOT / "benchmarks" / "plain_loop.py", *words))["images_per_s"]


def main() -> None:
    given = arguments(__doc__, repeats=3, our_batches=8, plain_batches=3, cnn_batches=40, share_batches=40)
    gpu = torch.cuda.is_available()
    rows: list[Row] = []
    for name in NETWORKS:
        small = name == "simple_cnn"
        target = (TARGET_GPU if gpu else TARGET).get(name)
        rows.append(
            side_by_side(
                f"{name} at {SIZE_PX[name]} px ÷ plain loop{' on a GPU' if gpu else ''}",
                lambda name=name, small=small: ours(name, given.cnn_batches if small else given.our_batches),
                lambda name=name, small=small: plain_loop(name, given.cnn_batches if small else given.plain_batches),
                repeats=given.repeats,
                target=target,
            )
        )
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
