"""Whether the process that holds a lock still runs: by its number in the same container, else by its heartbeat."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEAT_S = 10.0
STALE_S = 60.0  # a holder that has not renewed its lock for so long is dead


def describe_process() -> dict[str, Any]:
    """Return what identifies this process: host, pid, its start time, and the boot and PID namespace they belong to."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _start_of(pid), **_namespace()}


def heartbeat() -> dict[str, float]:
    """Return the time of a renewal: by the wall clock, and in seconds since the machine's start, which never jumps."""
    return {"renewed": time.time(), "uptime": _uptime_s()}


def shares_processes(holder: Mapping[str, Any]) -> bool:
    """Return whether a process number in a lock.json means here what it meant to its writer.

    Two containers can have the same host name and different processes of one number: boot and PID namespace decide.
    Without /proc, which is not Linux, there are no such namespaces, and the host name decides.
    """
    here = _namespace()
    if here["boot"] is None or here["namespace"] is None:
        return not Path("/proc/self").exists() and holder.get("host") == socket.gethostname()
    return all(holder.get(key) == here[key] for key in here)


def is_alive(holder: Mapping[str, Any]) -> bool:
    """Return whether the process in a lock.json still runs.

    In the same PID namespace, its number and start time decide at once; elsewhere, whether it renewed the lock within
    STALE_S. On one machine that time is measured from the machine's start; between machines, the clocks must agree.
    """
    if shares_processes(holder):
        started = _start_of(int(holder.get("pid") or 0))
        return started is not None and started == holder.get("started")
    if holder.get("boot") is not None and holder.get("boot") == _namespace()["boot"]:
        return 0 <= _uptime_s() - float(holder.get("uptime") or -STALE_S) < STALE_S
    return abs(time.time() - float(holder.get("renewed") or 0)) < STALE_S


def _namespace() -> dict[str, str | None]:
    return {"boot": _text("/proc/sys/kernel/random/boot_id"), "namespace": _link("/proc/self/ns/pid")}


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _uptime_s() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _start_of(pid: int) -> str | None:
    """Return the start time of a process of this namespace, because pids are reused; None if there is none."""
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
