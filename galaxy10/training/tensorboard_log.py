"""TensorBoard's event files: derived from the run directory, and written anew by every start."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from galaxy10.errors import first_line
from galaxy10.runs.epochs import epoch_rows
from galaxy10.runs.files import RunFiles

logger = logging.getLogger(__name__)


class TensorBoardLog:
    """Writes RUN/tensorboard: the configuration, a point per epoch and metric, and the figures at the end."""

    def __init__(self, path: Path):
        self.path, self.last_epoch = path, -1
        self.working = True
        self.writer: Any = None
        self._attempt(self._open)

    def look(self) -> None:
        """Write the new epochs."""
        self._attempt(self._write_epochs)

    def report(self) -> None:
        """There is nothing to say."""

    def close(self, exit_code: int) -> None:
        """Write the rest and end the file."""
        self._attempt(self._write_epochs)
        if exit_code == 0:
            self._attempt(self._write_results)
        self._attempt(self.writer.close)

    def _open(self) -> None:
        # The tables hold every epoch, so that a resumed run can write all of them: none is missing or there twice.
        files = RunFiles(self.path)
        folder = files.tensorboard
        shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder))
        for name, content in (
            ("config", files.read_config()),
            ("provenance", files.read_provenance()),
        ):
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            self.writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))

    def _write_epochs(self) -> None:
        for epoch, values in epoch_rows(self.path, self.last_epoch):
            for key, value in values.items():
                if key != "epoch":
                    self.writer.add_scalar(key, value, epoch)
            self.last_epoch = epoch
        self.writer.flush()

    def _write_results(self) -> None:
        metrics = RunFiles(self.path).read_status().get("metrics") or {}
        for key, value in metrics.items():
            if value is not None:
                self.writer.add_scalar(f"final/{key}", value, self.last_epoch)
        for file in sorted(RunFiles(self.path).figures.glob("*.png")):
            pixels = np.asarray(Image.open(file).convert("RGB"))
            self.writer.add_image(file.stem, pixels, self.last_epoch, dataformats="HWC")

    def _attempt(self, step: Any) -> None:
        """A step that may fail once, and then there are no more: the run goes on."""
        if not self.working:
            return
        try:
            step()
        except Exception as error:
            self.working = False
            logger.info(f"tensorboard stopped: {first_line(error)}")
