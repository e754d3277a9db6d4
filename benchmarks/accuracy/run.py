"""Train our networks and their rivals on one split of each data set, and write the records that docs/records.md shows.

make benchmark-accuracy ARGS="--data gz1=gz1.h5 --data gz2=gz2.h5 --seeds 0,1,2"

Each run is a process of its own. Its result is kept in build/benchmark-accuracy as soon as it is there: after an
interruption, run the same command again, and nothing is trained twice.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from side_by_side import last_json, machine, run  # noqa: E402

OURS = {
    "ours: EfficientNet-Lite0": ["model=efficientnet_lite0"],
    "ours: D4 CNN": ["model=d4_cnn", "model.network.size=small"],
    "ours: its plain twin": ["model=plain_cnn", "model.network.size=small"],
    "ours: D4 ResNet": ["model=d4_resnet", "model.network.size=small"],
    "ours: its plain twin (ResNet)": ["model=plain_resnet", "model.network.size=small"],
    "ours: simple CNN": ["model=simple_cnn"],
    "PCA + logistic regression": ["experiment=tuned_pca", "data.protocol=default", "data.balance=none"],
}
RIVALS = {"plain loop: EfficientNet-Lite0": "plain", "timm's parts: EfficientNet-Lite0": "timm"}
BEGIN, END = "<!-- benchmark-accuracy: begin -->", "<!-- benchmark-accuracy: end -->"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FILE.h5")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=5, help="of the pretrained networks")
    parser.add_argument("--scratch-epochs", type=int, default=20, help="of networks without pretrained weights")
    parser.add_argument("--image-px", type=int, default=128)
    parser.add_argument("--only", default="", help="comma-separated parts of names, such as D4,plain loop")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmark-accuracy")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="put the tables into this page")
    given = parser.parse_args()
    wanted = [part for part in given.only.split(",") if part]
    names = [name for name in (*OURS, *RIVALS) if not wanted or any(part in name for part in wanted)]
    tables = []
    for data in given.data:
        name, _, path = data.partition("=")
        if not Path(path).is_file():
            sys.exit(f"--data {data}: there is no file {path!r}; type --data NAME=FILE.h5")
        folder = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        split = folder / "split.csv"
        if not split.exists():
            run("-m", "galaxy10", "split", Path(path).absolute(), "-o", split, "--store-dir", given.out / "store")
        results = {n: [measure(n, Path(path), folder, seed, given) for seed in given.seeds.split(",")] for n in names}
        tables.append(table(name, results, given))
        print("\n".join(tables[-1]), flush=True)
    if given.write:
        write(given.write, tables)


def measure(name: str, path: Path, folder: Path, seed: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return the result of one run; train it if it is not there yet."""
    slug = "".join(c if c.isalnum() else "_" for c in name.lower())
    pretrained = "Lite0" in name
    epochs = given.epochs if pretrained else given.scratch_epochs
    kept = folder / f"{slug}-{given.image_px}px-{epochs}epochs-seed{seed}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    data = [str(path.absolute()), str(folder / "split.csv")]
    if name in RIVALS:
        words = ["--seed", seed, "--epochs", epochs, "--image-px", given.image_px]
        result = last_json(run(HERE / "rivals.py", RIVALS[name], *data, *words))
    else:
        words = ["data=hdf5", f"data.path={data[0]}", f"data.split_file={data[1]}", *OURS[name], f"seed={seed}"]
        words += [f"data.store_dir={given.out / 'store'}", "logger=csv", "run.report=false", "run.overwrite=true"]
        words += [f"run.dir={kept.with_suffix('')}"]
        if not name.startswith("PCA"):
            words += [f"trainer.max_epochs={epochs}"]
            words += [] if "simple" in name else [f"model.image_size={given.image_px}"]
        found = last_json(run(ROOT / "train.py", *words))
        result = {
            "accuracy": found["test/accuracy"],
            "macro_f1": found["test/macro_f1"],
            "seconds": found["train/seconds"],
            "split": found["split_hash"],
        }
    result |= {"command": " ".join(map(str, words)), "commit": commit(), "machine": machine()}
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.rename(kept)
    print(f"{path.name} {name} seed {seed}: {result['accuracy']:.3f} / {result['macro_f1']:.3f}", flush=True)
    return result


def commit() -> str:
    """Return the short hash of the checkout."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def table(data: str, results: dict[str, list[dict[str, Any]]], given: argparse.Namespace) -> list[str]:
    """Return the Markdown table of one data set, the best accuracy first."""
    epochs = [r["epoch_seconds"] for r in results.get("plain loop: EfficientNet-Lite0", [])]
    unit = statistics.median(epochs) if epochs else None
    some = next(iter(results.values()))[0]
    where = f"{some['machine']['cores']} cores {some['machine']['cpu']}"
    head = "time, plain epochs" if unit else "time, s"
    lines = [
        f"**{data}**, seeds {given.seeds}, inputs of {given.image_px} px, {where}"
        + (f"; one epoch of the plain loop: {unit:.0f} s" if unit else ""),
        "",
        f"| network | accuracy | macro-F1 | {head} | commit |",
        "|---|---|---|---|---|",
    ]
    for name, runs in sorted(results.items(), key=lambda item: -mean(r["accuracy"] for r in item[1])):
        seconds = statistics.median(r["seconds"] for r in runs)
        time = f"{seconds / unit:.1f}" if unit else f"{seconds:.0f}"
        commits = ", ".join(sorted({r["commit"] for r in runs}))
        scores = " | ".join(spread([r[key] for r in runs]) for key in ("accuracy", "macro_f1"))
        lines.append(f"| {name} | {scores} | {time} | {commits} |")
    return [*lines, ""]


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    return statistics.fmean(values)


def spread(values: list[float]) -> str:
    """Return mean ± standard deviation over seeds, or the one value."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{deviation}"


def write(page: Path, tables: list[list[str]]) -> None:
    """Replace what stands between the marks of a page."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{page} has no lines {BEGIN} and {END}; add them where the tables belong")
    before, _, rest = text.partition(BEGIN)
    content = "\n".join(line for lines in tables for line in lines)
    part = page.with_suffix(".part")
    part.write_text(f"{before}{BEGIN}\n{content}{END}{rest.partition(END)[2]}")
    part.rename(page)


if __name__ == "__main__":
    main()
