"""Log a finished run to W&B: final metrics, figures, confusion matrices, misclassified galaxies, checkpoint.

Each function takes the wandb.Run and the run directory.
"""

from pathlib import Path
from typing import Any

import wandb

from galaxy10.runs.files import RunFiles
from galaxy10.runs.record import RunRecord, read_run


def log_summary(run: Any, path: Path) -> None:
    """Log the metrics of the best epoch as the run's summary; by default, W&B shows those of the last epoch."""
    best = RunFiles(path).read_status().get("best") or {}
    split_hash = RunFiles(path).split_hash()
    run.summary.update({**_metrics(path), "best/epoch": best.get("epoch"), "split_hash": split_hash})


def log_figures(run: Any, path: Path) -> None:
    """Log every figure of the report."""
    files = sorted(RunFiles(path).figures.glob("*.png"))
    run.log({f"figures/{file.stem}": wandb.Image(str(file)) for file in files})


def log_confusion_matrices(run: Any, path: Path) -> None:
    """Log the confusion matrix of every evaluated subset."""
    record = read_run(path)
    for subset, table in record.predictions.items():
        matrix = wandb.plot.confusion_matrix(
            y_true=table["label"].tolist(),
            preds=table["predicted"].tolist(),
            class_names=list(record.class_names),
            title=f"Confusion matrix, {subset}",
        )
        run.log({f"confusion_matrix/{subset}": matrix})


def log_misclassified(run: Any, path: Path) -> None:
    """Log a table of the most confident mistakes of every subset, with their images."""
    record = read_run(path)
    for subset in record.predictions:
        lines = _mistakes(record, subset)
        if lines:
            columns: list[Any] = ["galaxy", "row", "class", "predicted", "confidence"]
            run.log({f"misclassified/{subset}": wandb.Table(columns=columns, data=lines)})


def log_checkpoint(run: Any, path: Path) -> None:
    """Log the checkpoint of the best epoch as an artifact."""
    file = RunFiles(path).best
    if file.exists():
        artifact = wandb.Artifact(f"galaxy10-{run.id}", type="model", metadata={"run": path.name, **_metrics(path)})
        artifact.add_file(str(file), skip_cache=True)
        run.log_artifact(artifact, aliases=["best"])


def _mistakes(record: RunRecord, subset: str) -> list[Any]:
    sample = record.samples.get(f"misclassified_{subset}")
    if sample is None:
        return []
    images = [wandb.Image(image) for image in sample["images"]]
    true, predicted = record.names_of(sample["labels"]), record.names_of(sample["predicted"])
    columns = (images, sample["rows"].tolist(), true, predicted, sample["confidence"].tolist())
    return [list(line) for line in zip(*columns, strict=True)]


def _metrics(path: Path) -> dict[str, float]:
    metrics = RunFiles(path).read_status().get("metrics") or {}
    return {key: value for key, value in metrics.items() if value is not None}
