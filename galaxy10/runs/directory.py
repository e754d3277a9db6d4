"""A run is a directory: its name, what may be in it before a start, and the small files that say how it stands."""

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
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.runs.files import RunFiles, check_format
from galaxy10.runs.lock import RunLock, check_free, wait_for_main_process
from galaxy10.runs.signals import Interrupted
from galaxy10.runs.slurm import job_name, job_step

RUN_DIR_VARIABLE = "GALAXY10_RUN_DIR"  # how the first process of a run tells the others
# Settings that do not make it another experiment: where it runs and where it writes.
INCIDENTAL = ("run.", "logger", "debug.name", "experiment", "data.dir", "data.store_dir", "data.cache_on_device")
INCIDENTAL_TRAINER = ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar", "enable_model_summary")


def is_main_process() -> bool:
    """Whether this is the one process of a run that writes; known before anything is started."""
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def global_rank() -> int:
    """Which of a run's processes this is, counted from 0 as far as is known before they have found each other."""
    return int(os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)


def run_name(model: str, overrides: list[str]) -> str:
    """`<model>-<hash of overrides>-<SLURM job or array_task id, else time>`: a requeued job finds itself by it."""
    relevant = sorted(x for x in overrides if not x.lstrip("+~").startswith(("run.", "logger", "hydra")))
    digest = hashlib.sha256("\n".join(relevant).encode()).hexdigest()[:8]
    return f"{model}-{digest}-{job_name() or datetime.now().strftime('%Y%m%d-%H%M%S')}"


@dataclass
class RunDirectory:
    """One run's directory and its state. finished: the result of an earlier, finished run of this configuration."""

    path: Path
    finished: dict[str, Any] | None = None
    started: float = 0.0
    lock: RunLock | None = None

    @property
    def lost(self) -> threading.Event:
        """Set once another process writes this directory."""
        return self.lock.lost if self.lock is not None else threading.Event()

    def acquire(self) -> None:
        """Become the one process that writes here; for a run's other processes: wait until the first one is that."""
        if is_main_process():
            self.lock = RunLock(self.path)
            self.lock.acquire()
        elif job_step() is not None:
            wait_for_main_process(self.path)

    def release(self) -> None:
        """Let others write here."""
        if self.lock is not None:
            self.lock.release()

    @property
    def files(self) -> RunFiles:
        """The paths of its files."""
        return RunFiles(self.path)

    @property
    def last_checkpoint(self) -> Path:
        """Where training goes on from."""
        return self.files.last

    @property
    def best_checkpoint(self) -> Path:
        """The epoch with the best validation metric."""
        return self.files.best

    @property
    def status(self) -> dict[str, Any]:
        """status.json as it is now."""
        return self.files.read_status()

    @property
    def failure(self) -> str | None:
        """What another process of this run has said before it ended."""
        return self.status.get("error") if self.status.get("state") == "failed" else None

    def check_still_held(self) -> None:
        """Asked right before something is written.

        Raises:
            Interrupted: another process has taken the directory over.
        """
        if self.lock is not None and not self.lock.still_held():
            raise Interrupted(signal.SIGTERM)

    def update_status(self, **changes: Any) -> None:
        """Change parts of status.json, unless the directory has become another process's."""
        if self.lock is not None and not self.lock.still_held():
            return
        self.files.write_status({**self.status, **changes})

    def move_aside(self) -> None:
        """Give what is here another name, so that a run can begin anew.

        Raises:
            Galaxy10Error: a process has begun to write here meanwhile.
        """
        check_free(self.path)
        self.path.rename(self.path.with_name(f"{self.path.name}.before-{datetime.now().strftime('%Y%m%d-%H%M%S')}"))

    def prune(self, epochs: int) -> None:
        """Say to whoever trains here, and is about to be stopped, that so many epochs were enough."""
        write_json(self.files.pruned, {"epochs": epochs})

    @property
    def pruned_after(self) -> int | None:
        """After how many epochs a study has given this run up; None where it has not."""
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
        """Write the final state: finished, failed, interrupted or pruned."""
        seconds = round(time.time() - self.started, 3) if self.started else self.status.get("seconds")
        self.update_status(state=state, ended=_now(), seconds=seconds, error=error, **more)
        if state == "finished":
            self.files.traceback.unlink(missing_ok=True)  # of an earlier attempt

    def result(self, split_hash: str | None) -> dict[str, Any]:
        """The object of the last line of standard output."""
        status = self.status
        metrics = status.get("metrics") or {}
        return {"run_dir": str(self.path), "state": status.get("state"), "split_hash": split_hash, **metrics}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def choose_run_directory(config: dict[str, Any], overrides: list[str]) -> RunDirectory:
    """The directory of this run: new, to be resumed, or finished already. Nothing is written yet.

    Raises:
        Galaxy10Error: it holds another configuration's run, or something that is no run at all.
    """
    given = os.environ.get(RUN_DIR_VARIABLE) or config["run"]["dir"]
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
    check_free(path)
    if _holds_only_a_beginning(path):
        return directory
    if not directory.files.config.exists() or not directory.status:
        raise Galaxy10Error(f"{path} holds files but no run; give another run.dir")
    if config["run"]["overwrite"] and not _is_same(config, directory.files):
        return directory
    check_format(path, directory.files.read_provenance())
    _refuse_another(config, directory.files)
    if directory.status.get("state") == "finished" and not _test_is_owed(directory, config):
        directory.finished = directory.result(directory.files.split_hash())
    return directory


