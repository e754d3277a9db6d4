"""CPU cores and memory of this process."""

import ctypes
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_LARGEST = 2**30
_memory_is_shared = False


def usable_cpus() -> int:
    """Return the number of CPU cores that this process may use; in a container it can be less than all."""
    cores = _cores()
    return min(cores, cpu_quota() or cores)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), groups: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the CPU time that the control groups of this process allow, in cores, rounded up; None without a limit.

    Args:
        root: where control groups are mounted; groups: the file that lists those of this process.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [root / name for name in ("cpu", controllers, "cpu,cpuacct")] if controllers else [root]
        above = [Path(group.strip("/")), *Path(group.strip("/")).parents]
        quotas += [_quota(mount / folder) for mount in mounts for folder in above]
    return min((math.ceil(quota) for quota in quotas if quota), default=None)


def _quota(folder: Path) -> float | None:
    """Return the limit of one control group in cores: cpu.max of version 2, cpu.cfs_* of version 1."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such group, or "max"
        return None


def limited_cpus() -> int | None:
    """Return the cores that a control group allows, if they are fewer than the cores that libraries count."""
    quota = cpu_quota()
    return quota if quota is not None and quota < _cores() else None


def provide_home() -> None:
    """Give a user who is in no list of users, as in containers, a home directory and a name, which libraries need."""
    if os.path.expanduser("~") == "~" or ("HOME" not in os.environ and not _is_listed_user()):
        home = temporary_home()
        os.makedirs(home, mode=0o700, exist_ok=True)
        if os.stat(home).st_uid != os.getuid():  # another user's, who could put settings there
            home = tempfile.mkdtemp(prefix=f"{home}-")
        os.environ["HOME"] = home
    if not ({"USER", "LOGNAME"} & os.environ.keys()) and not _is_listed_user():
        os.environ["LOGNAME"] = f"user-{os.getuid()}"


def temporary_home() -> str:
    """Return the directory that stands in for the home directory of a user without one."""
    return os.path.join(tempfile.gettempdir(), f"galaxy10-home-{os.getuid()}")


def _is_listed_user() -> bool:
    import pwd

    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return True


def keep_freed_memory() -> bool:
    """Make glibc keep freed blocks of up to 1 GiB; return whether it does.

    By default glibc returns large activations and gradients to the system after every step, and the system clears each
    page before it is used again: a third of the simple CNN's training time on a CPU.
    """
    mallopt = _of_glibc("mallopt")
    return bool(mallopt and mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST - 1))


def share_memory_between_threads() -> bool:
    """Make glibc take the memory of all threads from one place; return whether they do now.

    By default other threads than the main one have places of their own, of 64 MiB at most: larger blocks are cleared by
    the system each time, whatever keep_freed_memory says. It has to be called before libraries start threads. Other C
    libraries need no such call.
    """
    global _memory_is_shared
    mallopt = _of_glibc("mallopt")
    _memory_is_shared = not mallopt or bool(mallopt(_M_ARENA_MAX, 1))
    return _memory_is_shared


def memory_is_shared() -> bool:
    """Return whether share_memory_between_threads has been called, or is not needed."""
    return _memory_is_shared or not _of_glibc("mallopt")


def return_freed_memory() -> bool:
    """Give freed blocks back to the system, once, before blocks of other sizes are needed; return whether it was done.

    Without it, evaluating a ResNet50 comes on top of the gigabytes that its training has freed and glibc has kept.
    """
    trim = _of_glibc("malloc_trim")
    return bool(trim and trim(0))


def _of_glibc(name: str) -> Any:
    """Return a function of glibc; None with another C library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
