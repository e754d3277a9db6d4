"""A logger that writes lines into the run directory."""

import json
from pathlib import Path

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only


class LineLogger(Logger):
    """save_dir is the run directory, given by the framework."""

    def __init__(self, save_dir: str, file: str = "lines.jsonl"):
        super().__init__()
        self.path = Path(save_dir) / file

    name = version = "lines"

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        """Nothing to keep."""


class FailingLogger(LineLogger):
    """A logger whose server is not there."""

    def __init__(self):
        raise ConnectionError("no server at 127.0.0.1\nand more lines")
