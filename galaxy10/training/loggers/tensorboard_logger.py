"""Log to TensorBoard event files in the run directory."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from galaxy10.compat import dummy_experiment
from galaxy10.errors import first_line
from galaxy10.files import read_json, write_json
from galaxy10.runs.epochs import epoch_rows
from galaxy10.runs.files import RunFiles
from galaxy10.training.loggers.epoch_tables import EpochTableLogger

log = logging.getLogger(__name__)


class TensorBoardLogger(EpochTableLogger, LightningTensorBoardLogger):
    """Lightning's TensorBoard logger, writing to RUN/tensorboard.

    It logs epochs from the tables, the configuration as a text, and at the end the figures; steps are the trainer's
    global steps. An error is logged once, and does not stop the run. written.json holds the last epoch in the event
    files, to which a resumed run appends.

    Args:
        save_dir: the run directory.
    """

    def __init__(self, save_dir: str | Path):
        self.files = RunFiles(Path(save_dir))
        super().__init__(save_dir, name=self.files.tensorboard.name, version="", default_hp_metric=False)
        self._working = True
        self._written = self.files.tensorboard / "written.json"

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The SummaryWriter; a dummy on ranks other than 0."""
        if self._experiment is None:
            self._attempt(self._begin)
        return dummy_experiment() if self._experiment is None else self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log values of a training step."""
        values = self.without_epochs(metrics)
        if values:
            self._attempt(partial(super().log_metrics, values, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is logged as a text."""

    @rank_zero_only
    def save(self) -> None:
        """Flush the event file."""
        if self._experiment is not None:
            self._attempt(self._experiment.flush)

    def finalize(self, status: str) -> None:
        """Flush the event file but keep it open for the final validation and test."""
        self.save()

    def log_epochs(self, before: int | None = None) -> None:
        """Log the rows that are new since the last call."""
        if self._experiment is not None:
            self._attempt(partial(self._log_rows, before))

    def close_run(self, exit_code: int) -> None:
        """Log the last rows and, if the run finished, the final metrics and figures."""
        if self._experiment is None:
            return
        self._attempt(self._log_rows)
        if exit_code == 0:
            self._attempt(self._log_results)
        self._attempt(self._experiment.close)

    def _begin(self) -> None:
        writer = super().experiment
        if self._written.exists():
            return
        for name, content in (
            ("config", self.files.read_config()),
            ("provenance", self.files.read_provenance()),
        ):
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))
        write_json(self._written, {"epoch": -1})

    def _log_rows(self, before: int | None = None) -> None:
        written = read_json(self._written).get("epoch", -1)
        for epoch, values in epoch_rows(self.files.path, written):
            if before is not None and epoch >= before:
                break
            for key, value in values.items():
                if key != "step":
                    self.experiment.add_scalar(key, value, values["step"])
            written = epoch
        self.experiment.flush()
        write_json(self._written, {"epoch": written})

    def _log_results(self) -> None:
        step = self._last_step()
        for key, value in (self.files.read_status().get("metrics") or {}).items():
            if value is not None:
                self.experiment.add_scalar(f"final/{key}", value, step)
        for file in sorted(self.files.figures.glob("*.png")):
            pixels = np.asarray(Image.open(file).convert("RGB"))
            self.experiment.add_image(file.stem, pixels, step, dataformats="HWC")

    def _last_step(self) -> int:
        return max((values["step"] for _, values in epoch_rows(self.files.path, -1)), default=0)

    def _attempt(self, step: Any) -> None:
        """Run a step; do nothing if an earlier step failed."""
        if not self._working:
            return
        try:
            step()
        except Exception as error:
            self._working = False
            log.warning(f"tensorboard stopped: {first_line(error)}")
