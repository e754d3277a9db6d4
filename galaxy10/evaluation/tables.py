"""Tables of a run directory: split, class distribution and predictions."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd

from galaxy10.data.custom_datamodule import store_of
from galaxy10.data.subsets import SUBSETS
from galaxy10.evaluation.samples import save_misclassified
from galaxy10.files import atomic_write
from galaxy10.metrics.logged import logged_values, of_subset
from galaxy10.models.classifier import Classifier
from galaxy10.runs.files import RunFiles


def write_split(path: Path, table: pd.DataFrame, class_names: Sequence[str], per_epoch: np.ndarray) -> None:
    """Write split.parquet and class_distribution.csv.

    table: the table of a Split. per_epoch: mean number of training images of each class in an epoch, (C,).
    """
    files = RunFiles(path)
    files.write_split(table)
    counts = pd.crosstab(table["label"], table["subset"])
    classes = range(len(class_names))
    distribution = pd.DataFrame({"class_id": classes, "class_name": class_names})
    for subset in (*SUBSETS, "dropped"):
        distribution[subset] = counts.reindex(classes, fill_value=0).get(subset, pd.Series(0, index=classes)).to_numpy()
    distribution["images_per_epoch"] = np.round(per_epoch, 1)
    with atomic_write(files.class_distribution) as part:
        distribution.to_csv(part, index=False)


def evaluate_subsets(
    trainer: L.Trainer, module: Classifier, data: L.LightningDataModule, subsets: list[str], path: Path
) -> dict[str, float | None]:
    """Evaluate subsets, write their predictions and misclassified images, and return `<subset>/<metric>`."""
    files, metrics = RunFiles(path), dict[str, float | None]()
    for subset in subsets:
        run = trainer.validate if subset == "val" else trainer.test
        module.predictions = None
        run(module, datamodule=data, verbose=False)
        if not trainer.is_global_zero or module.predictions is None:  # limit_val_batches=0 leaves it unread
            continue
        metrics |= of_subset(logged_values(trainer.callback_metrics), subset)
        metrics |= {key: value for key, value in module.metrics.items() if key.startswith(f"{subset}/")}
        files.write_predictions(subset, module.predictions)
        store = store_of(data)
        images = None if store is None else store.images
        save_misclassified(images, module.predictions, module.class_names, files.samples(f"misclassified_{subset}"))
    return metrics
