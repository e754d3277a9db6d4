"""Train our networks and their rivals on one split of each data set, and write the records that docs/records.md shows.

make benchmark-accuracy ARGS="--data 'Galaxy Zoo 1=gz1.h5' --seeds 0,1,2"

Each run is a process of its own. Its result is kept in build/benchmark-accuracy as soon as it is there: after an
interruption, run the same command again, and nothing is trained twice. A table holds everything that was kept of its
data set, so that networks and seeds can be added by further commands.

timm's own training script is not in its package: --timm-script TRAIN.PY adds it, from a copy of its repository.
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
    "ours: plain twin of the D4 CNN": ["model=plain_cnn", "model.network.size=small"],
    "ours: D4 ResNet": ["model=d4_resnet", "model.network.size=small"],
    "ours: plain twin of the D4 ResNet": ["model=plain_resnet", "model.network.size=small"],
    "ours: simple CNN": ["model=simple_cnn"],
    "PCA + logistic regression": ["experiment=tuned_pca", "data.protocol=default", "data.balance=none"],
}
RIVALS = {"plain loop: EfficientNet-Lite0": "plain", "timm's parts: EfficientNet-Lite0": "timm"}
TIMM_SCRIPT = "timm's train.py: EfficientNet-Lite0"
BEGIN, END = "<!-- benchmark-accuracy: begin -->", "<!-- benchmark-accuracy: end -->"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, metavar="NAME=FILE.h5")
    parser.add_argument("--train-fraction", type=float, help="of the training images; a table of its own")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=5, help="of the pretrained networks")
    parser.add_argument("--scratch-epochs", type=int, default=20, help="of networks without pretrained weights")
    parser.add_argument("--image-px", type=int, default=128, help="of the pretrained networks")
    parser.add_argument("--scratch-image-px", type=int, default=64, help="of networks without pretrained weights")
    parser.add_argument("--timm-script", type=Path, metavar="TRAIN.PY", help="timm's own training script: a rival more")
    parser.add_argument("--only", default="", help="comma-separated parts of names, such as D4,plain loop")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmark-accuracy")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="put the tables into this page")
    given = parser.parse_args()
    given.out = given.out.absolute()  # the processes have another working directory
    wanted = [part for part in given.only.split(",") if part]
    if given.timm_script and not given.timm_script.is_file():
        sys.exit(f"--timm-script: there is no file {str(given.timm_script)!r}; name train.py of timm's repository")
    all_names = (*OURS, *RIVALS, *([TIMM_SCRIPT] if given.timm_script else []))
    names = [name for name in all_names if not wanted or any(part in name for part in wanted)]
    tables = {}
    for data in given.data:
        name, _, path = data.partition("=")
        if not Path(path).is_file():
            sys.exit(f"--data {data}: there is no file {path!r}; type --data NAME=FILE.h5")
        few = given.train_fraction
        name += f", {100 * few:g} % of the labels" if few else ""
        folder = given.out / slug(name)
        folder.mkdir(parents=True, exist_ok=True)
        split = folder / "split.csv"
        if not split.exists():
            options = ["--store-dir", given.out / "store", *(["--train-fraction", few] if few else [])]
            run("-m", "galaxy10", "split", Path(path).absolute(), "-o", split, *options)
        for network in names:
            for seed in given.seeds.split(","):
                measure(network, Path(path), folder, int(seed), given)
        tables[name] = table([json.loads(kept.read_text()) for kept in sorted(folder.glob("*.json"))])
        print("\n".join([f"### {name}", "", *tables[name]]), flush=True)
    if given.write:
        write(given.write, tables)


def measure(name: str, path: Path, folder: Path, seed: int, given: argparse.Namespace) -> None:
    """Train one network with one seed and keep its result, unless it is there already."""
    pretrained = "Lite0" in name
    epochs = given.epochs if pretrained else given.scratch_epochs
    image_px = given.image_px if pretrained else given.scratch_image_px
    kept = folder / f"{slug(name)}-{image_px}px-{epochs}epochs-seed{seed}.json"
    if kept.exists():
        return
    data = [str(path.absolute()), str(folder / "split.csv")]
    if name == TIMM_SCRIPT:
        shown = ["--epochs", str(epochs), "--image-px", str(image_px)]
        result = last_json(run(HERE / "timm_script.py", given.timm_script.absolute(), *data, *shown, "--seed", seed))
        shown = ["benchmarks/accuracy/timm_script.py", *shown]
    elif name in RIVALS:
        shown = [RIVALS[name], "--epochs", str(epochs), "--image-px", str(image_px)]
        result = last_json(run(HERE / "rivals.py", *shown, *data, "--seed", seed))
        shown = ["benchmarks/accuracy/rivals.py", *shown]
    else:
        words = ["data=hdf5", f"data.path={data[0]}", f"data.split_file={data[1]}", f"seed={seed}"]
        words += [f"data.store_dir={given.out / 'store'}", "logger=csv", "run.report=false", "run.overwrite=true"]
        words += [f"run.dir={kept.with_suffix('')}"]
        shown = OURS[name]
        if not name.startswith("PCA"):
            shown = [*shown, f"trainer.max_epochs={epochs}"]
            shown += [] if "simple" in name else [f"model.image_size={image_px}"]
        found = last_json(run(ROOT / "train.py", *words, *shown))
        result = {
            "accuracy": found["test/accuracy"],
            "macro_f1": found["test/macro_f1"],
            "seconds": found["train/seconds"],
            "split": found["split_hash"],
        }
        shown = ["train.py", *shown]
    result |= {"network": name, "seed": seed, "command": " ".join(shown), "commit": commit(), "machine": machine()}
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.rename(kept)
    print(f"{path.name} {name} seed {seed}: {result['accuracy']:.3f} / {result['macro_f1']:.3f}", flush=True)


def slug(name: str) -> str:
    """Return a name as part of a file name."""
    return "".join(c if c.isalnum() else "_" for c in name.lower())


def commit() -> str:
    """Return the short hash of the checkout."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown table of one data set: a row for each network and command, the best accuracy first.

    Times are those of the fastest seed, which other work on the machine has disturbed least.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["network"], result["command"]), []).append(result)
    epochs = [result["epoch_seconds"] for result in results if result["network"] == "plain loop: EfficientNet-Lite0"]
    unit = min(epochs, default=None)
    machines = sorted({f"{r['machine']['cores']} cores {r['machine']['cpu']}" for r in results})
    splits = sorted({result["split"] for result in results if "split" in result})
    about = [f"Split {', '.join(splits)}" if splits else "", "; ".join(machines)]
    about += [f"One epoch of the plain loop: {unit:.0f} s" if unit else ""]
    lines = [
        ". ".join(filter(None, about)) + ".",
        "",
        f"| network | accuracy | macro-F1 | seeds | {'time, plain epochs' if unit else 'time, s'} | command | commit |",
        "|---" * 7 + "|",
    ]
    for (name, command), runs in sorted(groups.items(), key=lambda item: -mean(r["accuracy"] for r in item[1])):
        seconds = min(r["seconds"] for r in runs)
        time = f"{seconds / unit:.1f}" if unit else f"{seconds:.0f}"
        seeds, commits = (sorted({r[key] for r in runs}) for key in ("seed", "commit"))
        scores = " | ".join(spread([r[key] for r in runs]) for key in ("accuracy", "macro_f1"))
        listed = [", ".join(map(str, x)) for x in (seeds, commits)]
        lines.append(f"| {name} | {scores} | {listed[0]} | {time} | `{command}` | {listed[1]} |")
    return [*lines, ""]


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    return statistics.fmean(values)


def spread(values: list[float]) -> str:
    """Return mean ± standard deviation over seeds, or the one value."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{deviation}"


def write(page: Path, tables: dict[str, list[str]]) -> None:
    """Replace the tables of these data sets between the marks of a page, or add them; others stay."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{page} has no lines {BEGIN} and {END}; add them where the tables belong")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    sections = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in f"\n{old}".split("\n### ")[1:]}
    sections |= {name: "\n".join(lines).strip() for name, lines in tables.items()}
    content = "".join(f"\n### {name}\n\n{section}\n" for name, section in sections.items())
    part = page.with_suffix(".part")
    part.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}")
    part.rename(page)


if __name__ == "__main__":
    main()
