"""Commands in the test's own process: no interpreter is started and nothing is imported for them."""

import io
import logging
import os
import runpy
import signal
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
LOGGERS = (None, "galaxy10")


def run_here(program: str, arguments: list[str], cwd: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a program of this project as `python` would; its exit code, standard output and standard error.

    What it changes of the process (environment, folder, signal handlers, logging) is as it was before.

    Args:
        program: train.py, sweep.py or galaxy10.
        environment: variables that differ from this process's.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    loggers = [(log, list(log.handlers), log.level, log.propagate) for log in map(logging.getLogger, LOGGERS)]
    code: object = 0
    with ExitStack() as changed:
        changed.enter_context(patch.dict(os.environ, environment))
        changed.enter_context(patch.object(sys, "argv", [program, *arguments]))
        changed.enter_context(patch.object(sys, "path", list(sys.path)))
        changed.enter_context(chdir(cwd))
        changed.enter_context(redirect_stdout(out))
        changed.enter_context(redirect_stderr(err))
        try:
            if program == "galaxy10":
                runpy.run_module("galaxy10", run_name="__main__")
            else:
                sys.argv[0] = str(ROOT / program)
                runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for log, kept, log.level, log.propagate in loggers:
                log.handlers[:] = kept
    return (code if isinstance(code, int) else 0 if code is None else 1), out.getvalue(), err.getvalue()
