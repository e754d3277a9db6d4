"""The process that talks to W&B, as a run sees it: told of rows and calls, never waited for until the end.

A process of its own, since wandb can hang for minutes in a call or at exit; and because it notices when the run is
killed, and can still mark it as failed.
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

SIGNALLED = 128  # exit codes from here on: a signal asked for the end, and whoever sent it does not wait long
SIGNALLED_WAIT_S = 10.0
LEEWAY_S = 15.0  # for the process's own time limits to act before it is killed
MOST_WAITING_BYTES = 2**28  # what may wait to be sent while the process is busy, as with a server that hangs


class WandbProcess:
    """Starts `wandb_follower` for a run directory. facts: what it has said of the run so far, `url` and `dir`."""

    def __init__(self, directory: Path, settings: dict[str, Any]):
        self.folder, self.upload_timeout_s = RunFiles(directory).wandb, float(settings["upload_timeout_s"])
        self.facts: dict[str, str] = {}
        self._done = self._gone = False
        self._said: set[str] = set()
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
                start_new_session=True,  # Ctrl-C on the terminal is for the run, which then says how it ended
            )
        self._listener = Thread(target=self._listen, daemon=True)
        self._listener.start()
        Thread(target=self._write, daemon=True).start()

    def log_rows(self, before: int | None = None) -> None:
        """Say that the tables have new rows: those of epochs before one, or all."""
        self._send(frame(ROWS, b"" if before is None else str(before).encode()))

    def call(self, path: tuple[str, ...], *arguments: Any, **keywords: Any) -> None:
        """Have `run.<path>(...)` called. Returns at once; what cannot be sent is left out, and said once."""
        name = ".".join(path)
        try:
            message = frame(CALL, pack_call(path, arguments, keywords))
        except Exception as error:  # whatever a user's object does when it is pickled
            self.warn_once(name, f"experiment.{name}: its arguments cannot be sent ({first_line(error)})")
            return
        if self._waiting_bytes + len(message) > MOST_WAITING_BYTES:
            limit = f"{MOST_WAITING_BYTES / 2**20:.0f} MiB"
            self.warn_once("full", f"{limit} wait to be logged: experiment.{name} and what follows is left out")
            return
        self._send(message)

    def warn_once(self, topic: str, text: str) -> None:
        """Say a thing that would come again with every step."""
        if topic not in self._said:
            self._said.add(topic)
            log.warning(f"wandb   {text}")

    def close(self, exit_code: int) -> None:
        """Give the process upload_timeout_s to send the rest; less after a signal."""
        self._send(frame(END, str(exit_code).encode()))
        limit_s = SIGNALLED_WAIT_S if exit_code >= SIGNALLED else self.upload_timeout_s + LEEWAY_S
        deadline = time.monotonic() + limit_s
        try:
            self._listener.join(limit_s)  # ends with the process's standard output
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        except BaseException as error:  # a signal now only means: do not wait
            if isinstance(error, Exception):
                raise
        self._process.kill()
        self._gone = True
        self._outbox.put(b"")  # ends the thread that writes
        if not self._done:
            parts = f"; `{self._sync_command(True)}` uploads what there is" if any(self.folder.glob("*run-*")) else ""
            log.warning(f"wandb   has stopped, {self.folder}/follower.log says why{parts}")

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
            except (OSError, ValueError):  # it has ended, or its pipe is closed; close() says so
                self._gone = True
                return
            with self._lock:
                self._waiting_bytes -= len(message)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._done = self._done or "ended" in answer
            self.facts |= {key: answer[key] for key in ("url", "dir") if key in answer}
            if "offline" in answer:
                log.info(f"wandb   offline: {answer['offline']}; `{self._sync_command()}` uploads this run later")
            elif "url" in answer:
                log.info(f"wandb   {answer['url']}")
            elif "lost" in answer:
                self.warn_once(answer["call"], f"experiment.{answer['call']}: {answer['lost']}")
            elif answer.get("ended") == "incomplete":
                log.info(
                    f"wandb   not everything has arrived; `{self._sync_command(online=True)}` uploads the rest later"
                )

    def _sync_command(self, online: bool = False) -> str:
        """What uploads every part of this run, resumed ones included."""
        return (
            f"wandb sync --include-online {self.folder}/*run-*" if online else f"wandb sync {self.folder}/offline-run-*"
        )
