"""Weights & Biases, behind Lightning's logger interface."""

import atexit
import logging
import os
import secrets
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger as LightningWandbLogger
from lightning.pytorch.utilities import rank_zero_only

from galaxy10.errors import first_line
from galaxy10.files import read_json, write_json
from galaxy10.runs.directory import is_main_process
from galaxy10.runs.files import RunFiles
from galaxy10.training.loggers.epoch_tables import EpochTableLogger
from galaxy10.training.loggers.wandb_process import WandbProcess
from galaxy10.training.loggers.wandb_run import NullProcess, RemoteRun

log = logging.getLogger(__name__)


class WandbLogger(EpochTableLogger, LightningWandbLogger):
    """Lightning's W&B logger with the W&B run in another process: no step waits for it, and it cannot fail a run.

    A run has one identity, RUN/wandb/run.json, however often it is started; what cannot be uploaded is kept there.

    Args:
        save_dir: the run directory.
        mode: auto (online with credentials and a server that answers, else offline), online, offline, disabled.
        project, entity, group, tags, name: as wandb.init has them; name is the run directory's by default.
        log_model: whether the best checkpoint is uploaded as an artifact.
        upload_timeout_s: how long the end of a run may wait for its upload.
    """

    def __init__(
        self,
        save_dir: str | Path,
        mode: str = "auto",
        project: str = "galaxy10",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        name: str | None = None,
        log_model: bool = False,
        upload_timeout_s: float = 60.0,
    ):
        self.path = Path(save_dir)
        # WANDB_MODE, as on clusters, counts where the mode is left open.
        disabled = "disabled" in (mode, mode == "auto" and os.environ.get("WANDB_MODE"))
        self.id = _identify(self.path) if is_main_process() and not disabled else None
        run_name = name or self.path.resolve().name
        self.identity = {
            "id": self.id,
            "name": run_name,
            "project": project,
            "entity": entity,
            "group": group,
            "tags": [str(tag) for tag in tags],
        }
        super().__init__(save_dir=save_dir, project=project, name=run_name, id=self.id)
        self.settings = {**self.identity, "mode": mode, "log_model": log_model, "upload_timeout_s": upload_timeout_s}
        self._process: WandbProcess | None = None
        self._status = "failed"  # until a Trainer says otherwise

    @property
    def experiment(self) -> Any:
        """What stands for the W&B run: see `RemoteRun`."""
        if self._experiment is None:
            self._experiment = self._start()  # type: ignore[assignment]
        return self._experiment

    @property
    def version(self) -> str | None:
        """The id of the run."""
        return self.id

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log values of a training step."""
        values = self.without_epochs(metrics)
        if values:
            super().log_metrics(values, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log those that the configuration does not hold already, under the same name."""
        values = vars(params) if isinstance(params, Namespace) else params
        known = RunFiles(self.path).read_config()
        super().log_hyperparams({key: value for key, value in values.items() if key not in known})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Keep the status: validation and test of the same run are still to come."""
        self._status = status

    def log_epochs(self, before: int | None = None) -> None:
        """Have the rows logged that the tables have since the last call."""
        if self._process is not None:
            self._process.log_rows(before)

    def close_run(self, exit_code: int) -> None:
        """Have the rest logged, and the run marked as finished, failed or interrupted."""
        process, self._process = self._process, None
        if process is not None:
            process.close(exit_code)
        atexit.unregister(self._close_at_exit)

    def _start(self) -> RemoteRun:
        if self.id is not None:
            try:
                self._process = WandbProcess(self.path, self.settings)
                atexit.register(self._close_at_exit)
            except OSError as error:
                log.warning(f"wandb   cannot be started: {first_line(error)}")
        return RemoteRun(self._process or NullProcess(), self.identity, RunFiles(self.path).read_config())

    def _close_at_exit(self) -> None:
        """Close the run of somebody's own Trainer; those of this package's commands are closed by then."""
        self.close_run(0 if self._status == "success" else 1)

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be copied: the process stays with this logger."""
        return {**vars(self), "_process": None, "_experiment": None, "trainer": None}


def _identify(path: Path) -> str:
    """Return the id of a run, on disk before anything is started: a run that is killed at once keeps it."""
    record = RunFiles(path).wandb / "run.json"
    known = read_json(record).get("id")
    if known is None:
        known = secrets.token_hex(6)
        write_json(record, {"id": known, "last_epoch": -1, "steps": 0, "parts": {}})
    return known
