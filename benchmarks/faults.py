"""The faults of benchmarks/fault_matrix.py: what happens to a command at a moment, and how it is mended afterwards."""

import ctypes
import errno
import os
import resource
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

DISK_MB = 300
JUMPS_S = (7200.0, -7200.0)
BLOCK = 1 << 20
OWN_NETWORK_S = 60.0  # until a command has a network of its own
CLONE_NEWNS = 0x00020000


@dataclass
class Place:
    """Where a command runs.

    work: its folder, a small disk of its own if `own_disk`. clock: the file that its clock reads.
    """

    work: Path
    clock: Path
    own_disk: bool
    limited: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        strike: called with the place, the command's process id and a number, at the moment.
        mend: called when the command has ended.
        survived: whether the command must finish nevertheless.
        only_root: whether it needs root.
        leaves_out: commands that it is not tried with.
    """

    name: str
    strike: Callable[[Place, int, int], None]
    mend: Callable[[Place], None] = lambda place: None
    survived: bool = False
    only_root: bool = False
    leaves_out: tuple[str, ...] = ()


def own_mounts() -> None:
    """As root, keep this process's mounts to itself: they vanish with it, however it ends."""
    if os.getuid() == 0 and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder, as root on a small disk of its own; yield whether it is one."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=777", "tmpfs", str(folder)]
    own = os.getuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield own
    finally:
        if own:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def processes_in(work: Path) -> list[int]:
    """Return the processes whose working directory is a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and os.readlink(entry / "cwd") == str(work):  # not readable of a zombie
                found.append(int(entry.name))
    return found


def _terminate(place: Place, pid: int, number: int) -> None:
    os.kill(pid, signal.SIGTERM)


def _kill(place: Place, pid: int, number: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _fill(place: Place, pid: int, number: int) -> None:
    """Leave no byte on the disk; without a disk of its own, let no file of the command grow."""
    if not place.own_disk:
        for process in processes_in(place.work):
            with suppress(OSError):
                before = resource.prlimit(process, resource.RLIMIT_FSIZE)
                resource.prlimit(process, resource.RLIMIT_FSIZE, (0, before[1]))
        return
    with (place.work / ".filler").open("wb", buffering=0) as file:
        for size in (BLOCK, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def _free(place: Place) -> None:
    (place.work / ".filler").unlink(missing_ok=True)


def _lock_folders(place: Place, pid: int, number: int) -> None:
    _set_writable(place.work, False)


def _unlock_folders(place: Place) -> None:
    _set_writable(place.work, True)


def _set_writable(work: Path, writable: bool) -> None:
    for folder in [work, *(path for path in work.rglob("*") if path.is_dir())]:
        with suppress(FileNotFoundError):
            mode = folder.stat().st_mode & 0o7777
            folder.chmod(mode | 0o200 | (0o022 if folder == work else 0) if writable else mode & ~0o222)


def _cut_off(place: Place, pid: int, number: int) -> None:
    """Take down the loopback of the command's own network; never that of this machine."""
    deadline = time.monotonic() + OWN_NETWORK_S
    try:
        while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net"):  # in its first moments
            if time.monotonic() > deadline:
                raise RuntimeError("the command has no network of its own")
            time.sleep(0.005)
    except FileNotFoundError:  # the command has ended
        return
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "link", "set", "lo", "down"], capture_output=True)
    if done.returncode and Path(f"/proc/{pid}").exists():
        raise OSError(errno.EPERM, done.stderr.decode())


def _jump(place: Place, pid: int, number: int) -> None:
    place.clock.write_bytes(struct.pack("d", JUMPS_S[number % len(JUMPS_S)]))


FAULTS = [
    Fault("TERM", _terminate),
    Fault("KILL", _kill),
    Fault("full disk", _fill, _free),
    Fault("read-only folder", _lock_folders, _unlock_folders),
    Fault("network gone", _cut_off, survived=True, only_root=True, leaves_out=("download",)),
    Fault("clock jump", _jump, survived=True),
]
