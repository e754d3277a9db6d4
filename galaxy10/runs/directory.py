"""The run directory: its name, its checks before a start, and its state (status.json)."""

import hashlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from galaxy10.config.fields import format_value, iter_settings
from galaxy10.config.overrides import typed_setting
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, remove_leftovers, write_json
from galaxy10.runs.files import RunFiles, check_format
from galaxy10.runs.launcher import launch, rendezvous_limit_s, started_together
from galaxy10.runs.lock import RunLock, check_free, wait_for_heartbeat, wait_for_lock, wait_for_main_process
from galaxy10.runs.signals import Interrupted
from galaxy10.runs.slurm import job_name

RUN_DIR_VARIABLE = "GALAXY10_RUN_DIR"  # set by rank 0 for the other processes of a run
# Settings that do not change the experiment: where it runs and where it writes.
INCIDENTAL = ("run.", "logger", "debug.name", "experiment", "data.dir", "data.store_dir", "data.cache_on_device")
INCIDENTAL_TRAINER = ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "enable_model_summary")


def is_main_process() -> bool:
    """Return whether this is rank 0, the process of a run that writes; known before torch.distributed starts."""
    return launch().rank == 0


def global_rank() -> int:
    """Return the rank of this process; on several nodes started by hand, the local rank or else the node's."""
    return launch().rank


def run_name(model: str, overrides: list[str]) -> str:
    """Return `<model>-<hash of overrides>-<SLURM job or array_task id, else time>`.

    The name is the same after a requeue, and in all processes that torchrun started on one machine.
    """
    relevant = sorted(x for x in overrides if not x.lstrip("+~").startswith(("run.", "logger", "hydra")))
    digest = hashlib.sha256("\n".join(relevant).encode()).hexdigest()[:8]
    return f"{model}-{digest}-{job_name() or (started_together() or datetime.now()).strftime('%Y%m%d-%H%M%S')}"


@dataclass
class RunDirectory:
    """A run's directory and its state.

    Attributes:
        finished: the result of an earlier, finished run of the same configuration in this directory; else None.
        started: time of the start in seconds since 1970, less the seconds that earlier starts ran.
        lock: the lock of the directory, once `acquire` was called on rank 0.
    """

    path: Path
    finished: dict[str, Any] | None = None
    started: float = 0.0
    lock: RunLock | None = None

    @property
    def lock_lost(self) -> threading.Event:
        """An event that is set once another process has taken over this directory."""
        return self.lock.lost if self.lock is not None else threading.Event()

    def acquire(self) -> None:
        """On rank 0, acquire the lock of the directory; under srun and torchrun, other ranks wait until rank 0 has it.

        Raises:
            Galaxy10Error: another running process holds the lock.
        """
        if is_main_process():
            self.lock = RunLock(self.path)
            self.lock.acquire()
            remove_leftovers(self.path)
        elif launch().launcher == "srun":
            wait_for_main_process(self.path)
        elif launch().launcher == "torchrun":
            wait_for_lock(self.path, rendezvous_limit_s())

    def release(self) -> None:
        """Release the lock."""
        if self.lock is not None:
            self.lock.release()

    @property
    def files(self) -> RunFiles:
        """The paths of the run's files."""
        return RunFiles(self.path)

    @property
    def last_checkpoint(self) -> Path:
        """The path of the checkpoint from which training resumes."""
        return self.files.last

    @property
    def best_checkpoint(self) -> Path:
        """The path of the checkpoint with the best monitored metric."""
        return self.files.best

    @property
    def status(self) -> dict[str, Any]:
        """The current content of status.json."""
        return self.files.read_status()

    @property
    def failure(self) -> str | None:
        """The error in status.json, if another process of this run has failed; else None."""
        return self.status.get("error") if self.status.get("state") == "failed" else None

    def check_still_held(self) -> None:
        """Check, right before a file is written, that this process still holds the lock.

        Raises:
            Interrupted: another process has taken over the directory.
        """
        if self.lock is not None and not self.lock.still_held():
            raise Interrupted(signal.SIGTERM)

    def update_status(self, **changes: Any) -> None:
        """Update keys of status.json; do nothing if another process has taken over the directory."""
        if self.lock is not None and not self.lock.still_held():
            return
        self.files.write_status({**self.status, **changes})

    def move_aside(self) -> None:
        """Rename the directory to `<name>.before-<time>`, so that a new run can start under its name.

        Raises:
            Galaxy10Error: another process has started to write in the directory.
        """
        check_free(self.path)
        self.path.rename(self.path.with_name(f"{self.path.name}.before-{datetime.now().strftime('%Y%m%d-%H%M%S')}"))

    def prune(self, epochs: int) -> None:
        """Mark the run as pruned after this number of epochs; the training process reads this when it is stopped."""
        write_json(self.files.pruned, {"epochs": epochs})

    @property
    def pruned_after(self) -> int | None:
        """The number of epochs after which a study pruned this run; None if it did not."""
        return read_json(self.files.pruned).get("epochs")

    def start(self, config: dict[str, Any]) -> None:
        """Write the configuration and the state `running`."""
        self.files.write_config(config)
        self.files.pruned.unlink(missing_ok=True)
        before = self.status
        self.started = time.time() - float(before.get("seconds") or 0.0)
        self.update_status(
            state="running",
            started=before.get("started") or _now(),
            resumed=_now() if before.get("started") else None,
            ended=None,
            error=None,
            epoch=before.get("epoch"),
            job=job_name(),
        )

    def end(self, state: str, error: str | None = None, **more: Any) -> None:
        """Write the final state: finished, failed, interrupted or pruned. Further keywords go into status.json."""
        seconds = round(time.time() - self.started, 3) if self.started else self.status.get("seconds")
        self.update_status(state=state, ended=_now(), seconds=seconds, error=error, **more)
        if state == "finished":
            self.files.traceback.unlink(missing_ok=True)  # of an earlier attempt

    def result(self, split_hash: str | None) -> dict[str, Any]:
        """Return the JSON object that is printed as the last line of standard output."""
        status = self.status
        metrics = status.get("metrics") or {}
        return {"run_dir": str(self.path), "state": status.get("state"), "split_hash": split_hash, **metrics}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def choose_run_directory(config: dict[str, Any], overrides: list[str]) -> RunDirectory:
    """Return the directory of this run: a new one, one to resume, or one with a finished run. Writes nothing.

    Raises:
        Galaxy10Error: the directory holds a run of another configuration, or files that belong to no run.
    """
    given = config["run"]["dir"]
    if launch().launcher == "lightning":
        given = os.environ.get(RUN_DIR_VARIABLE) or given
    elif not given and job_name() is None and launch().launcher in ("torchrun", "hand") and started_together() is None:
        raise Galaxy10Error("the processes on several nodes need one run directory; add run.dir=…")
    path = Path(given) if given else Path(config["run"]["root"]) / run_name(config["model"]["name"], overrides)
    if not is_main_process():
        return _joined(RunDirectory(path), config)
    if not given:
        path = _unused(path)
    if path.exists() and not path.is_dir():
        raise Galaxy10Error(f"run.dir={path} is a file; give a folder for this run")
    directory = RunDirectory(path)
    if not path.exists() or not any(path.iterdir()):
        return directory
    wait_for_heartbeat(path)
    check_free(path)
    if _was_killed_at_start(path):
        return directory
    if not directory.files.config.exists() or not directory.status:
        raise Galaxy10Error(f"{path} holds files that belong to no run; give another run.dir")
    if config["run"]["overwrite"] and not _is_same(config, directory.files):
        return directory
    check_format(path, directory.files.read_provenance())
    _check_same_config(config, directory.files)
    if directory.status.get("state") == "finished" and not _test_is_missing(directory, config):
        directory.finished = directory.result(directory.files.split_hash())
    return directory


