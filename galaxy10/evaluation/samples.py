"""Pictures that the report needs: kept in the run directory, so that nothing downstream opens the data again."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from galaxy10.classes import slugs
from galaxy10.data.augment import Augmentation, Preprocessing, center_square
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.resampling import NUM_ORIENTATIONS
from galaxy10.files import replacing

BATCH_SHOWN = 15
MISCLASSIFIED_SHOWN = 36
THUMBNAIL_PX = 128
DEMONSTRATED = 3  # galaxies, each in a row of five pictures
NOISE_STEPS = (0.0, 0.1, 0.2, 0.5, 1.0)  # β in units of the data set's σ; the study's is 0.2


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """An .npz file of plain arrays, whole or not at all."""
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def save_batch(data: GalaxyData, path: Path) -> None:
    """The first training batch as the network sees it: augmented, with the normalisation undone."""
    assert data.preprocessing is not None
    batch = next(iter(data.train_dataloader()))
    batch = {key: value[:BATCH_SHOWN] for key, value in batch.items()}
    inputs = data.augmented(batch, epoch=0)
    images = data.preprocessing.denormalize(inputs).numpy()
    save_arrays(path, images=images, labels=batch["labels"].numpy(), rows=batch["rows"].numpy())


def save_demonstrations(data: GalaxyData, folder: Path) -> None:
    """noise.npz: three training galaxies at several β; augmentation.npz, if the recipe changes them: as in the file,
    and as four epochs show them. All at the network's input size, with the normalisation undone.
    """
    preprocessing, augmentation = data.preprocessing, data.augmentation
    assert preprocessing is not None
    batch = {key: value[:DEMONSTRATED] for key, value in next(iter(data.train_dataloader())).items()}
    labels, rows = (batch[key].numpy() for key in ("labels", "rows"))
    upright = torch.zeros_like(batch["rows"])
    noisy = [
        preprocessing.train_transform(
            batch["images"], Augmentation(noise=beta), data.seed, 0, batch["rows"], batch["copies"], upright
        )
        for beta in NOISE_STEPS
    ]
    sigma = float(np.mean(preprocessing.noise_sigma))
    beta = np.tile(np.array(NOISE_STEPS) * sigma, len(rows))
    save_arrays(folder / "noise.npz", **_side_by_side(noisy, preprocessing, rows, labels), beta=beta)
    turns = data.balance in ("soft", "dihedral")
    if augmentation == Augmentation(name=augmentation.name) and not turns:
        return
    shown = [preprocessing.eval_transform(batch["images"])]
    for epoch in range(len(NOISE_STEPS) - 1):
        turned = upright + epoch % NUM_ORIENTATIONS if turns else upright
        shown.append(data.augmented({**batch, "dihedral": turned}, epoch))
    variant = np.tile(np.arange(len(shown)), len(rows))
    save_arrays(folder / "augmentation.npz", **_side_by_side(shown, preprocessing, rows, labels), variant=variant)


def _side_by_side(
    versions: list[torch.Tensor], preprocessing: Preprocessing, rows: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Versions of the same n galaxies, each (n, 3, S, S), as images, rows and labels with a galaxy's own together."""
    images = np.stack([preprocessing.denormalize(version).numpy() for version in versions], axis=1)
    return {
        "images": thumbnails(images.reshape(-1, *images.shape[2:])),
        "rows": np.repeat(rows, len(versions)),
        "labels": np.repeat(labels, len(versions)),
    }


def save_misclassified(images: np.ndarray, table: pd.DataFrame, class_names: tuple[str, ...], path: Path) -> None:
    """The most confident mistakes of a prediction table.

    images: the store's array (N, H, W, 3); table: row, label, predicted, p_<slug>….
    """
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


def thumbnails(images: np.ndarray) -> np.ndarray:
    """(n, H, W, 3) uint8 → (n, s, s, 3) uint8 with s at most 128 px."""
    if len(images) == 0:
        return np.empty((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), dtype=np.uint8)
    planes = center_square(torch.from_numpy(images)).permute(0, 3, 1, 2).float()
    if planes.shape[-1] > THUMBNAIL_PX:
        planes = torch.nn.functional.interpolate(
            planes, size=(THUMBNAIL_PX, THUMBNAIL_PX), mode="bilinear", antialias=True
        )
    return planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
