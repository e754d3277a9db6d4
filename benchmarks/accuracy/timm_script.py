"""Train EfficientNet-Lite0 with timm's own training script on the rows of a split table, and test it.

python benchmarks/accuracy/timm_script.py TRAIN.PY FILE.h5 SPLIT.csv --seed 0 --epochs 5       (started by run.py)

The script is not in timm's package: TRAIN.PY is train.py of https://github.com/huggingface/pytorch-image-models. It
reads folders of images, writes its checkpoints, and keeps that of the epoch with the best validation accuracy, which is
tested. The flags are the best of four sets on validation galaxies (Galaxy10 DECaLS, 69 of them, one or two seeds): the
script's own crops, colours and smoothing, flips in both directions, and AdamW instead of SGD. Other flags than those
below are passed on to the script. Prints accuracy, macro-F1 and the seconds of the script's process as JSON.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from rivals import BACKBONE, BATCH, Galaxies, network, score
from timm.data import create_transform

from galaxy10.models.precision import choose_precision
from galaxy10.models.weights import find_weights

FLAGS = [
    "--opt=adamw", "--lr=1e-3", "--weight-decay=0.05", "--sched=cosine", "--sched-on-updates", "--warmup-epochs=1",
    "--warmup-lr=1e-5", "--cooldown-epochs=0", "--vflip=0.5", "--channels-last",
]  # fmt: skip


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=Path)
    parser.add_argument("file")
    parser.add_argument("split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--image-px", type=int, default=128)
    parser.add_argument("--subset", default="test", help="that is scored: val to choose flags")
    given, flags = parser.parse_known_args()
    torch.manual_seed(given.seed)
    table, source = pd.read_csv(given.split), find_weights(BACKBONE, None)
    with tempfile.TemporaryDirectory(prefix="galaxy10-timm-") as name:
        folder = Path(name)
        classes = write_images(given.file, table, folder)
        torch.save(network(classes, source).state_dict(), folder / "initial.pth")
        start = time.perf_counter()
        trained = train(given, folder, classes, source, flags)
        seconds = time.perf_counter() - start
        size = {"input_size": (3, given.image_px, given.image_px), "mean": source.mean, "std": source.std}
        scored = Galaxies(given.file, table, given.subset, create_transform(**size, crop_pct=1.0))
        model = timm.create_model(BACKBONE, num_classes=classes, checkpoint_path=str(trained))
    print(json.dumps(score(model, torch.utils.data.DataLoader(scored, 128)) | {"seconds": seconds}))


def write_images(path: str, table: pd.DataFrame, folder: Path) -> int:
    """Write the images as folder/subset/class/row.png for the script; return the number of classes."""
    with h5py.File(path) as file:
        labels = np.unique(np.asarray(file["ans"]), return_inverse=True)[1]
        for subset in ("train", "val"):
            for row in np.sort(table.loc[table["subset"] == subset, "row"].to_numpy()):
                place = folder / subset / f"{labels[row]:03d}"  # sorted as the class numbers
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(file["images"][row]).save(place / f"{row}.png", compress_level=1)
    return int(labels.max()) + 1


def train(given: argparse.Namespace, folder: Path, classes: int, source: Any, flags: list[str]) -> Path:
    """Run the script; return the checkpoint of its best epoch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = str(given.image_px)
    words = [sys.executable, str(given.script.absolute()), str(folder), "--train-split=train", "--val-split=val"]
    words += [f"--model={BACKBONE}", f"--num-classes={classes}", f"--initial-checkpoint={folder / 'initial.pth'}"]
    words += ["--input-size", "3", side, side, "--crop-pct=1", "--mean", *map(str, source.mean), "--std"]
    words += [*map(str, source.std), f"--batch-size={BATCH}", f"--epochs={given.epochs}", f"--seed={given.seed}"]
    words += ["--workers=1", f"--output={folder}", "--experiment=run", *FLAGS, *flags]
    words += (
        [f"--device={device}"] if '"--device"' in given.script.read_text().replace("'", '"') else []
    )  # from timm 1 on
    if choose_precision("auto", "auto", BACKBONE, given.image_px).name == "bf16-mixed":
        words += ["--amp", "--amp-dtype=bfloat16"]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    best = folder / "run" / "model_best.pth.tar"
    if done.returncode or not best.exists():
        sys.exit(f"{given.script} ended with exit code {done.returncode}:\n{done.stdout[-3000:]}")
    return Path(shutil.move(best, folder / "best.pth.tar"))


if __name__ == "__main__":
    main()
