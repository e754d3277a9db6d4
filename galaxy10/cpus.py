"""How many processors there are to work with."""

import os


def usable_cpus() -> int:
    """How many processors this process may use: on a shared machine, fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