def _joined(directory: RunDirectory, config: dict[str, Any]) -> RunDirectory:
    """The directory as the first process of the run finds it; the others have to come to the same answer."""
    finished = directory.status.get("state") == "finished" and _is_same(config, directory.files)
    if finished and not _test_is_owed(directory, config):
        directory.finished = directory.result(None)
    return directory


def _test_is_owed(directory: RunDirectory, config: dict[str, Any]) -> bool:
    """Whether a finished run is asked for the test it was first told to leave out, and can still go on to it."""
    left_out = not (directory.files.read_config().get("run") or {}).get("test", True)
    return left_out and config["run"]["test"] and directory.last_checkpoint.exists()


def _holds_only_a_beginning(path: Path) -> bool:
    """Whether a start was killed here between taking the lock and its first status."""
    names = {file.name for file in path.iterdir() if not file.name.startswith(".")}
    names_of = RunFiles(Path())
    lock, config = names_of.lock.name, names_of.config.name
    return names <= {lock, config} and names != {config}


def _unused(path: Path) -> Path:
    """Two runs begun in the same second get different names; a SLURM job keeps its own."""
    if job_name():
        return path
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate


def create(directory: RunDirectory, config: dict[str, Any]) -> None:
    """Make the directory; with run.overwrite=true move another configuration's run aside first."""
    path, files = directory.path, directory.files
    if config["run"]["overwrite"] and files.config.exists() and not _is_same(config, files):
        directory.move_aside()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Galaxy10Error(f"{path} cannot be made ({error.strerror}); set run.root or run.dir") from error


def _is_same(config: dict[str, Any], files: RunFiles) -> bool:
    return not differences(files.read_config(), config)


def _refuse_another(config: dict[str, Any], files: RunFiles) -> None:
    different = differences(files.read_config(), config)
    if different:
        listed = ", ".join(
            f"{key} ({format_value(old)} there, {format_value(new)} here)" for key, old, new in different[:6]
        )
        more = f" and {len(different) - 6} more" if len(different) > 6 else ""
        raise Galaxy10Error(
            f"{files.path} holds a run of another configuration: {listed}{more}; "
            "give another run.dir, or run.overwrite=true to move the old run aside"
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Settings in which two configurations are different experiments: (key, old value, new value)."""
    before, after = dict(iter_settings(old)), dict(iter_settings(new))
    keys = [key for key in {**before, **after} if not _incidental(key)]
    return [(k, before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)]


def _incidental(key: str) -> bool:
    group, _, name = key.partition(".")
    return key.startswith(INCIDENTAL) or (group == "trainer" and name in INCIDENTAL_TRAINER)
