"""Write metrics.csv, and profile.csv with the timings and peak memory, a row per epoch."""

import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import Checkpoint

from galaxy10.config.fields import did_you_mean
from galaxy10.errors import TrainingError
from galaxy10.files import atomic_write
from galaxy10.metrics.logged import logged_values
from galaxy10.metrics.specs import lower_is_better
from galaxy10.runs.directory import RunDirectory


class EpochTable:
    """A CSV file with one row per epoch, rewritten atomically each time; a repeated epoch replaces its row."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, row: dict[str, Any]) -> None:
        """Add the row of epoch row["epoch"]; remove the rows of this and later epochs from before a restart."""
        table = pd.DataFrame([row])
        if self.path.exists():
            before = pd.read_csv(self.path, dtype=str)  # kept to the letter
            before = before[before["epoch"].astype(int) < row["epoch"]]
            table = pd.concat([before, table], ignore_index=True) if len(before) else table
        with atomic_write(self.path) as part:
            table.to_csv(part, index=False)


class MetricsCSV(Checkpoint):
    """Write a row of metrics.csv and of profile.csv after every epoch; keep status.json's epoch and best value.

    A row of metrics.csv holds the module's metrics and all values that a module or callback passed to `self.log`.
    Lightning calls the hooks of a Checkpoint after those of the module and of all other callbacks, so none is missed.

    profile.csv holds images per second (training only, without validation); data_time_fraction, the fraction of that
    time spent on data (waiting for batches, and on GPUs launching the work of preparing them); and this process's peak
    memory so far, GiB, of the host and of the device (0 on CPUs).
    """

    def __init__(self, directory: RunDirectory, monitor: str, directions: Mapping[str, str] | None = None):
        self.directory, self.monitor = directory, monitor
        self.lower_is_better = lower_is_better(monitor, directions)
        self.metrics = EpochTable(directory.files.metrics)
        self.profile = EpochTable(directory.files.profile)
        self._started = self._validating = self._validation_started = self._data_before = 0.0
        self._images = self._validated = self._scored_images = 0
        self._scored_s = self._scoring_started = 0.0
        self.best: dict[str, Any] | None = None
        self.validated_step = 0  # global step at this process's last validation

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; a restart within an epoch does not call on_train_epoch_start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started, self._validating, self._images = time.perf_counter(), 0.0, 0
        self._validated = 0
        self._data_before = self._data_seconds(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any, **kwargs: Any) -> None:
        """Count the images."""
        batch = args[1]
        self._images += len(batch["labels"]) * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the training clock."""
        self._validation_started = time.perf_counter()
        if trainer.state.fn != "fit":
            self.on_test_start(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the training clock again."""
        self._validating += time.perf_counter() - self._validation_started
        self.validated_step = max(self.validated_step, trainer.global_step)
        if trainer.state.fn != "fit":
            self.on_test_end(trainer, pl_module)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Count the images, separately for an epoch's validation and for the final evaluation."""
        if trainer.state.fn == "fit":
            self._validated += len(args[1]["labels"]) * trainer.world_size
        else:
            self.on_test_batch_end(trainer, pl_module, *args)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the final evaluation."""
        self._scoring_started = time.perf_counter()

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Count the images of the final evaluation."""
        self._scored_images += len(args[1]["labels"]) * trainer.world_size

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the final evaluation."""
        self._scored_s += time.perf_counter() - self._scoring_started

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's rows of both tables, and update status.json."""
        seconds = time.perf_counter() - self._started - self._validating
        share = (self._data_seconds(trainer) - self._data_before) / seconds
        if not trainer.is_global_zero:
            return
        values = self._values(trainer, pl_module)
        rate = trainer.optimizers[0].param_groups[0]["lr"] if trainer.optimizers else None
        self.directory.check_still_held()
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": rate}
        self.metrics.add({**row, **values})
        self.profile.add(
            {
                "epoch": trainer.current_epoch,
                "seconds": seconds,
                "validation_seconds": self._validating,
                "validation_images_per_s": self._validated / self._validating if self._validating else None,
                "images_per_s": self._images / seconds,
                "data_time_fraction": share,
                **peak_memory(trainer.strategy.root_device),
            }
        )
        self._remember_best(trainer.current_epoch, values)
        self.directory.update_status(epoch=trainer.current_epoch, best=self.best)

    def _values(self, trainer: L.Trainer, pl_module: Any) -> dict[str, float | None]:
        """Return the module's metrics at full precision, and other logged values.

        Raises:
            TrainingError: the monitored metric is not among them.
        """
        values = {k: v for k, v in pl_module.metrics.items() if not k.startswith("test/")}
        validated = self.validated_step == trainer.global_step
        others = "test/" if validated else ("test/", "val/")  # Lightning keeps those of the last validation
        for name, value in logged_values(trainer.callback_metrics).items():
            if name not in values and not name.startswith(others):
                values[name] = value
        if validated and self.monitor not in values and trainer.num_val_batches != [0]:
            raise TrainingError(
                f"monitor={self.monitor} was not measured in the first epoch"
                f"{did_you_mean(self.monitor, list(values))} (measured: {', '.join(values)})"
            )
        return values

    def _remember_best(self, epoch: int, values: dict[str, float | None]) -> None:
        value = values.get(self.monitor)
        if value is None or value != value:
            return
        before = None if self.best is None else self.best["value"]
        if before is None or (value < before if self.lower_is_better else value > before):
            self.best = {"epoch": epoch, "metric": self.monitor, "value": value}

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far, for the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch so far."""
        self.best = state_dict["best"]

    @staticmethod
    def _data_seconds(trainer: L.Trainer) -> float:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        seconds = getattr(data, "training_data_seconds", None)  # a user's data module has none
        return seconds() if seconds is not None else 0.0

    def logged_at_best(self) -> dict[str, float]:
        """Return the validation values of the best epoch; the final evaluation does not log all of them."""
        if self.best is None or not self.metrics.path.exists():
            return {}
        table = pd.read_csv(self.metrics.path, dtype=str).set_index("epoch")
        row = table.loc[str(self.best["epoch"])].dropna()
        return {str(name): float(str(value)) for name, value in row.items() if str(name).startswith("val/")}

    def totals(self) -> dict[str, float]:
        """Return the timings over all epochs, including those before a restart, and of the final evaluation.

        Keys: train/images_per_s, train/data_time_fraction, train/seconds, train/peak_host_gib, train/peak_device_gib;
        train/scoring_images_per_s counts each image once, whatever the number of TTA views.
        """
        evaluation = {"train/scoring_images_per_s": self._scored_images / self._scored_s} if self._scored_s else {}
        if not self.profile.path.exists():
            return evaluation
        table = pd.read_csv(self.profile.path)
        seconds = table["seconds"].sum()
        return {
            "train/images_per_s": float((table["images_per_s"] * table["seconds"]).sum() / seconds),
            "train/data_time_fraction": float((table["data_time_fraction"] * table["seconds"]).sum() / seconds),
            "train/seconds": float(seconds),
            **{f"train/{name}": float(table[name].max()) for name in ("peak_host_gib", "peak_device_gib")},
            **evaluation,
        }


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process, GiB: peak_host_gib and peak_device_gib (0 except on CUDA).

    Host memory includes the pages of the memory-mapped store that this process has read, which all processes share.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {"peak_host_gib": peak / 2**30, "peak_device_gib": on_device / 2**30}
