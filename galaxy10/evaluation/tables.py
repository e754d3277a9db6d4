"""The tables of a run directory that come from data and network: split, class distribution, predictions."""

from pathlib import Path

import lightning as L
import pandas as pd

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.resampling import presented
from galaxy10.data.split import SUBSETS, Split
from galaxy10.evaluation.samples import save_misclassified
from galaxy10.files import replacing
from galaxy10.models.classifier import Classifier
from galaxy10.runs.files import RunFiles


def write_split(path: Path, split: Split, data: GalaxyData) -> None:
    """split.parquet and class_distribution.csv."""
    files = RunFiles(path)
    files.write_split(split.table)
    counts = pd.crosstab(split.table["label"], split.table["subset"])
    classes = range(len(data.class_names))
    table = pd.DataFrame({"class_id": classes, "class_name": data.class_names})
    for subset in (*SUBSETS, "dropped"):
        table[subset] = counts.reindex(classes, fill_value=0).get(subset, pd.Series(0, index=classes)).to_numpy()
    table["presented"] = presented(data.labels("train"), data.balance, len(data.class_names)).round(1)
    with replacing(files.class_distribution) as part:
        table.to_csv(part, index=False)


def score(
    trainer: L.Trainer, module: Classifier, data: GalaxyData, subsets: list[str], path: Path
) -> dict[str, float | None]:
    """Evaluate subsets, write their tables and most confident mistakes, and return `<subset>/<metric>`."""
    files, metrics = RunFiles(path), dict[str, float | None]()
    for subset in subsets:
        run = trainer.validate if subset == "val" else trainer.test
        module.predictions = None
        run(module, datamodule=data, verbose=False)
        if not trainer.is_global_zero or module.predictions is None:  # limit_val_batches=0 leaves it unread
            continue
        metrics |= {key: value for key, value in module.metrics.items() if key.startswith(f"{subset}/")}
        files.write_predictions(subset, module.predictions)
        save_misclassified(
            data.store.images, module.predictions, module.class_names, files.samples(f"misclassified_{subset}")
        )
    return metrics
