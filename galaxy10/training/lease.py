"""Who may write a run directory: one living process at a time, also when the file system is shared by many hosts."""

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, replacing

BEAT_S = 10.0
STALE_S = 60.0  # on another host, a lease that has not been renewed for so long belongs to a dead process


class Lease:
    """The right to write a run directory, kept in its lease.json and renewed by a thread.

    On one host the process's existence decides, across hosts the age of the last renewal (clocks must agree to
    within a minute). lost is set once another process has taken over: from then on nothing may be written.
    """

    def __init__(self, directory: Path):
        self.path = directory / "lease.json"
        self.token = uuid.uuid4().hex
        self.lost = threading.Event()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Take the lease, also over from a process that is dead.

        Raises:
            Galaxy10Error: a living process holds it; names host, process and job.
        """
        check_free(self.path.parent)
        aside = self.path.with_name(f".lease.{self.token}")
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
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")
        self._thread.start()

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
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
            "job": os.environ.get("SLURM_JOB_ID"),
            "renewed": time.time(),
        }

    def _renew(self) -> None:
        while not self._done.wait(BEAT_S):
            if read_json(self.path).get("token") not in (self.token, None):
                self.lost.set()
                return
            try:
                with replacing(self.path) as part:
                    part.write_text(json.dumps(self._content()))
            except Galaxy10Error:
                continue  # a full disk is told where data is written; the lease may be renewed later


def check_free(directory: Path) -> None:
    """Whether nobody alive holds a run directory.

    Raises:
        Galaxy10Error: somebody does.
    """
    holder = read_json(directory / "lease.json")
    if holder and is_alive(holder):
        job = f", SLURM job {holder['job']}" if holder.get("job") else ""
        raise Galaxy10Error(
            f"{directory} is being written by process {holder.get('pid')} on {holder.get('host')}{job}; "
            "wait for it, stop it, or give another run.dir"
        )


def is_alive(holder: dict[str, Any]) -> bool:
    """Whether the process that a lease.json names still lives, as far as one can tell from here."""
    if holder.get("host") == socket.gethostname():
        started = _start_of(int(holder.get("pid") or 0))
        return started is not None and started == holder.get("started")
    return time.time() - float(holder.get("renewed") or 0) < STALE_S


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
