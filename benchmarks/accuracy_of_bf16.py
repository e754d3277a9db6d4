"""Does accuracy pay for speed? ResNet50 from scratch in float32 and bfloat16, the same seeds, side by side.

python benchmarks/accuracy_of_bf16.py gz1.h5 --epochs 6 --seeds 3 --size-px 64      (half an hour on two cores)
"""

import argparse
import statistics
from pathlib import Path

from our_runs import train_on
from side_by_side import Row, keep

METRICS = ("test/accuracy", "test/macro_f1", "test/loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an HDF5 file of galaxies, e.g. Galaxy Zoo 1")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size-px", type=int, default=64)
    given = parser.parse_args()
    network = ["model=resnet50", "model.pretrained=false", f"model.image_size={given.size_px}"]
    rows = [Row(name, "", [], []) for name in METRICS]
    for seed in range(given.seeds):
        for precision in ("bf16-mixed", "32-true"):
            words = [*network, f"seed={seed}", f"trainer.max_epochs={given.epochs}", f"trainer.precision={precision}"]
            result = train_on(["data=hdf5", f"data.path={given.file.resolve()}"], *words)[0]
            for row in rows:
                (row.ours if precision == "bf16-mixed" else row.theirs).append(result[row.name])
            values = ", ".join(f"{name} {result[name]:.4f}" for name in METRICS)
            print(f"seed {seed} {precision:10} {values}, {result['train/images_per_s']:.1f} images/s", flush=True)
    for row in rows:
        middle = [f"{statistics.mean(x):.4f} ± {statistics.stdev(x):.4f}" for x in (row.ours, row.theirs) if len(x) > 1]
        print(f"{row.name:16} bf16 {' | fp32 '.join(middle)}")
    given.file = given.file.name
    keep("accuracy_of_bf16", rows, given)


if __name__ == "__main__":
    main()
