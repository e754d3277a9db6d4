"""The process that logs a run to Weights & Biases by following its run directory; only this process imports wandb.

WandbProcess starts it and sends messages (wandb_messages) on standard input: new rows, calls of the run, and the exit
code; if standard input ends without an exit code, the run was killed. Replies are JSON lines on standard output:
{"dir": …} with {"url": …} or {"offline": reason} once, {"call": name, "lost": reason} for a call that failed, and
{"ended": state} at the end.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from threading import Thread
from typing import Any, BinaryIO

from galaxy10.errors import first_line
from galaxy10.files import read_json, write_json
from galaxy10.runs.epochs import epoch_rows
from galaxy10.runs.files import RunFiles
from galaxy10.runs.signals import ignore_signals
from galaxy10.training.loggers.wandb_messages import CALL, END, read_frames, unpack_arguments, unpack_path
from galaxy10.training.loggers.wandb_server import ANSWER_S, offline_reason, server_answers

KILLED = 1
OFFLINE_FINISH_S = 20.0  # to write what is left to disk
CHECK_EVERY_S = 5.0  # interval between checks of the server
DROPPED_FINISH_S = 3.0  # to close a part of a run whose server is gone
LEEWAY_S = 20.0  # to start again, on a busy machine
STEP = "trainer/global_step"  # Lightning's name for the axis of everything that is logged
STEPS_AHEAD = 1000


class Follower:
    """One W&B run over one or several starts of an experiment; its state is kept in wandb/run.json.

    Keys of run.json: id; last_epoch, the last row that was logged; steps, an upper bound of W&B's own step counter,
    which must grow and is not used as an axis; parts, the folder of each start → `offline`, `incomplete` or
    `uploaded`.

    Args:
        path: the run directory.
        parent: process id of the run.
        settings: arguments of WandbLogger.
        replies: stream to which JSON lines are written.
    """

    def __init__(self, path: Path, parent: int, settings: dict[str, Any], replies: BinaryIO):
        self.path, self.files, self.parent = path, RunFiles(path), parent
        self.settings, self.replies = settings, replies
        self.config = self.files.read_config()
        known = read_json(self.files.wandb / "run.json")
        self.id: str = settings["id"]
        self.last_epoch: int = known.get("last_epoch", -1)
        self.step = self.steps = int(known.get("steps", 0))
        self.parts: dict[str, str] = known.get("parts", {})
        self.part = ""
        self.run: Any = None
        self.address = ""

    @property
    def is_online(self) -> bool:
        """Whether this part of the run is uploaded to W&B, rather than written to disk for later."""
        return self.parts[self.part] == "incomplete"

    # --- start ----------------------------------------------------------------------------------------------------

    def open(self, offline_reason: str | None = None) -> dict[str, str]:
        """Start or resume the run, online if W&B is reachable, else offline; return the first reply."""
        reason = offline_reason or self._offline_reason()
        if reason is None:
            try:
                return self._init("online")
            except Exception as error:  # the server is reachable but fails
                traceback.print_exc()
                reason = shorten(f"the server refuses the run ({first_line(error)}", 100, placeholder=" …") + ")"
                self._abandon()
        return self._init("offline") | {"offline": reason}

    def _offline_reason(self) -> str | None:
        if self.settings["mode"] == "offline":
            return "mode=offline"
        if self.settings["mode"] == "auto" and os.environ.get("WANDB_MODE") in ("offline", "dryrun"):
            return f"WANDB_MODE={os.environ['WANDB_MODE']}"
        if any(self._is_waiting(part) for part in self.parts):
            return "an earlier part of this run has not been uploaded yet"  # W&B needs epochs in order
        return offline_reason()

    def _is_waiting(self, part: str) -> bool:
        """Return whether a part is not uploaded yet; `wandb sync` leaves a marker file."""
        folder = self.files.wandb / part
        return self.parts[part] != "uploaded" and folder.is_dir() and not list(folder.glob("*.synced"))

    def _init(self, mode: str) -> dict[str, str]:
        import wandb

        wandb_settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,  # provenance.json has it
            save_code=False,
            symlink=False,
            init_timeout=ANSWER_S,
            finish_timeout=self.settings["upload_timeout_s"],
            finish_timeout_raises=True,
            x_save_requirements=False,
            x_stats_pid=self.parent,  # log the CPU, memory and GPU use of the run, not of this process
            x_transaction_log_flush_interval=1.0,
        )
        self.run = wandb.init(
            project=self.settings["project"],
            entity=self.settings["entity"],
            group=self.settings["group"],
            name=self.settings["name"],
            tags=self.settings["tags"],
            id=self.id,
            resume="allow",
            dir=str(self.path),
            mode=mode,  # type: ignore[arg-type]
            config={**self.config, "provenance": self.files.read_provenance()},
            allow_val_change=True,
            settings=wandb_settings,
        )
        self.id, self.address = self.run.id, self.run.settings.base_url
        self.part = Path(self.run.settings.sync_dir).name
        self.step = max(self.step, self.run.starting_step)
        self._keep("offline" if mode == "offline" else "incomplete")
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP, step_sync=True)
        return {"dir": self.run.dir} | ({"url": self.run.url} if mode == "online" else {})

    def _abandon(self) -> None:
        """Remove the files of a start that failed."""
        import wandb

        wandb.teardown()
        for folder in self.files.wandb.glob(f"run-*-{self.id}"):
            if folder.name not in self.parts:
                shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, state: str) -> None:
        self.parts[self.part] = state
        self.steps = self.step + STEPS_AHEAD
        record = {"id": self.id, "last_epoch": self.last_epoch, "steps": self.steps, "parts": self.parts}
        write_json(self.files.wandb / "run.json", record)

    # --- while the run goes on --------------------------------------------------------------------------------------

    def log_epochs(self, before: bytes = b"") -> None:
        """Log every new row of metrics.csv and profile.csv; with `before`, only those of earlier epochs."""
        for epoch, values in epoch_rows(self.path, self.last_epoch):
            if before and epoch >= int(before):
                break
            self.log(values, step=values["step"])
            self.last_epoch = epoch
            self._keep(self.parts[self.part])

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None, **more: Any) -> None:
        """Log like wandb.Run.log, except that `step` is the trainer's global step, and may come in any order.

        wandb drops values whose step is below its own counter.
        """
        if step is not None:
            data = {**data, STEP: step}
        self.run.log(data, step=self.step, commit=commit is not False, **more)
        if commit is not False:
            self.step += 1
            if self.step >= self.steps:
                self._keep(self.parts[self.part])

    def call(self, message: bytes) -> None:
        """Execute a call that a module or callback made on the run; reply if it fails."""
        path, content = unpack_path(message)
        try:
            arguments, keywords = unpack_arguments(content)
            target: Any = self.run
            for name in path[:-1]:
                target = getattr(target, name)
            function = self.log if path == ("log",) else getattr(target, path[-1])
            function(*arguments, **keywords)
        except Exception as error:
            traceback.print_exc()
            self.reply(call=".".join(path), lost=first_line(error))

    def reply(self, **values: Any) -> None:
        """Write a JSON line for the run, which may have ended."""
        with suppress(OSError):
            self.replies.write(f"{json.dumps(values)}\n".encode())

    # --- end ------------------------------------------------------------------------------------------------------

    def finish(self, exit_code: int) -> str:
        """Log the results in the run directory and close the W&B run; return the state of this part."""
        if self.is_online and not server_answers(self.address):
            # wandb needs the server to log images and tables online, so they go into an offline part.
            self._close(exit_code, DROPPED_FINISH_S)
            self._end_offline(exit_code)
            return self.parts[self.part]
        status = self.files.read_status()
        killed = status.get("state") == "running"
        self.run.summary.update({"state": "killed" if killed else status.get("state"), "error": status.get("error")})
        if status.get("state") == "finished":
            from galaxy10.training.loggers.wandb_results import (
                log_checkpoint,
                log_confusion_matrices,
                log_figures,
                log_misclassified,
                log_summary,
            )

            for log in (log_summary, log_figures, log_confusion_matrices, log_misclassified):
                attempt(partial(log, self.run, self.path))
            if self.settings["log_model"]:
                attempt(partial(log_checkpoint, self.run, self.path))
        limit_s = self.settings["upload_timeout_s"] if self.is_online else OFFLINE_FINISH_S
        if self._close(exit_code, limit_s) and self.is_online:
            self._keep("uploaded")
        return self.parts[self.part]

    def _end_offline(self, exit_code: int) -> None:
        command = [sys.executable, *sys.orig_argv[1:], str(exit_code)]
        environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # it hangs
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, timeout=OFFLINE_FINISH_S + LEEWAY_S)

    def _close(self, exit_code: int, limit_s: float) -> bool:
        """Call run.finish with a time limit, because it waits for a silent server; return whether it finished."""
        done: list[bool] = []

        def close() -> None:
            self.run.finish(exit_code)
            done.append(True)

        closing = Thread(target=attempt, args=(close,), daemon=True)
        closing.start()
        deadline = time.monotonic() + limit_s
        while closing.is_alive() and (left := deadline - time.monotonic()) > 0:
            closing.join(min(left, CHECK_EVERY_S))
            if closing.is_alive() and self.is_online and not server_answers(self.address):
                break
        return bool(done)


def follow(follower: Follower) -> None:
    """Log a run until it ends. Errors are written to follower.log, and do not stop the next step."""
    follower.reply(**follower.open())
    attempt(partial(import_module, "galaxy10.training.loggers.wandb_results"))  # not at the end
    exit_code = KILLED
    for kind, body in read_frames(sys.stdin.buffer):
        if kind == END:
            exit_code = int(body)
            break
        attempt(partial(follower.call if kind == CALL else follower.log_epochs, body))
    attempt(follower.log_epochs)
    follower.reply(ended=follower.finish(exit_code))


def end_offline(follower: Follower, exit_code: int) -> None:
    """Log the end of a run offline, because its server is gone."""
    follower.open("the server is gone")
    attempt(follower.log_epochs)
    follower.finish(exit_code)


def attempt(step: Callable[[], Any]) -> None:
    """Run a step; print the traceback of an error instead of raising it."""
    try:
        step()
    except Exception:
        traceback.print_exc()


def main(path: str, parent: str, settings: str, exit_code: str | None = None) -> None:
    """Follow a run directory or, with an exit code, only log how the run ended."""
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # keeps libraries' output out of the replies
    ignore_signals()  # the run handles them and sends its exit code
    os.nice(5)
    tempfile.tempdir = tempfile.mkdtemp(prefix="galaxy10-wandb-")  # wandb's own are removed by hooks at exit
    step = follow if exit_code is None else partial(end_offline, exit_code=int(exit_code))
    attempt(lambda: step(Follower(Path(path), int(parent), json.loads(settings), replies)))
    sys.stdout.flush()
    sys.stderr.flush()
    shutil.rmtree(tempfile.tempdir, ignore_errors=True)
    os._exit(0)  # wandb's own hooks at exit wait for its server


if __name__ == "__main__":
    main(*sys.argv[1:])
