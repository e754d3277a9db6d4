"""`python fault_child.py CLOCK NETWORK WORDS…`: run a command as benchmarks/fault_matrix.py disturbs it.

As root, the command loses the right to write where permissions forbid it. CLOCK: a file with the seconds by which the
clock is wrong (a double), or "-". NETWORK: "own" for one that can be cut off, or "-".
"""

import ctypes
import os
import runpy
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.warm import run_as_python

CLONE_NEWNET = 0x40000000
CAPABILITY_VERSION, PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 0x20080522, 24, 1


def obey_permissions() -> None:
    """Give up root's right to write everywhere, also for the processes that this one starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    rights = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
    if libc.capget(header, rights):
        raise OSError(ctypes.get_errno(), "capget")
    for position in range(3):
        rights[position] &= ~(1 << CAP_DAC_OVERRIDE)
    libc.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
    if libc.capset(header, rights):
        raise OSError(ctypes.get_errno(), "capset")


def main(clock: str, network: str, words: list[str]) -> None:
    """Run the words as Python would."""
    if network == "own" and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if os.getuid() == 0:
        obey_permissions()
    if clock != "-":
        os.environ["FAULT_CLOCK"] = clock
        here = str(Path(__file__).with_name("fault_clock"))  # for the processes that the command starts
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        runpy.run_path(f"{here}/sitecustomize.py")
    run_as_python(words, os.getcwd())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
