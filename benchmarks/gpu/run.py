"""Run every step in its own process, under a time limit, and write the results as each step ends.

python benchmarks/gpu/run.py OUT [--small] [--only 3,6] [--seconds 480]      (started by run.sh)

OUT/results.json has one line per step, OUT/log.txt the output of the steps.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ROW = "ROW "
KEPT = ROOT / "benchmarks" / "results" / "gpu"
SMALL_LIMIT_S = 900.0  # a busy machine must not fail a step of the short form
POLL_S = 0.1


@dataclass
class Step:
    """A step of the table. alone: no other step runs at the same time. needs: the steps that must end before."""

    number: int
    title: str
    program: str
    name: str
    limit_s: float
    alone: bool
    needs: tuple[int, ...] = (2,)
    state: str = "not started"  # running, done, skipped, failed, timed out
    seconds: float = 0.0
    reason: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    process: Any = None
    began: float = 0.0

    @property
    def ended(self) -> bool:
        """Return whether the step has run."""
        return self.state not in ("not started", "running")

    def as_json(self) -> dict[str, Any]:
        """Return the step's line in results.json."""
        about = {"step": self.number, "title": self.title, "state": self.state, "seconds": round(self.seconds, 1)}
        return {**about, **({"reason": self.reason} if self.reason else {}), "rows": self.rows}


def table() -> list[Step]:
    """Return the steps, the most important first: the last ones are left out if time is short."""
    return [
        Step(1, "the card, and one training step of each network", "networks.py", "first_steps", 70, True, ()),
        Step(2, "simulated survey, store, split", "speed.py", "survey", 60, True, ()),
        Step(3, "training compared with bare and plain loops", "speed.py", "resnet50", 200, True),
        Step(5, "where a step's time goes", "speed.py", "where_time_goes", 45, True),
        Step(6, "the same seed twice", "same.py", "seed", 90, False),
        Step(8, "augmentation on the card compared with the CPU", "networks.py", "augmentation", 40, False, ()),
        Step(11, "distributed training, one process", "commands.py", "one_process", 60, False),
        Step(7, "SIGKILL in an epoch, resumed", "same.py", "kill", 90, False, (2, 6)),
        Step(4, "other networks", "speed.py", "networks", 90, True),
        Step(9, "predict and evaluate", "commands.py", "catalogue", 90, True, (2, 6)),
        Step(10, "two workers of a study on one card", "commands.py", "study", 90, True),
    ]


