"""`python killed.py N before|after …`: the galaxy10 command, killed as the N-th part of a catalogue gets its name."""

import os
import runpy
import signal
import sys

number, moment = int(sys.argv[1]), sys.argv[2]
sys.argv[1:3] = []
rename, named = os.replace, 0


def killed(source: str, target: str) -> None:
    global named
    named += os.path.basename(target).startswith("part-")
    if moment == "before" and named == number:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
    if named == number:
        os.kill(os.getpid(), signal.SIGKILL)


os.replace = killed  # type: ignore[assignment]
runpy.run_module("galaxy10", run_name="__main__")
