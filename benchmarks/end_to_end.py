"""Compare train.py from start to exit, ResNet50 at 224 px for one epoch, with a bare loop over one fixed batch."""

import torch
from our_runs import train
from side_by_side import ROOT, Row, arguments, keep, last_json, run, seconds, side_by_side, skipped

ON_A_GPU = "train.py compiled ÷ bare compiled bf16 loop on a GPU"


def main() -> None:
    given = arguments(__doc__, repeats=1, images=2000)
    gpu = torch.cuda.is_available()
    batches = given.images // 32
    images = batches * 32
    # Default augmentation; balancing repeats the training subset as often as necessary.
    ours = [
        "model=resnet50", "model.pretrained=false", "model.image_size=224", "trainer.max_epochs=1",
        f"trainer.limit_train_batches={batches}", "trainer.limit_val_batches=0", "run.test=false",
        f"trainer.compile={str(gpu).lower()}", "data.protocol=baseline_90_10", "data.balance=dihedral",
    ]  # fmt: skip
    inside: dict[str, list[float]] = {"ours": [], "theirs": []}

    def our_command() -> float:
        _, profile, whole_s = train(*ours)
        inside["ours"].append(profile[0]["images_per_s"])
        return images / whole_s

    def bare_command() -> float:
        words = ["--images", images, "--compiled", int(gpu)]
        whole_s = seconds(
            lambda: inside["theirs"].append(
                last_json(run(ROOT / "benchmarks" / "bare_loop.py", *words))["images_per_s"]
            )
        )
        return images / whole_s

    name = ON_A_GPU if gpu else "train.py, start to exit ÷ bare loop, start to exit"
    rows = [side_by_side(name, our_command, bare_command, repeats=given.repeats, target=0.9 if gpu else 0.93)]
    rows.append(Row("images/s of the epoch, without start and end", "images/s", inside["ours"], inside["theirs"]))
    print(rows[-1].line())
    if not gpu:
        rows.append(skipped(ON_A_GPU, "this machine has NO GPU", 0.9))
    keep("end_to_end_gpu" if gpu else "end_to_end", rows, given)


if __name__ == "__main__":
    main()
