"""Image samples for the report, kept in the run directory so that the report does not read the data."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from galaxy10.classes import slugs
from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.resampling import NUM_DIHEDRAL
from galaxy10.data.thumbnails import save_arrays, thumbnails
from galaxy10.runs.files import RunFiles

BATCH_SHOWN = 15
MISCLASSIFIED_SHOWN = 36
DEMONSTRATED = 3  # galaxies, each in a row of five images
NOISE_STEPS = (0.0, 0.1, 0.2, 0.5, 1.0)  # β in units of the data set's σ; the published baseline has 0.2


def save_batch(data: GalaxyData, path: Path) -> None:
    """Save the first training batch as the network sees it: augmented, with the normalisation undone."""
    assert data.preprocessing is not None
    batch = next(iter(data.train_dataloader()))
    batch = {key: value[:BATCH_SHOWN] for key, value in batch.items()}
    inputs = data.augmented(batch, epoch=0)
    images = data.preprocessing.denormalize(inputs).numpy()
    save_arrays(path, images=images, labels=batch["labels"].numpy(), rows=batch["rows"].numpy())


def save_demonstrations(data: GalaxyData, files: RunFiles) -> None:
    """Save three training galaxies with noise and with augmentation, at the network's input size.

    noise.npz holds each galaxy with noise of several β. augmentation.npz holds each galaxy as in the file and as in
    four epochs; without augmentation it is not written. The normalisation is undone.
    """
    preprocessing, augmentation = data.preprocessing, data.augmentation
    assert preprocessing is not None
    batch = {key: value[:DEMONSTRATED] for key, value in next(iter(data.train_dataloader())).items()}
    labels, rows = (batch[key].numpy() for key in ("labels", "rows"))
    upright = torch.zeros_like(batch["rows"])
    noisy = [
        preprocessing.train_transform(
            batch["images"], Augmentation(noise=beta), data.seed, 0, batch["rows"], batch["repeat_index"], upright
        )
        for beta in NOISE_STEPS
    ]
    sigma = float(np.mean(preprocessing.noise_sigma))
    beta = np.tile(np.array(NOISE_STEPS) * sigma, len(rows))
    save_arrays(files.samples("noise"), **_side_by_side(noisy, preprocessing, rows, labels), beta=beta)
    turns = data.balance in ("soft", "dihedral")
    if augmentation == Augmentation(name=augmentation.name) and not turns:
        return
    shown = [preprocessing.eval_transform(batch["images"])]
    for epoch in range(len(NOISE_STEPS) - 1):
        turned = upright + epoch % NUM_DIHEDRAL if turns else upright
        shown.append(data.augmented({**batch, "dihedral": turned}, epoch))
    variant = np.tile(np.arange(len(shown)), len(rows))
    save_arrays(files.samples("augmentation"), **_side_by_side(shown, preprocessing, rows, labels), variant=variant)


def _side_by_side(
    versions: list[torch.Tensor], preprocessing: Preprocessing, rows: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Interleave versions (n, 3, S, S) of n galaxies: images, rows and labels, all versions of a galaxy together."""
    images = np.stack([preprocessing.denormalize(version).numpy() for version in versions], axis=1)
    return {
        "images": thumbnails(images.reshape(-1, *images.shape[2:])),
        "rows": np.repeat(rows, len(versions)),
        "labels": np.repeat(labels, len(versions)),
    }


def save_misclassified(
    images: np.ndarray | None, table: pd.DataFrame, class_names: tuple[str, ...], path: Path
) -> None:
    """Save the misclassified images of a prediction table, the most confident first.

    images: the store's array (N, H, W, 3); None without a store: `path` is removed, if it exists. table: row, label,
    predicted, predicted_name, p_<slug>….
    """
    if images is None:
        path.unlink(missing_ok=True)
        return
    columns = [f"p_{name}" for name in slugs(class_names)]
    confidence = table[columns].max(axis=1)
    wrong = table.assign(confidence=confidence)[table["predicted"] != table["label"]]
    wrong = wrong.sort_values("confidence", ascending=False, kind="stable").head(MISCLASSIFIED_SHOWN)
    rows = wrong["row"].to_numpy(np.int64)
    save_arrays(
        path,
        images=thumbnails(images[rows]),
        rows=rows,
        labels=wrong["label"].to_numpy(np.int64),
        predicted=wrong["predicted"].to_numpy(np.int64),
        confidence=wrong["confidence"].to_numpy(np.float64),
    )
