"""Processes that need not import torch again: each is forked from one that has, and then runs a script as Python would.

A short experiment spends most of its time importing. Here one process imports the libraries and this project's modules,
computes nothing, and forks whenever a command is wanted; what the fork runs, prints and returns is the command's own.
What a command imports before its quick answers is tested in processes of their own.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

LIBRARIES = (
    "astropy.io.fits", "h5py", "hydra.main", "hydra.utils", "hydra._internal.config_loader_impl", "jinja2", "lightning",
    "matplotlib.pyplot", "pandas", "pyarrow.parquet", "scipy.stats",
    "sklearn.decomposition", "sklearn.linear_model", "sklearn.model_selection",
    "timm", "torch", "torchmetrics", "torchvision", "typer",
    *("galaxy10." + name for name in (
        "catalogue.predict", "catalogue.predictor", "cli.main", "cli.train", "evaluation.with_options",
        "models.timm_classifier", "reports.run", "training.experiment", "training.preflight",
    )),
)  # fmt: skip
SOCKET = "warm.socket"


class WarmProcess:
    """What tests use of subprocess.Popen, for a command forked from a warm process; its output goes to files."""

    def __init__(self, warm: "Warm", pid: int, number: int):
        self.pid, self.returncode = pid, None
        self._warm, self._number = warm, number

    def poll(self) -> int | None:
        if self.returncode is None and self._warm.ended(self._number).exists():
            self.returncode = int(self._warm.ended(self._number).read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a warm process", timeout)
            time.sleep(0.005)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return tuple(self._warm.output(self._number, name).read_text() for name in ("out", "err"))

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "WarmProcess":
        return self

    def __exit__(self, *_) -> None:
        self.kill()
        self.wait()


def search_path(environment: Mapping[str, str]) -> list[str]:
    """The folders of PYTHONPATH."""
    return [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]


class Warm:
    """The session's process that has imported the libraries, as one test process sees it; `start` forks a command."""

    # What a command may set differently (CUDA's is read when a GPU is first asked for, not while importing):
    # other variables are read by libraries while they are imported.
    FREE = (
        "WANDB", "SLURM", "GALAXY10", "HOME", "NETRC", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTEST", "HOLD_AT",
        "TMPDIR",
    )  # fmt: skip

    def __init__(self, server: Path, folder: Path):
        self._folder, self._started = folder, 0
        self._environment = dict(os.environ)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(server / SOCKET))
        self._answers = connection.makefile("rw")

    def output(self, number: int, name: str) -> Path:
        return self._folder / f"{number}.{name}"

    def ended(self, number: int) -> Path:
        return self._folder / f"{number}.code"

    def suits(self, environment: dict[str, str]) -> bool:
        """Whether the libraries, imported there, are as they would be if imported under this environment."""
        differing = dict(environment.items() ^ self._environment.items())
        added = set(search_path(environment)) - set(search_path(self._environment))
        if any((Path(folder) / "sitecustomize.py").exists() for folder in added):  # which a new process would run
            return False
        return all(name.startswith(self.FREE) or name == "PYTHONPATH" for name in differing)

    def start(self, arguments: list[str], cwd: Path, environment: dict[str, str]) -> WarmProcess:
        """Run `python` with these arguments (a script or -m module, then its own) as a fork."""
        self._started += 1
        number = self._started
        job = {
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": environment,
            "base": str(self._folder / str(number)),
        }
        self._answers.write(json.dumps(job) + "\n")
        self._answers.flush()
        return WarmProcess(self, int(self._answers.readline()), number)

    def close(self) -> None:
        self._answers.close()


class WarmServer:
    """The warm process, started by the session's first process; it imports nothing before it is first asked."""

    def __init__(self, folder: Path):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(folder / SOCKET))
        listening.listen(64)
        command, handle = [sys.executable, __file__, str(listening.fileno())], [listening.fileno()]
        # It ends when its standard input does: also when this process is killed.
        self._process = subprocess.Popen(command, env=environment, pass_fds=handle, stdin=subprocess.PIPE)
        listening.close()

    def close(self) -> None:
        """End it, and wait for what it has started."""
        self._process.communicate()


def write_cpu_time(seconds: float, test: str) -> None:
    """Add a line to the session's table of what tests cost: a test may have several, from several processes."""
    with open(os.environ["GALAXY10_TEST_CPU_TIMES"], "a") as file:
        file.write(f"{seconds:.3f} {test.split(' ')[0]}\n")


def _serve(listening: socket.socket) -> None:
    """Fork for every line read; say each fork's process id, and write its exit code into a file when it has ended."""
    listening.set_inheritable(False)
    jobs: dict[int, dict] = {}

    def reap(*_) -> None:
        while jobs:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            job = jobs.pop(pid)
            write_cpu_time(usage.ru_utime + usage.ru_stime, job["environment"].get("PYTEST_CURRENT_TEST", "?"))
            _write_code(job["base"], os.waitstatus_to_exitcode(status))

    signal.signal(signal.SIGCHLD, reap)
    connections = {}
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        selector.register(listening, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    connections[connection] = connection.makefile("rw")
                    selector.register(connection, selectors.EVENT_READ)
                    _import_libraries()
                    continue
                lines = connections[key.fileobj]
                line = lines.readline()  # one test process asks for one thing at a time: no second line waits behind
                if not line:
                    selector.unregister(key.fileobj)
                    del connections[key.fileobj]
                    continue
                job = json.loads(line)
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
                pid = os.fork()
                if pid == 0:
                    _become(job)
                jobs[pid] = job
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
                lines.write(f"{pid}\n")
                lines.flush()


def _import_libraries() -> None:
    if "torch" not in sys.modules:
        for name in LIBRARIES:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()


def _write_code(base: str, code: int) -> None:
    part = Path(f"{base}.part")
    part.write_text(str(code))
    part.rename(f"{base}.code")


def _become(job: dict) -> None:
    """Turn this fork into `python arguments`; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.chdir(job["cwd"])
    before = search_path(os.environ)
    sys.path[1:] = [*search_path(job["environment"]), *(folder for folder in sys.path[1:] if folder not in before)]
    os.environ.clear()
    os.environ.update(job["environment"])
    tempfile.tempdir = None  # TMPDIR is read again
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(f"{job['base']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    code: object = 1
    try:
        run_as_python(job["arguments"], job["cwd"])
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    # As at the end of any process, except that nothing is unloaded: touching every page of torch takes seconds.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def run_as_python(arguments: list[str], cwd: str) -> None:
    """Run a script or -m module with its arguments in this process, as `python` does."""
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = cwd
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