def _joined(directory: RunDirectory, config: dict[str, Any]) -> RunDirectory:
    """Return the directory for a rank other than 0, which must reach the same decision as rank 0."""
    finished = directory.status.get("state") == "finished" and _is_same(config, directory.files)
    if finished and not _test_is_missing(directory, config):
        directory.finished = directory.result(None)
    return directory


def _test_is_missing(directory: RunDirectory, config: dict[str, Any]) -> bool:
    """Return whether a finished run of run.test=false can be resumed to test with run.test=true."""
    left_out = not (directory.files.read_config().get("run") or {}).get("test", True)
    return left_out and config["run"]["test"] and directory.last_checkpoint.exists()


def _was_killed_at_start(path: Path) -> bool:
    """Return whether a start was killed between acquiring the lock and writing its first status."""
    names = {file.name for file in path.iterdir() if not file.name.startswith(".")}
    names_of = RunFiles(Path())
    lock, config = names_of.lock.name, names_of.config.name
    return names <= {lock, config} and names != {config}


def _unused(path: Path) -> Path:
    """Return a path that does not exist yet, because two runs may start in the same second.

    Under SLURM and torchrun, return the path itself, which all processes of the run must find.
    """
    if job_name() or started_together():
        return path
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def create_run_directory(directory: RunDirectory, config: dict[str, Any]) -> None:
    """Create the directory; with run.overwrite=true, move another configuration's run aside first.

    Raises:
        Galaxy10Error: the directory cannot be created, or another process writes in it.
    """
    path, files = directory.path, directory.files
    if config["run"]["overwrite"] and files.config.exists() and not _is_same(config, files):
        directory.move_aside()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Galaxy10Error(f"{path} cannot be created ({error.strerror}); set run.root or run.dir") from error


def _is_same(config: dict[str, Any], files: RunFiles) -> bool:
    return not differences(files.read_config(), config)


def _check_same_config(config: dict[str, Any], files: RunFiles) -> None:
    different = differences(files.read_config(), config)
    if different:
        listed = ", ".join(
            f"{key} ({format_value(old)} there, {format_value(new)} here)" for key, old, new in different[:6]
        )
        more = f" and {len(different) - 6} more" if len(different) > 6 else ""
        onward = ""
        same_network = not any(key.startswith("model.") for key, _, _ in different)
        if same_network and files.read_status().get("state") == "finished":
            onward = f" (with {typed_setting('model.init_from', files.path)} it starts from that run's weights)"
        raise Galaxy10Error(
            f"{files.path} holds a run of another configuration: {listed}{more}; "
            f"give another run.dir{onward}, or run.overwrite=true to move the old run aside"
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the settings that make two configurations different experiments: (key, old value, new value)."""
    before, after = dict(iter_settings(old)), dict(iter_settings(new))
    keys = [key for key in {**before, **after} if not _incidental(key)]
    return [(k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)]


def _incidental(key: str) -> bool:
    group, _, name = key.partition(".")
    return key.startswith(INCIDENTAL) or (group == "trainer" and name in INCIDENTAL_TRAINER)
