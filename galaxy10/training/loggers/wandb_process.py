"""The W&B process as seen from the run, which sends it messages and waits for it only at the end.

W&B has a process of its own because wandb can hang for minutes in a call or at exit, and because that process can mark
the run as failed after the run was killed.
"""

import json
import logging
import os
import subprocess
import time
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from galaxy10.errors import first_line
from galaxy10.runs.files import RunFiles
from galaxy10.training.loggers.wandb_environment import python_command, wandb_environment
from galaxy10.training.loggers.wandb_messages import CALL, END, ROWS, frame, pack_call

log = logging.getLogger(__name__)

SIGNALLED = 128  # exit codes from here on mean a signal, after which there is little time
SIGNALLED_WAIT_S = 10.0
LEEWAY_S = 15.0  # time in addition to the process's own time limits, before it is killed
MOST_WAITING_BYTES = 2**28  # limit of unsent messages, as when the server hangs


class WandbProcess:
    """A running `wandb_follower` for a run directory. facts: `url` and `dir` of the W&B run, once known."""

    def __init__(self, directory: Path, settings: dict[str, Any]):
        self.folder, self.upload_timeout_s = RunFiles(directory).wandb, float(settings["upload_timeout_s"])
        self.facts: dict[str, str] = {}
        self._done = self._gone = False
        self._warned: set[str] = set()
        self._outbox: SimpleQueue[bytes] = SimpleQueue()
        self._waiting_bytes, self._lock = 0, Lock()
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = self.folder.resolve()
        command = python_command("galaxy10.training.loggers.wandb_follower")
        with (folder / "follower.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, str(folder.parent), str(os.getpid()), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env=wandb_environment(folder),
                start_new_session=True,  # Ctrl-C must reach only the run
            )
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        Thread(target=self._write, daemon=True).start()

    def log_rows(self, before: int | None = None) -> None:
        """Make the process log the new rows of the tables; with `before`, only those of earlier epochs."""
        self._send(frame(ROWS, b"" if before is None else str(before).encode()))

    def call(self, path: tuple[str, ...], *arguments: Any, **keywords: Any) -> None:
        """Make the process call `run.<path>(...)` and return at once. A call that cannot be sent is dropped."""
        name = ".".join(path)
        try:
            message = frame(CALL, pack_call(path, arguments, keywords))
        except Exception as error:  # pickling a user's object can raise anything
            self.warn_once(name, f"experiment.{name}: its arguments cannot be sent ({first_line(error)})")
            return
        if self._waiting_bytes + len(message) > MOST_WAITING_BYTES:
            limit = f"{MOST_WAITING_BYTES / 2**20:.0f} MiB"
            self.warn_once("full", f"{limit} wait to be logged: experiment.{name} and later calls are left out")
            return
        self._send(message)

    def warn_once(self, topic: str, text: str) -> None:
        """Log a warning, only once per topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            log.warning(f"wandb   {text}")

    def close(self, exit_code: int) -> None:
        """Wait up to upload_timeout_s, or less after a signal, for the upload of the rest; then kill the process."""
        self._send(frame(END, str(exit_code).encode()))
        limit_s = SIGNALLED_WAIT_S if exit_code >= SIGNALLED else self.upload_timeout_s + LEEWAY_S
        deadline = time.monotonic() + limit_s
        try:
            self._listener.join(limit_s)  # ends with the process's standard output
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        except BaseException as error:  # a signal ends the wait
            if isinstance(error, Exception):
                raise
        self._process.kill()
        self._gone = True
        self._outbox.put(b"")  # ends the thread that writes
        if not self._done:
            parts = f"; `{self._sync_command(True)}` uploads what was logged" if any(self.folder.glob("*run-*")) else ""
            log.warning(f"wandb   has stopped; see {self.folder}/follower.log{parts}")

    def _send(self, message: bytes) -> None:
        if self._gone:
            return
        with self._lock:
            self._waiting_bytes += len(message)
        self._outbox.put(message)

    def _write(self) -> None:
        assert self._process.stdin is not None
        while message := self._outbox.get():
            left = memoryview(message)
            try:
                while left:
                    left = left[self._process.stdin.write(left) :]
            except (OSError, ValueError):  # the process has ended, or its pipe is closed; close() logs it
                self._gone = True
                return
            with self._lock:
                self._waiting_bytes -= len(message)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            self._done = self._done or "ended" in reply
            self.facts |= {key: reply[key] for key in ("url", "dir") if key in reply}
            if "offline" in reply:
                log.info(f"wandb   offline: {reply['offline']}; `{self._sync_command()}` uploads this run later")
            elif "url" in reply:
                log.info(f"wandb   {reply['url']}")
            elif "lost" in reply:
                self.warn_once(reply["call"], f"experiment.{reply['call']}: {reply['lost']}")
            elif reply.get("ended") == "incomplete":
                log.info(f"wandb   the upload is incomplete; `{self._sync_command(online=True)}` uploads the rest")

    def _sync_command(self, online: bool = False) -> str:
        """Return the command that uploads every part of this run, including those of earlier starts."""
        return (
            f"wandb sync --include-online {self.folder}/*run-*" if online else f"wandb sync {self.folder}/offline-run-*"
        )
