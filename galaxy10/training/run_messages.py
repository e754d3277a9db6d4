"""The lines that a run logs at its start and at its end."""

import logging
from pathlib import Path
from typing import Any

import lightning as L

from galaxy10.runs.directory import RunDirectory
from galaxy10.training.metrics_csv import MetricsCSV

logger = logging.getLogger(__name__)


def log_run_start(about: dict[str, Any], trainer: L.Trainer, directory: RunDirectory) -> None:
    """Log the data, split, model and device of a run that starts."""
    model, split, data = about["model"], about["split"], about["data"]
    counts = split["counts"]
    logger.info(f"run     {directory.path}")
    logger.info(f"data    {data['path']}: {data['num_images']} images, {len(data['class_names'])} classes")
    logger.info(f"split   {split['hash']}: " + ", ".join(f"{n} {name}" for name, n in counts.items() if n))
    for note in split["notes"]:
        logger.info(f"        {note}")
    frozen = model["parameters"] - model["trainable_parameters"]
    logger.info(
        f"model   {model['name']}: {model['parameters'] / 1e6:.2f} M parameters"
        + (f" ({frozen / 1e6:.2f} M frozen)" if frozen else "")
        + f" at {model['image_size']} px, {model['weights']}"
    )
    device = trainer.strategy.root_device.type
    logger.info(
        f"device  {device} × {trainer.world_size}, {trainer.precision} ({about['training']['precision_reason']})"
    )


def log_unvalidated_steps(trainer: L.Trainer, metrics_csv: MetricsCSV) -> None:
    """Log how many steps came after the last validation, as when trainer.max_steps ends within an epoch."""
    late = trainer.global_step - metrics_csv.validated_step if metrics_csv.validated_step else 0
    if late:
        logger.info(f"note    the last {late} steps were not validated, so the best epoch does not include them")


def summary(metrics: dict[str, float | None], report: Path | None) -> str:
    """Return a line with accuracy and macro-F1, and a line with the report's path."""
    subset = "test" if "test/accuracy" in metrics else "val"
    if f"{subset}/accuracy" not in metrics:
        return "nothing was evaluated" + (f"\nreport  {report}" if report else "")
    return f"{subset} accuracy {metrics[f'{subset}/accuracy']:.3f}, macro-F1 {metrics[f'{subset}/macro_f1']:.3f}" + (
        f"\nreport  {report}" if report else ""
    )
