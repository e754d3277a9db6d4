"""Who may write a run directory: one living process at a time, also when the file system is shared by many hosts."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write, read_json
from galaxy10.runs.files import RunFiles
from galaxy10.runs.slurm import job_name, restarts

logger = logging.getLogger(__name__)

BEAT_S = 10.0
HANDOVER_S = 30.0  # longer than a beat and a training step
STALE_S = 60.0  # on another host, a lock that has not been renewed for so long belongs to a dead process


class RunLock:
    """The right to write a run directory, kept in its lock.json and renewed by a thread.

    On one host the process's existence decides, across hosts the age of the last renewal (clocks must agree to
    within a minute). lost is set once another process has taken over: from then on nothing may be written.
    A requeued SLURM job takes over from its own earlier start, which lives on where a node's daemon died.
    """

    def __init__(self, directory: Path):
        self.path = RunFiles(directory).lock
        self.token = uuid.uuid4().hex
        self.lost = threading.Event()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock, also over from a process that is dead.

        Raises:
            Galaxy10Error: a living process holds it; names host, process and job.
        """
        check_free(self.path.parent)
        before = read_json(self.path)
        aside = self.path.with_name(f".lock.{self.token}")
        try:
            os.rename(self.path, aside)  # of several that see it stale, one can
            aside.unlink()
        except FileNotFoundError:
            pass
        try:
            with self.path.open("x") as file:
                json.dump(self._content(), file)
        except FileExistsError:
            check_free(self.path.parent)
            raise Galaxy10Error(f"another process has just taken {self.path.parent}; give another run.dir") from None
        logger.debug("took the lock of %s", self.path.parent)
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lock")
        self._thread.start()
        if before and is_alive(before):
            self._outlive(before)

    def _outlive(self, earlier: dict[str, Any]) -> None:
        """Wait for an earlier start of this job to notice that its lock is gone; it stops within a beat and a step."""
        logger.info(
            f"waiting for process {earlier.get('pid')} on {earlier.get('host')}, an earlier start of this job, to stop"
        )
        deadline = time.monotonic() + HANDOVER_S
        while time.monotonic() < deadline and (_is_elsewhere(earlier) or is_alive(earlier)):
            time.sleep(0.2)

    def still_held(self) -> bool:
        """Whether nobody has taken over, by the file itself: asked before anything is written."""
        if read_json(self.path).get("token") not in (self.token, None):
            self.lost.set()
        return not self.lost.is_set()

    def release(self) -> None:
        """Give the lock back, if it is still ours."""
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * BEAT_S)
        if read_json(self.path).get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def _content(self) -> dict[str, Any]:
        return {
            "token": self.token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _start_of(os.getpid()),
            "job": job_name(),
            "step": os.environ.get("SLURM_STEP_ID"),
            "restarts": restarts(),
            "renewed": time.time(),
        }

    def _renew(self) -> None:
        while not self._done.wait(BEAT_S):
            if not self.still_held():
                return
            try:
                with atomic_write(self.path) as part:
                    part.write_text(json.dumps(self._content()))
            except Galaxy10Error:
                continue  # a full disk is told where data is written; the lock may be renewed later


def read_holder(directory: Path) -> dict[str, Any]:
    """Return who holds a directory, by its lock; an empty dict where nobody does."""
    return read_json(RunFiles(directory).lock)


def check_free(directory: Path) -> None:
    """Whether nobody alive holds a run directory.

    Raises:
        Galaxy10Error: somebody does.
    """
    holder = read_holder(directory)
    if holder and is_alive(holder) and not _is_earlier_start(holder):
        job = f", SLURM job {holder['job']}" if holder.get("job") else ""
        raise Galaxy10Error(
            f"{directory} is being written by process {holder.get('pid')} on {holder.get('host')}{job}; "
            "wait for it, stop it, or give another run.dir"
        )


def is_held(directory: Path) -> bool:
    """Whether somebody alive holds a directory."""
    try:
        check_free(directory)
    except Galaxy10Error:
        return True
    return False


def is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock.json names still lives, as far as one can tell from here."""
    if holder.get("host") == socket.gethostname():
        started = _start_of(int(holder.get("pid") or 0))
        return started is not None and started == holder.get("started")
    return time.time() - float(holder.get("renewed") or 0) < STALE_S


def _is_earlier_start(holder: dict[str, Any]) -> bool:
    """Whether a lock belongs to this very SLURM job, before it was requeued."""
    job = job_name()
    return job is not None and holder.get("job") == job and int(holder.get("restarts") or 0) < restarts()


def _is_elsewhere(holder: dict[str, Any]) -> bool:
    return holder.get("host") != socket.gethostname()


def wait_for_main_process(directory: Path) -> None:
    """Under srun all processes start at once: the others go on when the first one has the directory."""
    while True:
        holder = read_holder(directory)
        if [holder.get(key) for key in ("job", "step", "restarts")] == [
            job_name(),
            os.environ.get("SLURM_STEP_ID"),
            restarts(),
        ]:
            return
        time.sleep(0.2)


def _start_of(pid: int) -> str | None:
    """When a process of this host started (a number of its own may be given to another later); None for no process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else _without_proc(pid)
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, ValueError):
        return None
    except PermissionError:
        pass
    return "alive"
