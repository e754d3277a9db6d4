"""Shared code of the benchmarks: run galaxy10 and an alternative in turn, compute ratios, and store them as JSON.

Other work on the machine slows both sides of a pair alike, so each pair gives one ratio; the median counts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "bench"  # files that benchmarks create once and reuse
PACKAGES = ("torch", "torchvision", "lightning", "timm", "numpy", "h5py", "pillow")


@dataclass
class Row:
    """A row of a result.

    ours, theirs: one number per repeat, in `unit`; theirs is empty without an alternative.
    target: bound of the ratio ours ÷ theirs, or of ours alone. at_most: whether it is an upper bound.
    skipped: why nothing was measured.
    """

    name: str
    unit: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    target: float | None = None
    at_most: bool = False
    skipped: str = ""

    @property
    def values(self) -> list[float]:
        """Return one value per repeat, to be compared with the target."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)] if self.theirs else self.ours

    @property
    def meets_target(self) -> bool | None:
        """Return whether the median meets the target; None without a target or a measurement."""
        if self.target is None or self.skipped:
            return None
        median = statistics.median(self.values)
        return median <= self.target if self.at_most else median >= self.target

    def line(self) -> str:
        """Return the row as a line of text."""
        if self.skipped:
            return f"{self.name:64} NOT MEASURED: {self.skipped}"
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        unit = "×" if self.theirs else self.unit
        bound = "" if self.target is None else f"  target {'≤' if self.at_most else '≥'} {self.target:g}: "
        bound += {True: "yes", False: "NO", None: ""}[self.meets_target]
        both = f"  ({_short(self.ours)} against {_short(self.theirs)} {self.unit})" if self.theirs else ""
        return f"{self.name:64} {middle:9.4g} {unit} [{low:.4g}–{high:.4g}]{bound}{both}"


def _short(values: list[float]) -> str:
    return f"{statistics.median(values):.4g}"


def side_by_side(
    name: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    repeats: int,
    unit: str = "images/s",
    target: float | None = None,
) -> Row:
    """Call ours and theirs in turn; each returns a rate in `unit`."""
    row = Row(name, unit, [], [], target)
    for _ in range(repeats):
        row.ours.append(ours())
        row.theirs.append(theirs())
    print(row.line(), flush=True)
    return row


def alone(
    name: str,
    ours: Callable[[], float],
    *,
    repeats: int,
    unit: str,
    target: float | None = None,
    at_most: bool = True,
) -> Row:
    """Measure a quantity without an alternative; each call returns it in `unit`."""
    row = Row(name, unit, [ours() for _ in range(repeats)], [], target, at_most)
    print(row.line(), flush=True)
    return row


def skipped(name: str, reason: str, target: float | None = None) -> Row:
    """Return and print a row that this machine cannot measure."""
    row = Row(name, "", [], [], target, skipped=reason)
    print(row.line(), flush=True)
    return row


def seconds(work: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run Python with arguments and return standard output; exit with standard error if the command fails."""
    line = [sys.executable, *map(str, command)]
    done = subprocess.run(line, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(line)} ended with code {done.returncode}:\n{done.stderr}")
    return done.stdout


def last_json(output: str) -> dict[str, Any]:
    """Return the JSON object on the last line."""
    return json.loads(output.strip().splitlines()[-1])


def arguments(description: str | None, repeats: int, **sizes: int) -> argparse.Namespace:
    """Parse --repeats and an integer option for each size, which determine how long a benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats)
    for name, size in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    return parser.parse_args()


def keep(name: str, rows: list[Row], given: argparse.Namespace) -> None:
    """Write results/<name>.json with every repeat, the sizes, machine, versions and date."""
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "sizes": vars(given),
        "rows": [{**asdict(row), "meets_target": row.meets_target} for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"stored in benchmarks/results/{name}.json", flush=True)


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, GPUs and load of the machine."""
    import torch

    from galaxy10.models.precision import cpu_has_bf16
    from galaxy10.training.provenance import device_state

    state = {key: value for key, value in device_state().items() if key != "host"}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        **state,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1),
        "bf16_instructions": cpu_has_bf16(),
        "platform": platform.platform(),
        "load_average_1_min": round(os.getloadavg()[0], 1),
    }
