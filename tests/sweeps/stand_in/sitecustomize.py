"""With this folder in PYTHONPATH, `python -m galaxy10 train …` is a stand-in that trains nothing: it keeps a run
directory as training does (lock, a row per epoch, status, signals, going on), in a tenth of a second instead of ten.

STAND_IN_EPOCH_S: how long an epoch takes. A trial's value grows towards 1 - model.dropout. What model.dropout does:
above 0.8 the trial crashes, or does what STAND_IN_CRASH says: "memory" or "disk" (says so), "refused" (exit code 2),
"no" (trains).

A fork server imports nothing for it, and its forks are the stand-in, too.
"""

import sys
from types import ModuleType


def train(words: list[str]) -> None:
    import csv
    import json
    import os
    import signal
    import time
    from pathlib import Path
    from typing import Any

    from galaxy10.errors import Galaxy10Error
    from galaxy10.runs.lock import RunLock

    given = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("--"))
    folder = Path(given["run.dir"].strip("'"))
    dropout, epochs = float(given["model.dropout"]), int(given["trainer.max_epochs"])
    asked = []
    for known in (signal.SIGTERM, signal.SIGINT):
        signal.signal(known, lambda number, frame: asked.append(number))

    def leave(code: int, state: str, **more: Any) -> None:
        (folder / ".status").write_text(json.dumps({"state": state, **more}))
        (folder / ".status").rename(folder / "status.json")
        print(json.dumps({"run_dir": str(folder), "state": state, **more.get("metrics", {})}), flush=True)
        lock.release()
        os._exit(code)

    if dropout > 0.8 and os.environ.get("STAND_IN_CRASH") == "refused":
        print("error: model.dropout is too much", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    try:
        lock.acquire()
    except Galaxy10Error as error:
        print(f"error: {error}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)
    rows = []
    if (folder / "metrics.csv").exists():
        rows = list(csv.DictReader((folder / "metrics.csv").open()))
    for epoch in range(len(rows), epochs):
        end = time.monotonic() + float(os.environ.get("STAND_IN_EPOCH_S", "0"))
        while time.monotonic() < end and not asked:
            time.sleep(0.01)
        if asked:
            leave(128 + asked[0], "interrupted", error=f"stopped by {signal.Signals(asked[0]).name}")
        with (folder / "trained.txt").open("a") as file:
            file.write(f"{epoch}\n")
        kind = os.environ.get("STAND_IN_CRASH", "")
        if dropout > 0.8 and epoch == 1 and kind != "no":
            errors = {"memory": "RuntimeError: CUDA out of memory", "disk": f"no space left for {folder}/last.ckpt"}
            leave(1, "failed", error=errors.get(kind, "RuntimeError: it fell apart"))
        rows.append({"epoch": epoch, "val/macro_f1": (1 - dropout) * (epoch + 1) / epochs})
        with (folder / ".metrics").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "val/macro_f1"])
            writer.writeheader()
            writer.writerows(rows)
        (folder / ".metrics").rename(folder / "metrics.csv")
    leave(0, "finished", metrics={"val/macro_f1": 1 - dropout, "train/images_per_s": 100 * (1 + dropout)},
          group=os.environ.get("WANDB_RUN_GROUP"))  # fmt: skip


if sys.orig_argv[1:4] == ["-m", "galaxy10", "train"]:
    train(sys.orig_argv[4:])
elif sys.orig_argv[1:3] == ["-m", "galaxy10.sweeps.fork_server"]:
    for name, attribute in (("sweeps.trial_imports", "seed_anew"), ("cli.entry", "main")):
        module = ModuleType(f"galaxy10.{name}")
        setattr(module, attribute, (lambda: None) if name[0] == "s" else lambda: train(sys.argv[2:]))
        sys.modules[f"galaxy10.{name}"] = module
