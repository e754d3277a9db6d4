"""Shared code of the steps: their sizes, commands as a user types them, and rows of the table.

python benchmarks/gpu/<file>.py STEP --work DIR [--small]      (started by run.py)
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BENCHMARKS = ROOT / "benchmarks"
ROW = "ROW "  # run.py collects the lines of a log that begin with this prefix
BASE = ("logger=csv", "run.report=false", "model.pretrained=false")
CACHE = {
    True: "data.cache_on_device=true",
    False: "data.cache_on_device=false",
}  # training images in the card's memory, or not
UNSCORED = ("trainer.limit_val_batches=0", "run.test=false")


class CommandFailed(Exception):
    """A command ended with an exit code other than 0; the message is the last line of its standard error."""


@dataclass
class Run:
    """A finished train.py: the object of the last line, the rows of profile.csv, the directory, seconds to exit."""

    result: dict[str, Any]
    profile: list[dict[str, float]]
    path: Path
    seconds: float

    def speed(self) -> dict[str, float]:
        """Return the speed of a training: the median of the epochs after the first, which compiles and warms up."""
        first, *others = self.profile
        last = sorted(others, key=lambda row: row["images_per_s"])[len(others) // 2]
        return {
            "images_per_s": last["images_per_s"],
            "data_time_fraction": last["data_time_fraction"],
            "peak_memory_gib": last["peak_device_gib"] or last["peak_host_gib"],
            "first_epoch_extra_seconds": first["seconds"] - last["seconds"],
            "seconds": self.seconds,
        }


@dataclass
class Step:
    """A running step. work: the folder that the steps share; small: whether the step is shortened, on the CPU."""

    work: Path
    small: bool
    failures: list[str] = field(default_factory=list)

    @property
    def survey(self) -> Path:
        """Return the path of the simulated survey of step 2."""
        return self.work / "survey.h5"

    @property
    def image_px(self) -> int:
        """Return the side of the survey's images, in pixels."""
        return 96 if self.small else 256

    def row(self, what: str, **values: Any) -> None:
        """Print one row of the table; names of values end in their unit."""
        values = {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in values.items()}
        print(ROW + json.dumps({"what": what, **values}, ensure_ascii=False), flush=True)

    def attempt(self, what: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Print the row that a function measures; if a command fails, the row says so, and the step continues."""
        try:
            values = measure()
        except CommandFailed as error:
            values = {"failed": str(error)}
            self.failures.append(f"{what}: {error}")
        self.row(what, **values)
        return values

    def skip(self, what: str, why: str) -> None:
        """Print a row that says why nothing was measured."""
        self.row(what, skipped=why)

    def command(self, *words: Any, **environment: str) -> tuple[float, str, str]:
        """Run Python with arguments in the work folder; return seconds, standard output and standard error."""
        command = [sys.executable, *map(str, words)]
        print("$", *command, flush=True)
        start, code = time.perf_counter(), None
        with TemporaryFile("w+", errors="replace") as out, TemporaryFile("w+", errors="replace") as err:
            try:
                code = subprocess.call(
                    command, cwd=self.work, env={**os.environ, **environment}, stdout=out, stderr=err
                )
            finally:  # log the output even if the time limit ends the step
                seconds = time.perf_counter() - start
                out.seek(0), err.seek(0)
                output, errors = out.read(), err.read()
                print(output, errors, f"exit code {code} after {seconds:.1f} s", sep="\n", flush=True)
        if code:
            raise CommandFailed(last_line(errors) or f"exit code {code}")
        return seconds, output, errors

    def training(self, name: str, *overrides: str) -> list[str]:
        """Return the overrides of a run `name` on the survey."""
        return ["data=hdf5", f"data.path={self.survey}", *BASE, f"run.dir={self.work / name}", *overrides]

    def train(self, name: str, *overrides: str, program: tuple[Any, ...] = (ROOT / "train.py",)) -> Run:
        """Run train.py from start to exit."""
        path = self.work / name
        try:
            seconds, output, _ = self.command(*program, *self.training(name, *overrides))
        except CommandFailed:
            for file in path.glob("traceback*.txt"):
                print(file.read_text())
            raise
        with (path / "profile.csv").open(newline="") as file:
            profile = [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]
        return Run(json.loads(last_line(output)), profile, path, seconds)

    def galaxy10(self, *words: Any) -> tuple[float, str, str]:
        """Run the command `galaxy10`, which need not be installed."""
        return self.command("-m", "galaxy10", *words)


def last_line(text: str) -> str:
    """Return the last line that is not empty."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def main(steps: dict[str, Callable[[Step], None]]) -> None:
    """Run the step that the command line names; exit code 1 if a part of the step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    step = Step(given.work.resolve(), given.small)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        steps[given.step](step)
    except CommandFailed as error:
        step.failures.append(str(error))
    if step.failures:
        sys.exit("; ".join(step.failures))
