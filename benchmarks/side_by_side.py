"""What every benchmark shares: ours and the alternative in strict alternation, a ratio with its spread, a JSON to keep.

A machine that does other things slows both sides of a pair alike, so each pair gives one ratio, and the median counts.
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
WORK = ROOT / "build" / "bench"  # files that benchmarks make once and keep
PACKAGES = ("torch", "torchvision", "lightning", "timm", "numpy", "h5py", "pillow")


@dataclass
class Row:
    """One line of a result. ours, theirs: one number per repeat, in `unit`; theirs is empty where nothing competes.

    asked: the bound on the value: the ratio ours ÷ theirs, or ours alone. at_most: it is an upper bound.
    """

    name: str
    unit: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    asked: float | None = None
    at_most: bool = False
    skipped: str = ""

    @property
    def values(self) -> list[float]:
        """What is compared with the bound, one per repeat."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)] if self.theirs else self.ours

    @property
    def reached(self) -> bool | None:
        """Whether the median keeps the bound; None where there is none or nothing was measured."""
        if self.asked is None or self.skipped:
            return None
        median = statistics.median(self.values)
        return median <= self.asked if self.at_most else median >= self.asked

    def line(self) -> str:
        """The row for people."""
        if self.skipped:
            return f"{self.name:64} NOT MEASURED: {self.skipped}"
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        unit = "×" if self.theirs else self.unit
        bound = "" if self.asked is None else f"  asked {'≤' if self.at_most else '≥'} {self.asked:g}: "
        bound += {True: "yes", False: "NO", None: ""}[self.reached]
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
    asked: float | None = None,
) -> Row:
    """Ours, theirs, ours, theirs, …; each returns a rate in `unit`."""
    row = Row(name, unit, [], [], asked)
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
    asked: float | None = None,
    at_most: bool = True,
) -> Row:
    """A quantity that nothing competes with; each call returns it in `unit`."""
    row = Row(name, unit, [ours() for _ in range(repeats)], [], asked, at_most)
    print(row.line(), flush=True)
    return row


def skipped(name: str, reason: str, asked: float | None = None) -> Row:
    """A row that this machine cannot give, said loudly."""
    row = Row(name, "", [], [], asked, skipped=reason)
    print(row.line(), flush=True)
    return row


def seconds(work: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """Standard output of a command of Python's; whatever goes wrong ends the benchmark with what it said."""
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with code {done.returncode}:\n{done.stderr}")
    return done.stdout


def last_json(output: str) -> dict[str, Any]:
    """The object on the last line."""
    return json.loads(output.strip().splitlines()[-1])


def arguments(description: str | None, repeats: int, **sizes: int) -> argparse.Namespace:
    """--repeats, and a whole number for each size: what makes a benchmark long or short."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats)
    for name, size in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    return parser.parse_args()


def keep(name: str, rows: list[Row], given: argparse.Namespace) -> None:
    """Write results/<name>.json: every repeat, the sizes, the machine, the versions, the date."""
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "sizes": vars(given),
        "rows": [{**asdict(row), "reached": row.reached} for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"kept in benchmarks/results/{name}.json", flush=True)


def machine() -> dict[str, Any]:
    """Processor, cores, memory and GPUs, and how busy the machine is with other things."""
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
