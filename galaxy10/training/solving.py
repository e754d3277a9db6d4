"""What stands in place of epochs for a model that is solved at once: fit, save, show what was found."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from galaxy10.classes import slugs
from galaxy10.console import say
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.loader import GalaxyLoader, SequentialSampler
from galaxy10.data.store import forget_pages
from galaxy10.evaluation.samples import save_arrays, thumbnails
from galaxy10.files import replacing
from galaxy10.metrics.classification import classification_metrics
from galaxy10.models.classifier import prediction_table
from galaxy10.models.pca import Components, PCAClassifier
from galaxy10.training.metrics_csv import MetricsCSV

COMPONENTS_SHOWN = 20


def solve(
    module: PCAClassifier, data: GalaxyData, trainer: dict[str, Any], recorder: MetricsCSV
) -> dict[str, float | None]:
    """Fit on the training galaxies and leave in the run directory what an epoch would, and what PCA has to show.

    That is checkpoints/best.ckpt and, the same as plain arrays, checkpoints/pca.npz; scree.csv; samples/components.npz;
    predictions/train.parquet; one row of metrics.csv and profile.csv.

    Args:
        trainer: the `trainer` section of the configuration, for its limits on training batches.

    Returns:
        `train/<metric>`: how well the training galaxies themselves are told apart.
    """
    path = recorder.directory.path
    rows, labels = data.split.rows("train"), data.labels("train")
    limit = training_limit(trainer, data.batch_size, len(rows))
    if limit < len(rows):
        chosen = np.sort(np.random.default_rng(data.seed).permutation(len(rows))[:limit])
        rows, labels = rows[chosen], labels[chosen]
    start = time.perf_counter()
    found, converged = module.solve(data, rows, labels)
    seconds = time.perf_counter() - start
    say(f"solved  {len(found.components)} components of {len(rows)} galaxies in {seconds:.1f} s")
    wanted = int(module.recipe["num_components"])
    if wanted > len(found.components):
        say(f"        model.num_components={wanted}, but that is all there are")
    if not converged:
        say(f"        the regression was stopped after model.max_iterations={module.recipe['max_iterations']}")
    save_model(module, path / "checkpoints")
    write_components(found, module, path)

    table, metrics = judge(module, data, rows, labels)
    with replacing(path / "predictions" / "train.parquet") as part:
        table.to_parquet(part, index=False)
    training = {f"train/{key}": value for key, value in metrics.items()}
    validation: dict[str, float | None] = {}
    if len(data.split.rows("val")):
        module.adapt(data, "val")
        metrics = judge(module, data, data.split.rows("val"), data.labels("val"))[1]
        validation = {f"val/{key}": value for key, value in metrics.items()}
    recorder.record_solution({**training, **validation}, len(rows), seconds, module.data_seconds)
    return training


def training_limit(trainer: dict[str, Any], batch_size: int, num_rows: int) -> int:
    """How many training galaxies Lightning's limits leave: 1 to num_rows."""
    if trainer["fast_dev_run"]:
        batches: float = int(trainer["fast_dev_run"])
    else:
        batches = trainer["overfit_batches"] or trainer["limit_train_batches"] or 1.0
    limit = batches * batch_size if isinstance(batches, int) or batches > 1 else batches * num_rows
    return max(1, min(num_rows, int(limit)))


def save_model(module: PCAClassifier, folder: Path) -> None:
    """best.ckpt, which everything reads that reads networks, and pca.npz for those who have numpy alone."""
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict(), "epoch": 0, "global_step": 0}
    module.on_save_checkpoint(checkpoint)
    with replacing(folder / "best.ckpt") as part:
        torch.save(checkpoint, part)
    network = {name.replace(".", "_"): tensor.numpy() for name, tensor in module.network.state_dict().items()}
    preprocessing = module.preprocessing
    save_arrays(
        folder / "pca.npz",
        **network,
        class_names=np.array(module.class_names),
        image_size=np.array(preprocessing.image_size),
        pixel_mean=np.array(preprocessing.mean),
        pixel_std=np.array(preprocessing.std),
    )


def write_components(found: Components, module: PCAClassifier, path: Path) -> None:
    """scree.csv, and the leading components as pictures: grey is zero, each stretched to its own largest value."""
    shares = found.explained_variance_ratio
    scree = pd.DataFrame({"component": np.arange(1, len(shares) + 1), "explained_variance_ratio": shares})
    with replacing(path / "scree.csv") as part:
        scree.to_csv(part, index=False)
    size = module.preprocessing.image_size
    shown = found.components[: min(COMPONENTS_SHOWN, int(module.recipe["num_components"]))]
    pictures = shown.reshape(-1, 3, size, size).transpose(0, 2, 3, 1)
    largest = np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
    pictures = (127.5 + 127.5 * pictures / np.maximum(largest, 1e-12)).round().astype(np.uint8)
    save_arrays(
        path / "samples" / "components.npz",
        images=thumbnails(pictures),
        explained_variance_ratio=shares[: len(pictures)].astype(np.float64),
    )


@torch.inference_mode()
def judge(
    module: PCAClassifier, data: GalaxyData, rows: np.ndarray, labels: np.ndarray
) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """Prediction table and metrics of any galaxies of the store, on the CPU."""
    scored = []
    for batch in GalaxyLoader(data.store.images, rows, labels, SequentialSampler(len(rows), data.eval_batch_size)):
        scored.append(
            (batch["rows"], batch["labels"], module.probabilities(module.preprocessing.eval_transform(batch["images"])))
        )
        forget_pages(data.store.images)
    table = prediction_table(scored, module.class_names)
    probabilities = table[[f"p_{slug}" for slug in slugs(module.class_names)]].to_numpy()
    metrics = classification_metrics(
        torch.tensor(probabilities), torch.tensor(table["label"].to_numpy()), module.class_names
    )
    return table, metrics
