"""Does accuracy pay for speed? ResNet50 from scratch in float32 and bfloat16, the same seeds, side by side.

Both precisions of a seed train at once: accuracy is what is asked here, not time. Give each a thread of its own:

OMP_NUM_THREADS=1 python benchmarks/accuracy_of_bf16.py gz1.h5 --epochs 2      (a quarter of an hour on two cores)
"""

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor
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
    network = ["model=resnet50", "model.pretrained=false", f"model.image_size={given.size_px}", "model.views=1"]
    rows = [Row(name, "", [], []) for name in METRICS]
    for seed in range(given.seeds):
        words = [*network, f"seed={seed}", f"trainer.max_epochs={given.epochs}", "run.report=false"]

        def result(precision: str, words: list[str] = words) -> dict[str, float]:
            data = ["data=hdf5", f"data.path={given.file.resolve()}"]
            return train_on(data, *words, f"trainer.precision={precision}")[0]

        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(result, ("bf16-mixed", "32-true")))
        for row in rows:
            row.ours.append(both[0][row.name])
            row.theirs.append(both[1][row.name])
        for precision, found in zip(("bf16", "fp32"), both, strict=True):
            print(f"seed {seed} {precision} " + ", ".join(f"{name} {found[name]:.4f}" for name in METRICS), flush=True)
    for row in rows:
        middle = [f"{statistics.mean(x):.4f} ± {statistics.stdev(x):.4f}" for x in (row.ours, row.theirs) if len(x) > 1]
        print(f"{row.name:16} bf16 {' | fp32 '.join(middle)}")
    given.file = given.file.name
    keep("accuracy_of_bf16", rows, given)


if __name__ == "__main__":
    main()
