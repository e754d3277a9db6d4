"""With this folder in PYTHONPATH, `python -m galaxy10 …` prints what it finds itself in, as JSON; then it waits for a
file `go` if its last argument is `wait`. A fork server imports nothing for it but an exit handler: the file `exits`
gets the process id of every process that calls it. The environment variable BROKEN makes that import fail.
"""

import sys
from types import ModuleType


def describe() -> None:
    import json
    import os
    import random
    import signal
    import threading
    import time
    from pathlib import Path

    print("to the log", file=sys.stderr)
    print(json.dumps({
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgrp() == os.getpid(),
        "random": random.random(),
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "path": sys.path,
        "main": sys.modules["__main__"].__spec__.name,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "descriptors": sorted(name for name in os.listdir("/proc/self/fd") if Path(f"/proc/self/fd/{name}").exists()),
        "handlers": [str(signal.getsignal(number))[:40] for number in sorted(signal.valid_signals())],
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "threads": threading.active_count(),
        "input": sys.stdin.read(),
    }), flush=True)  # fmt: skip
    while sys.argv[-1] == "wait" and not Path("go").exists():
        time.sleep(0.01)
    sys.exit(7)


def count_exits() -> None:
    import os

    with open("exits", "a") as file:
        file.write(f"{os.getpid()}\n")


if sys.orig_argv[1:2] == ["-m"]:
    import atexit
    import os

    atexit.register(count_exits)
    entry, imports = ModuleType("galaxy10.cli.entry"), ModuleType("galaxy10.sweeps.trial_imports")
    entry.main = describe
    imports.seed_anew = lambda: None
    sys.modules["galaxy10.cli.entry"] = entry
    if "BROKEN" not in os.environ:
        sys.modules["galaxy10.sweeps.trial_imports"] = imports
    else:
        sys.modules["galaxy10.sweeps.trial_imports"] = None  # importing it fails
    print("while importing", file=sys.stderr)
