"""Log to Weights & Biases through Lightning's logger interface."""

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
    """Lightning's W&B logger, with the W&B run in another process: training never waits for it or fails by it.

    A run keeps one W&B id, in RUN/wandb/run.json, however often it is resumed. Values that cannot be uploaded are kept
    in RUN/wandb.

    Args:
        save_dir: the run directory.
        mode: auto (online with credentials and a reachable server, else offline), online, offline or disabled.
        project, entity, group, tags, name: as in wandb.init; name is the run directory's name by default.
        log_model: whether to upload the best checkpoint as an artifact.
        upload_timeout_s: longest wait for the upload at the end of a run, seconds.
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
        # mode=auto obeys WANDB_MODE, which clusters may set.
        disabled = "disabled" in (mode, mode == "auto" and os.environ.get("WANDB_MODE"))
        self.id = _identify(self.path) if _is_rank_zero() and not disabled else None
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
        self._status = "failed"  # until finalize

    @property
    def experiment(self) -> Any:
        """The W&B run in the other process, as a `RemoteRun`."""
        if self._experiment is None:
            self._experiment = self._start()  # type: ignore[assignment]
        return self._experiment

    @property
    def version(self) -> str | None:
        """The id of the W&B run."""
        return self.id

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log values of a training step."""
        values = self.without_epochs(metrics)
        if values:
            super().log_metrics(values, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log the hyperparameters whose names are not in the configuration, which is logged anyway."""
        values = vars(params) if isinstance(params, Namespace) else params
        known = RunFiles(self.path).read_config()
        super().log_hyperparams({key: value for key, value in values.items() if key not in known})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Keep the status, but do not close the run before the final validation and test."""
        self._status = status

    def log_epochs(self, before: int | None = None) -> None:
        """Make the other process log the rows that are new since the last call."""
        if self._process is not None:
            self._process.log_rows(before)

    def close_run(self, exit_code: int) -> None:
        """Make the other process log the rest and mark the run as finished, failed or interrupted."""
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
        """Close the run of a user's own Trainer; galaxy10's commands have closed theirs before."""
        self.close_run(0 if self._status == "success" else 1)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the process, which cannot be copied."""
        return {**vars(self), "_process": None, "_experiment": None, "trainer": None}


def _is_rank_zero() -> bool:
    """Return whether this process logs: in a user's own script, only Lightning knows the rank."""
    return is_main_process() and rank_zero_only.rank in (None, 0)  # type: ignore[attr-defined]


def _identify(path: Path) -> str:
    """Return the W&B id of a run; write a new one to disk at once, so that a run that is killed early keeps it."""
    record = RunFiles(path).wandb / "run.json"
    known: str | None = read_json(record).get("id")
    if known is None:
        known = secrets.token_hex(6)
        write_json(record, {"id": known, "last_epoch": -1, "steps": 0, "parts": {}})
    return known
