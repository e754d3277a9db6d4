"""The lock of a run directory: one process at a time may write it, also on a file system shared by many hosts."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write, read_json, write_error
from galaxy10.runs.files import RunFiles
from galaxy10.runs.liveness import BEAT_S, STALE_S, describe_process, heartbeat, is_alive, shares_processes
from galaxy10.runs.slurm import job_name, restarts

logger = logging.getLogger(__name__)

HANDOVER_S = 30.0  # longer than a beat and a training step


class LockedError(Galaxy10Error):
    """A running process holds the lock."""


class RunLock:
    """The lock of a run directory: the file lock.json, renewed by a thread.

    A lock is stale if its process does not exist; in another container or on another host, if it was not renewed for
    STALE_S (the clocks of hosts must agree to within a minute). A requeued SLURM job takes the lock over from its own
    earlier start, which can still run if the daemon of its node died.

    Attributes:
        lost: set once another process has taken over the lock; from then on this process must not write.
    """

    def __init__(self, directory: Path):
        self.path = RunFiles(directory).lock
        self.token = uuid.uuid4().hex
        self.lost = threading.Event()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Acquire the lock; replace the lock of a dead process.

        Raises:
            LockedError: a running process holds the lock; names host, process and job.
            Galaxy10Error: the directory cannot be written.
        """
        check_free(self.path.parent)
        before = read_json(self.path)
        aside = self.path.with_name(f".lock.{self.token}")
        try:
            os.rename(self.path, aside)  # succeeds for one of several processes that find the lock stale
            aside.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise write_error(self.path, error) from error
        try:
            with self.path.open("x") as file:
                json.dump(self._content(), file)
        except FileExistsError:
            check_free(self.path.parent)
            raise LockedError(f"another process has just locked {self.path.parent}; give another run.dir") from None
        except OSError as error:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)  # on a full disk, it is empty
            raise write_error(self.path, error) from error
        logger.debug("acquired the lock of %s", self.path.parent)
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lock")
        self._thread.start()
        if before and is_alive(before):
            self._wait_for_end_of(before)

    def _wait_for_end_of(self, earlier: dict[str, Any]) -> None:
        """Wait until an earlier start of this job has noticed that it lost the lock, and has stopped."""
        logger.info(
            f"waiting for process {earlier.get('pid')} on {earlier.get('host')}, an earlier start of this job, to stop"
        )
        deadline = time.monotonic() + HANDOVER_S
        while time.monotonic() < deadline and (not shares_processes(earlier) or is_alive(earlier)):
            time.sleep(0.2)

    def still_held(self) -> bool:
        """Read lock.json and return whether this process still holds the lock; call it before every write."""
        if read_json(self.path).get("token") not in (self.token, None):
            self.lost.set()
        return not self.lost.is_set()

    def release(self) -> None:
        """Delete lock.json, if this process still holds the lock."""
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * BEAT_S)
        if read_json(self.path).get("token") == self.token:
            self.path.unlink(missing_ok=True)

    def _content(self) -> dict[str, Any]:
        return {
            "token": self.token,
            **describe_process(),
            "job": job_name(),
            "step": os.environ.get("SLURM_STEP_ID"),
            "restarts": restarts(),
            **heartbeat(),
        }

    def _renew(self) -> None:
        while not self._done.wait(BEAT_S):
            if not self.still_held():
                return
            try:
                with atomic_write(self.path) as part:
                    part.write_text(json.dumps(self._content()))
            except Galaxy10Error:
                continue  # the writer of the data reports a full disk; the lock may be renewed later


def read_holder(directory: Path) -> dict[str, Any]:
    """Return the content of lock.json: host, pid, job and more of the holder; an empty dict without a lock."""
    return read_json(RunFiles(directory).lock)


def check_free(directory: Path) -> None:
    """Check that no other running process holds the lock of a run directory.

    Raises:
        LockedError: a running process holds the lock; names host, process and job.
    """
    holder = read_holder(directory)
    if holder and is_alive(holder) and not _is_earlier_start(holder):
        raise LockedError(
            f"{directory} is being written by {describe_holder(holder)}; wait for it, stop it, or give another run.dir"
        )


def wait_for_heartbeat(directory: Path) -> None:
    """If only a heartbeat can tell whether the holder of a lock still runs, wait for the next one, or until it is late.

    A command that is repeated soon after its container or host died goes on without another try.
    """
    first = read_holder(directory)
    if not first or shares_processes(first) or not is_alive(first) or _is_earlier_start(first):
        return
    logger.info(
        f"{directory} was written by {describe_holder(first)}: waiting up to {STALE_S:g} s to see whether it still is"
    )
    while (now := read_holder(directory)) and is_alive(now):
        if now.get("token") != first.get("token") or now.get("uptime") != first.get("uptime"):
            return
        time.sleep(0.2)


def describe_holder(holder: dict[str, Any]) -> str:
    """Return the holder of a lock in a few words: process, host, another container, SLURM job."""
    job = f", SLURM job {holder['job']}" if holder.get("job") else ""
    elsewhere = holder.get("host") == socket.gethostname() and not shares_processes(holder)
    container = " in another container" if elsewhere else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{container}{job}"


def is_held(directory: Path) -> bool:
    """Return whether a running process holds the lock of a directory."""
    try:
        check_free(directory)
    except LockedError:
        return True
    return False


def _is_earlier_start(holder: dict[str, Any]) -> bool:
    """Return whether a lock belongs to an earlier start of this SLURM job, before it was requeued."""
    job = job_name()
    return job is not None and holder.get("job") == job and int(holder.get("restarts") or 0) < restarts()


def wait_for_main_process(directory: Path) -> None:
    """Wait until rank 0 of this job step holds the lock; srun starts all processes at once."""
    while True:
        holder = read_holder(directory)
        if [holder.get(key) for key in ("job", "step", "restarts")] == [
            job_name(),
            os.environ.get("SLURM_STEP_ID"),
            restarts(),
        ]:
            return
        time.sleep(0.2)


def wait_for_lock(directory: Path, limit_s: float) -> None:
    """Wait until a running process holds the lock of a run directory.

    Raises:
        Galaxy10Error: none does after limit_s seconds.
    """
    deadline = time.monotonic() + limit_s
    while not is_alive(read_holder(directory)):
        if time.monotonic() > deadline:
            raise Galaxy10Error(f"rank 0 has not started a run in {directory} within {limit_s:g} s")
        time.sleep(0.2)
