"""A synthetic run directory, written in the very layout that training writes."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image

from galaxy10.classes import GALAXY10_CLASSES, slugs
from galaxy10.metrics.confusion import class_scores, confusion_matrix
from galaxy10.metrics.predictions import prediction_table
from galaxy10.runs.files import FORMAT

MakeRun = Callable[..., Path]


HEAVY = ("torch", "lightning", "timm", "torchmetrics", "wandb")


def run_without_torch(program: str, *arguments: object) -> str:
    """Run a program, given its arguments in `paths`, in a process that must not import torch; what it prints."""
    start = "import sys; from pathlib import Path; paths = [Path(word) for word in sys.argv[1:]]\n"
    end = (
        f"\nheavy = [name for name in {HEAVY} if name in sys.modules]\nsys.exit(f'imported: {{heavy}}' if heavy else 0)"
    )
    command = [sys.executable, "-c", start + program + end, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not drawn: for pages whose words matter. Drawing is most of their time."""
    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "PNG")
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(pixel.getvalue()))


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A function that writes a finished run and returns its directory."""

    def make(name: str = "simple_cnn-0a1b2c", **options: Any) -> Path:
        return write_run(tmp_path / name, **options)

    return make


def write_run(
    path: Path,
    class_names: Sequence[str] = GALAXY10_CLASSES,
    num_test: int = 200,
    num_epochs: int = 6,
    seed: int = 0,
    split_seed: int = 0,
    skill: float = 0.7,
    model: str = "simple_cnn",
    images: np.ndarray | None = None,
) -> Path:
    """Write a finished run. skill: share of correct predictions; images: real ones for the galleries, else noise."""
    rng = np.random.default_rng([seed, len(model)])
    split_rng = np.random.default_rng(split_seed)
    num_classes, names = len(class_names), slugs(class_names)
    for folder in ("predictions", "samples"):
        (path / folder).mkdir(parents=True)
    counts = {"train": 4 * num_test, "val": num_test // 2, "test": num_test, "dropped": 5}
    split = _split(split_rng, counts, num_classes)
    split.to_parquet(path / "split.parquet", index=False)
    if images is None:
        images = rng.integers(0, 255, (30, 48, 48, 3), dtype=np.uint8)
    metrics: dict[str, Any] = {"train/images_per_s": 512.5, "train/data_time_fraction": 0.04}
    for subset in ("val", "test"):
        table = _predictions(rng, split[split["subset"] == subset], num_classes, names, skill)
        table.to_parquet(path / f"predictions/{subset}.parquet", index=False)
        metrics |= _metrics(table, subset, num_classes, names)
        _write_mistakes(path / f"samples/misclassified_{subset}.npz", table, images)
    labels = rng.integers(0, num_classes, len(images))
    np.savez(path / "samples/batch.npz", images=images, labels=labels, rows=np.arange(len(images)))
    _write_tables(path, rng, split, class_names, num_epochs, skill)
    _write_records(path, class_names, counts, metrics, seed, split_seed, model, num_epochs)
    return path


def _split(rng: np.random.Generator, counts: dict[str, int], num_classes: int) -> pd.DataFrame:
    subset = np.repeat(list(counts), list(counts.values()))
    rng.shuffle(subset)
    table = pd.DataFrame({"row": np.arange(len(subset)), "subset": subset, "fold": -1, "group": np.arange(len(subset))})
    table["reason"] = np.where(subset == "dropped", "duplicate with a conflicting label", None)
    weights = np.linspace(1, 3, num_classes)
    table["label"] = rng.choice(num_classes, len(table), p=weights / weights.sum())
    return table


def _predictions(rng, rows: pd.DataFrame, num_classes: int, names: list[str], skill: float) -> pd.DataFrame:
    labels = rows["label"].to_numpy()
    aim = np.where(rng.random(len(rows)) < skill, labels, rng.integers(0, num_classes, len(rows)))
    logits = rng.normal(size=(len(rows), num_classes))
    logits[np.arange(len(rows)), aim] += rng.uniform(2, 6, len(rows))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scored = [torch.from_numpy(array) for array in (rows["row"].to_numpy(copy=True), labels.copy(), probabilities)]
    return prediction_table([tuple(scored)], names)


def _metrics(table: pd.DataFrame, subset: str, num_classes: int, names: list[str]) -> dict[str, Any]:
    scores = class_scores(confusion_matrix(table["label"], table["predicted"], num_classes))
    metrics = {
        "accuracy": float((table["label"] == table["predicted"]).mean()),
        "balanced_accuracy": float(scores["recall"].mean()),
        "macro_f1": float(scores["f1"].mean()),
        "calibration_error": 0.0512,
        "loss": 0.912,
    }
    metrics |= {f"f1_{name}": None if np.isnan(f1) else float(f1) for name, f1 in zip(names, scores["f1"], strict=True)}
    return {f"{subset}/{key}": value for key, value in metrics.items()}


def _write_mistakes(path: Path, table: pd.DataFrame, images: np.ndarray) -> None:
    top = table.filter(like="p_").max(axis=1)
    wrong = table.assign(confidence=top)[table["label"] != table["predicted"]]
    wrong = wrong.sort_values("confidence", ascending=False).head(len(images))
    np.savez(
        path,
        images=images[: len(wrong)],
        rows=wrong["row"],
        labels=wrong["label"],
        predicted=wrong["predicted"],
        confidence=wrong["confidence"],
    )


def _write_tables(path: Path, rng, split: pd.DataFrame, class_names: Sequence[str], num_epochs: int, skill: float):
    epoch = np.arange(num_epochs)
    learned = skill * (1 - np.exp(-(epoch + 1) / 4))
    curves = pd.DataFrame({"epoch": epoch, "step": 100 * (epoch + 1), "lr": 0.01 * np.cos(epoch / max(num_epochs, 1))})
    for subset, shift in (("train", 0.05), ("val", 0.0)):
        noise = rng.normal(0, 0.01, num_epochs)
        curves[f"{subset}/loss"] = 2.3 * np.exp(-(epoch + 1) / 5) + 0.5 - shift + noise
        curves[f"{subset}/accuracy"] = learned + shift + noise
    curves["val/balanced_accuracy"] = learned - 0.03
    curves["val/macro_f1"] = learned - 0.05
    curves["val/calibration_error"] = 0.3 * np.exp(-epoch / 4)
    curves.to_csv(path / "metrics.csv", index=False)
    pd.DataFrame({"epoch": epoch, "seconds": 3.2, "images_per_s": 512.5, "data_time_fraction": 0.04}).to_csv(
        path / "profile.csv", index=False
    )
    distribution = pd.crosstab(split["label"], split["subset"])
    distribution = distribution.reindex(range(len(class_names)), fill_value=0).rename_axis(index="class_id")
    distribution.insert(0, "class_name", list(class_names))
    distribution["images_per_epoch"] = int(distribution["train"].max())
    distribution.reset_index().to_csv(path / "class_distribution.csv", index=False)


def _write_records(path: Path, class_names, counts, metrics, seed, split_seed, model, num_epochs) -> None:
    config = {
        "seed": seed,
        "data": {"path": "galaxies.h5", "split_seed": split_seed},
        "model": {"name": model, "image_size": 69},
        "optimizer": {"lr": 0.01},
        "trainer": {"max_epochs": num_epochs},
        "run": {"dir": str(path)},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    provenance = {
        "format": FORMAT,
        "galaxy10": "0.1.0",
        "git": {"commit": "0123456789abcdef0123", "dirty": True},
        "packages": {"torch": "2.15.0", "timm": "1.0.20"},
        "python": "3.11.7",
        "platform": "Linux-6.1-x86_64",
        "device": {"accelerator": "cpu", "devices": 1, "name": "2 cores"},
        "command": f"python train.py data=hdf5 data.path=galaxies.h5 model={model} seed={seed}",
        "seed": seed,
        "data": {
            "path": "/data/galaxies.h5", "name": "galaxies", "num_images": sum(counts.values()),
            "image_shape": [256, 256, 3], "class_names": list(class_names), "identity": "9f86d081884c7d65",
            "pixel_mean": [0.167, 0.162, 0.159], "pixel_std": [0.128, 0.118, 0.111],
        },
        "split": {
            "hash": f"5f1d{split_seed:04d}", "protocol": "default", "split_seed": split_seed, "counts": counts,
            "notes": ["no ra/dec in the file: grouped by identical pixels only"],
        },
        "model": {
            "name": model, "parameters": 9_000_000, "trainable_parameters": 9_000_000, "image_size": 69,
            "weights": "none (random)", "mean": [0.167, 0.162, 0.159], "std": [0.128, 0.118, 0.111],
        },
    }  # fmt: skip
    (path / "provenance.json").write_text(json.dumps(provenance))
    best = {"epoch": max(0, num_epochs - 2), "metric": "val/macro_f1", "value": 0.71}
    status = {
        "state": "finished", "started": "2026-11-23T21:00:00", "ended": "2026-11-23T21:03:12", "seconds": 192.4,
        "error": None, "epoch": num_epochs - 1, "best": best, "metrics": metrics,
    }  # fmt: skip
    (path / "status.json").write_text(json.dumps(status))


def set_config(run: Path, section: str, **settings) -> None:
    """Change settings of a run's configuration."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section] |= settings
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def set_provenance(run: Path, section: str, **facts) -> None:
    """Change facts of a run's provenance."""
    about = json.loads((run / "provenance.json").read_text())
    about[section] |= facts
    (run / "provenance.json").write_text(json.dumps(about))
