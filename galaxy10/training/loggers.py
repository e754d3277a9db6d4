"""Who else hears of a run beside its directory: W&B or TensorBoard. Neither can delay or fail it."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Protocol

from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.runs.directory import RunDirectory
from galaxy10.runs.files import RunFiles

SIGNALLED = 128  # exit codes from here on: a signal asked for the end, and whoever sent it does not wait long
SIGNALLED_WAIT_S = 10.0
WANDB_MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
LEEWAY_S = 15.0  # for the follower's own time limits to act before it is killed

_opened: list["RunLog"] = []


class RunLog(Protocol):
    """Something that is told how a run goes. It reads the run directory, so it is told only when to look."""

    def look(self) -> None:
        """A row of metrics.csv and profile.csv is new."""

    def report(self) -> None:
        """Say what there is to say; called after every batch, so at once."""

    def close(self, exit_code: int) -> None:
        """The run has ended; its directory says how."""


def open_loggers(settings: dict[str, Any], directory: RunDirectory) -> list[Any]:
    """Open what the `logger` section asks for; Lightning's callbacks that keep it informed.

    To be called by the main process alone, when config.yaml and provenance.json are written.
    """
    if settings["name"] == "wandb" and is_wandb_on(settings):
        log: RunLog = WandbLog(directory.path, settings)
    elif settings["name"] == "tensorboard":
        from galaxy10.training.tensorboard_log import TensorBoardLog

        log = TensorBoardLog(directory.path)
    else:
        return []
    _opened.append(log)
    return [_callback(log)]


def close_loggers(exit_code: int) -> None:
    """Close whatever is open; a code other than 0 marks the run as failed. Does nothing where nothing was opened."""
    while _opened:
        try:
            _opened.pop().close(exit_code)
        except Exception as error:  # the run has ended as it has ended
            _say(f"logger  {first_line(error)}")


def check_logger(settings: dict[str, Any]) -> None:
    """What can be known of the logger before a run starts.

    Raises:
        Galaxy10Error: TensorBoard is not installed; logger.mode=online and W&B cannot be reached.
    """
    if settings["name"] == "tensorboard" and find_spec("tensorboard") is None:
        raise Galaxy10Error(
            'logger=tensorboard needs the package tensorboard: pip install "galaxy10[tensorboard]", or type logger=csv'
        )
    if settings["name"] == "wandb":
        _check_environment()
    if settings["name"] == "wandb" and settings["mode"] == "online":
        # In a process of its own: wandb starts a server when it is asked for its settings.
        command = _python("galaxy10.training.wandb_server")
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=30, env=wandb_environment(None))
            why = answer.stdout.strip() if answer.returncode == 0 else first_line(RuntimeError(answer.stderr))
        except subprocess.TimeoutExpired:
            why = "no answer in 30 s"
        if why:
            raise Galaxy10Error(f"logger.mode=online, but {why}; or type logger.mode=auto")


def _check_environment() -> None:
    """Values that wandb itself would fail on when it is imported."""
    mode, address = os.environ.get("WANDB_MODE"), os.environ.get("WANDB_BASE_URL")
    if mode and mode not in WANDB_MODES:
        raise Galaxy10Error(f"WANDB_MODE={mode} in the environment is not allowed; expected {' or '.join(WANDB_MODES)}")
    if address and not address.startswith(("https://", "http://")):
        raise Galaxy10Error(f"WANDB_BASE_URL={address} in the environment is no address; expected https://…")


def is_wandb_on(settings: dict[str, Any]) -> bool:
    """Whether anything is to be logged: WANDB_MODE, as on clusters, counts where logger.mode leaves it open."""
    return "disabled" not in (settings["mode"], settings["mode"] == "auto" and os.environ.get("WANDB_MODE"))


def wandb_environment(folder: Path | None) -> dict[str, str]:
    """The environment in which wandb says nothing and writes nowhere but into `folder`."""
    # An empty value is an error for wandb; another run's server or an order to resume are not for this one.
    foreign = {key for key in os.environ if key.startswith("WANDB_") and not os.environ[key]}
    foreign |= {"WANDB_SERVICE", "WANDB_RESUME"}
    environment = {key: value for key, value in os.environ.items() if key not in foreign}
    root = str(Path(__file__).resolve().parents[2])  # galaxy10 need not be installed
    environment["PYTHONPATH"] = os.pathsep.join(x for x in (root, environment.get("PYTHONPATH")) if x)
    environment |= {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_ERROR_REPORTING": "false"}
    if folder:  # offline artifacts stay in here until `wandb sync` sends them
        environment |= {"WANDB_CACHE_DIR": str(folder / "cache"), "WANDB_DATA_DIR": str(folder / "data")}
    return environment


class WandbLog:
    """The run's side of W&B: a process that follows the run directory, told when to look and waited for at the end.

    A process of its own, since wandb can hang for minutes in a call or at exit; and because it notices when this one
    is killed, and can still mark the run as failed.
    """

    def __init__(self, path: Path, settings: dict[str, Any]):
        self.folder, self.upload_timeout_s = RunFiles(path).wandb, float(settings["upload_timeout_s"])
        self.folder.mkdir(exist_ok=True)
        self._heard: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._done = False
        folder = self.folder.resolve()
        with (folder / "follower.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_python("galaxy10.training.wandb_follower"), str(folder.parent), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env=wandb_environment(folder),
                start_new_session=True,  # Ctrl-C on the terminal is for the run, which then says how it ended
            )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()

    def look(self) -> None:
        """Tell the follower that there are new rows."""
        self._tell("look")

    def report(self) -> None:
        """Say where the run can be seen, or why it cannot and what to type later."""
        while True:
            try:
                answer = self._heard.get_nowait()
            except Empty:
                return
            self._done = self._done or "ended" in answer
            if "url" in answer:
                _say(f"wandb   {answer['url']}")
            elif "offline" in answer:
                _say(f"wandb   offline: {answer['offline']}; `{self._sync_command()}` uploads this run later")
            elif answer.get("ended") == "incomplete":
                _say(f"wandb   not everything has arrived; `{self._sync_command(online=True)}` uploads the rest later")

    def close(self, exit_code: int) -> None:
        """Give the follower upload_timeout_s to send the rest; less after a signal."""
        self._tell(f"end {exit_code}")
        limit_s = SIGNALLED_WAIT_S if exit_code >= SIGNALLED else self.upload_timeout_s + LEEWAY_S
        deadline = time.monotonic() + limit_s
        try:
            self._listener.join(limit_s)  # ends with the follower's standard output
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        except BaseException as interruption:  # a signal now only means: do not wait
            if isinstance(interruption, Exception):
                raise
        self._process.kill()
        self.report()
        if not self._done:
            parts = f"; `{self._sync_command(True)}` uploads what there is" if any(self.folder.glob("*run-*")) else ""
            _say(f"wandb   has stopped, {self.folder}/follower.log says why{parts}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended; close() says so
            self._process.stdin.write(f"{line}\n".encode())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard.put(json.loads(line))

    def _sync_command(self, online: bool = False) -> str:
        """What uploads every part of this run, resumed ones included."""
        return (
            f"wandb sync --include-online {self.folder}/*run-*" if online else f"wandb sync {self.folder}/offline-run-*"
        )


def _python(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]  # -P: what lies in the user's folder is not imported


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _callback(log: RunLog) -> Any:
    import lightning as L

    class LogCallback(L.Callback):
        """Tells a log when to look. Comes after the MetricsCSV, which writes the rows."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            """Pass on what the log has to say."""
            log.report()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """There is a new row."""
            log.look()

    return LogCallback()
