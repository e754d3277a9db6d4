"""CPU cores and memory of this process."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 2**30


def usable_cpus() -> int:
    """Return the number of CPU cores that this process may use; on a shared machine, it can be less than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> bool:
    """Make glibc keep freed blocks of up to 1 GiB; return whether it does.

    By default glibc returns large activations and gradients to the system after every step, and the system clears each
    page before it is used again: a third of the simple CNN's training time on a CPU.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST - 1))