class Runner:
    """Start the steps, end those that exceed their time limit, and keep results.json up to date."""

    def __init__(self, out: Path, steps: list[Step], about: dict[str, Any], small: bool, seconds: float):
        self.out, self.steps, self.about, self.small = out, steps, about, small
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.side_by_side = 2 if small else 3
        self.work = Path(tempfile.mkdtemp(prefix="galaxy10-gpu-"))

    def run(self) -> None:
        """Run until every step has ended or the time is over."""
        try:
            while any(not step.ended for step in self.steps):
                for step in self.steps:
                    if step.state == "running":
                        self._poll(step)
                if time.monotonic() >= self.deadline:
                    break
                while (step := self._next()) is not None:
                    self._start(step)
                time.sleep(POLL_S)
        finally:
            why = "the time for all steps was over" if time.monotonic() >= self.deadline else "run.py was stopped"
            for step in self.steps:
                if step.state == "running":
                    self._end(step, "timed out", why)
                elif not step.ended:
                    step.reason = why
            self._write()
            shutil.rmtree(self.work, ignore_errors=True)

    def _next(self) -> Step | None:
        """Return the first step that may start now; a step that runs alone waits for the running ones."""
        running = [step for step in self.steps if step.state == "running"]
        if len(running) >= self.side_by_side or (not self.small and any(step.alone for step in running)):
            return None
        ended = {step.number for step in self.steps if step.ended}
        for step in self.steps:
            if step.state != "not started":
                continue
            if set(step.needs) <= ended and (self.small or not step.alone or not running):
                return step
            if step.alone and not self.small:
                return None
        return None

    def _start(self, step: Step) -> None:
        command = [sys.executable, str(HERE / step.program), step.name, "--work", str(self.work)]
        with self._log(step).open("wb") as log:
            step.process = subprocess.Popen(
                [*command, *(["--small"] if self.small else [])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        step.state, step.began = "running", time.monotonic()

    def _poll(self, step: Step) -> None:
        code, limit_s = step.process.poll(), SMALL_LIMIT_S if self.small else step.limit_s
        if code is None:
            if time.monotonic() - step.began > limit_s:
                self._end(step, "timed out", f"exceeded its limit of {limit_s:g} s")
            return
        self._end(step, "done" if code == 0 else "failed", "" if code == 0 else self._last_line(step))

    def _end(self, step: Step, state: str, reason: str) -> None:
        """End a step and its child processes, and keep the rows that it has printed."""
        for number in (signal.SIGTERM, signal.SIGKILL):  # the step forwards SIGTERM to other process groups
            try:
                os.killpg(step.process.pid, number)
            except ProcessLookupError:
                break
            if step.process.poll() is None and number == signal.SIGTERM:
                time.sleep(0.5)
        step.process.wait()
        step.state, step.reason, step.seconds = state, reason, time.monotonic() - step.began
        text = self._log(step).read_text(errors="replace")
        step.rows = [json.loads(line[len(ROW) :]) for line in text.splitlines() if line.startswith(ROW)]
        if step.rows and state == "done" and all("skipped" in row for row in step.rows):
            step.state = "skipped"
        with (self.out / "log.txt").open("a") as log:
            log.write(f"===== step {step.number}: {step.title}: {step.state} after {step.seconds:.1f} s\n{text}\n")
        self._write()
        print_step(step)

    def _log(self, step: Step) -> Path:
        return self.work / f"step-{step.number}.log"

    def _last_line(self, step: Step) -> str:
        lines = [line for line in self._log(step).read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {step.process.returncode}"

    def _write(self) -> None:
        """Write results.json atomically."""
        self.about["seconds"] = round(time.monotonic() - self.started, 1)
        head = json.dumps(self.about, ensure_ascii=False)[:-1]
        steps = sorted(self.steps, key=lambda step: step.number)
        lines = ",\n".join(json.dumps(step.as_json(), ensure_ascii=False) for step in steps)
        part = self.out / "results.json.part"
        part.write_text(f'{head}, "steps": [\n{lines}\n]}}\n')
        part.replace(self.out / "results.json")


def print_step(step: Step) -> None:
    """Print a line for a step, and one for each of its rows."""
    reason = f": {step.reason}" if step.reason else ""
    print(f"step {step.number:2}  {step.state:9} {step.seconds:6.1f} s  {step.title}{reason}")
    for row in step.rows:
        values = ", ".join(f"{key} {shown(value)}" for key, value in row.items() if key != "what")
        print(f"         {row['what']}: {values}")
    sys.stdout.flush()


def shown(value: Any) -> str:
    """Format a field for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def card() -> str | None:
    """Return the name of the first card from the driver or torch; None without a card."""
    by_torch = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    for query in (["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], [sys.executable, "-c", by_torch]):
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.splitlines()[0].strip()
    return None


def keep(out: Path, name: str, date: str) -> Path:
    """Copy results.json to the folder that benchmarks/table.py reads; an earlier copy of the day is kept."""
    KEPT.mkdir(parents=True, exist_ok=True)
    stem = f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{date[:10]}"
    path, number = KEPT / f"{stem}.json", 2
    while path.exists():
        path, number = KEPT / f"{stem}-{number}.json", number + 1
    shutil.copyfile(out / "results.json", path)
    return path


def main() -> None:
    """Run the steps; exit code 1 if any has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="a shortened form of every step, on the CPU")
    parser.add_argument("--only", default="", help="step numbers, as 3,6; those that they need are added")
    parser.add_argument("--seconds", type=float, default=480, help="for all steps together")
    given = parser.parse_args()
    name = None if given.small else card()
    if name is None and not given.small:
        sys.exit("this machine has no card; add --small for the short form of every step on the CPU")
    if given.small:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # two steps at a time
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PYTHONUNBUFFERED"] = "1"
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    steps = table()
    wanted = {int(number) for number in given.only.split(",") if number} or {step.number for step in steps}
    for step in reversed(steps):  # needs come before
        if step.number in wanted:
            wanted |= set(step.needs)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "log.txt").write_text("")
    date = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"card": name, "date": date, "small": given.small, "cores": len(os.sched_getaffinity(0))}
    runner = Runner(given.out, [step for step in steps if step.number in wanted], about, given.small,
                    SMALL_LIMIT_S * 2 if given.small else given.seconds)  # fmt: skip
    runner.run()
    states = [step.state for step in runner.steps]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"{len(states)} steps in {about['seconds']} s: {counts}; {given.out / 'results.json'}, log.txt beside it")
    if name is not None:
        print(f"stored as {keep(given.out, name, date).relative_to(ROOT)}")
    sys.exit(any(state not in ("done", "skipped") for state in states))


if __name__ == "__main__":
    main()
