"""Compare the accuracy of ResNet50 from scratch in bfloat16 and float32, with the same seeds.

Both precisions of a seed train at the same time, with one thread each; a seed of six epochs takes a quarter of an hour.
Each seed is stored as soon as it is finished; a later command with more --seeds of the same sizes adds to them:

OMP_NUM_THREADS=1 python benchmarks/accuracy_of_bf16.py gz1.h5 --epochs 6 --seeds 3
"""

import argparse
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from our_runs import train_on
from side_by_side import RESULTS, Row, keep

NAME = "accuracy_of_bf16"
METRICS = ("test/accuracy", "test/macro_f1", "test/loss")


def kept(given: argparse.Namespace) -> list[Row]:
    """Return the rows of the last result if it has the same sizes, else empty rows."""
    path = RESULTS / f"{NAME}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    same = {key: value for key, value in content.get("sizes", {}).items() if key != "seeds"}
    if same != {"file": given.file.name, "epochs": given.epochs, "size_px": given.size_px}:
        return [Row(name, "", [], []) for name in METRICS]
    return [Row(row["name"], "", row["ours"], row["theirs"]) for row in content["rows"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an HDF5 file of galaxies, e.g. Galaxy Zoo 1")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size-px", type=int, default=64)
    given = parser.parse_args()
    network = ["model=resnet50", "model.pretrained=false", f"model.image_size={given.size_px}", "model.tta_views=1"]
    rows = kept(given)
    for seed in range(len(rows[0].ours), given.seeds):
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
        keep(NAME, rows, argparse.Namespace(**{**vars(given), "file": given.file.name, "seeds": seed + 1}))
    for row in rows:
        both = (row.ours, row.theirs, [ours - theirs for ours, theirs in zip(row.ours, row.theirs, strict=True)])
        middle = [f"{statistics.mean(x):.4f} ± {statistics.stdev(x):.4f}" for x in both if len(x) > 1]
        print(f"{row.name:16}" + ", ".join(map(" ".join, zip(("bf16", "fp32", "difference"), middle, strict=False))))


if __name__ == "__main__":
    main()
