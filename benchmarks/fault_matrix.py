"""Disturb commands at random moments, and check that nothing is lost, the state is true, and the next start goes on.

python benchmarks/fault_matrix.py --moments 20 --markdown docs/fault_matrix.md

Seven commands (train, grid, study, predict, embed, pack, download) meet six faults (TERM, KILL, a full disk, read-only
folders, a network that goes, a clock that jumps two hours), each at N moments drawn from a seed. After each: no process
is left, every file can be read, `galaxy10 runs` shows no run that runs, and the same command, typed again, ends with
what an undisturbed one makes: the same weights, tables and files, bit for bit. Without root, no network is cut off, and
a full disk is a limit on the size of files.
"""

import argparse
import json
import os
import random
import shutil
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import h5py
import pandas as pd
import torch
from fault_commands import ROOT, Command, Result, commands, write_inputs
from faults import FAULTS, Fault, Place, own_mounts, processes_in, small_disk

from galaxy10.runs.listing import list_runs
from tests.servers import serving
from tests.warm import Warm, WarmServer

CHILD = ROOT / "benchmarks" / "fault_child.py"
ENDS_S, LEFT_S = 300.0, 60.0
SLOW_S = 20.0
NEED_A_RUN = ("predict", "embed")
LINES = 3  # of a command's messages, in what is wrong
OWN_CONTENT = bytes(range(256)) * 120_000  # 31 MB to download


@dataclass
class Cell:
    """What became of one fault in one command."""

    ok: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.ok} / {self.ok + len(self.wrong)}"


class Matrix:
    """The commands in their folders.

    Args:
        folder: everything is written here.
        chosen: names of the commands; none: all.
    """

    def __init__(self, folder: Path, chosen: Sequence[str], warm: Warm, address: str):
        self.folder, self.warm = folder, warm
        self.commands = [command for command in commands(address) if not chosen or command.name in chosen]
        self.inputs = folder / "inputs"
        self.expected: dict[str, Result] = {}
        self.seconds: dict[str, float] = {}

    def prepare(self) -> None:
        """Run every command undisturbed; short ones twice, as the first start of any also reads files from the disk."""
        write_inputs(self.inputs)
        train = next(command for command in commands("") if command.name == "train")
        needed = [train] if any(command.name in NEED_A_RUN for command in self.commands) else []
        for command in {each.name: each for each in (*needed, *self.commands)}.values():
            for attempt in range(2):
                if self.seconds.get(command.name, 0) > SLOW_S:
                    break
                with small_disk(self.folder / f"whole-{command.name}-{attempt}") as own:
                    place = self._place(self.folder / f"whole-{command.name}-{attempt}", own)
                    start = time.perf_counter()
                    code, err = self._run(command, place, None, 0.0, 0)
                    self.seconds[command.name] = time.perf_counter() - start
                    if code:
                        sys.exit(f"{command.name}, undisturbed, ends with {code}: {err}")
                    self.expected[command.name] = command.result(place.work)
                    if command.name == "train" and not (self.inputs / "trained").exists():
                        shutil.copytree(place.work / "r", self.inputs / "trained")
            print(f"{command.name}: {self.seconds[command.name]:.1f} s undisturbed", file=sys.stderr, flush=True)

    def disturb(self, command: Command, fault: Fault, number: int, seed: int) -> str:
        """Disturb a command once and repeat it; return what is wrong then, or an empty text."""
        share = random.Random(f"{seed} {command.name} {fault.name} {number}").uniform(0.02, 0.98)
        with small_disk(self.folder / f"{command.name}-{fault.name.replace(' ', '-')}-{number}") as own:
            place = self._place(self.folder / f"{command.name}-{fault.name.replace(' ', '-')}-{number}", own)
            wrong = self._disturbed(command, fault, place, share, number)
        return f"{command.name}, {fault.name} at {share:.0%}: {wrong}" if wrong else ""

    def _disturbed(self, command: Command, fault: Fault, place: Place, share: float, number: int) -> str:
        try:
            code, err = self._run(command, place, fault, share * self.seconds[command.name], number)
        except TimeoutError as error:
            return str(error)
        finally:
            fault.mend(place)
        wrong = _left(place.work) or _unreadable(place.work) or _untrue(place.work)
        if wrong:
            return f"{wrong} (exit code {code}: {err})"
        if fault.survived and code:
            return f"does not survive it: exit code {code}: {err}"
        if "Traceback" in err or "(a bug?" in err:
            return f"takes it for a bug: {err}"
        if command.made is None or not (place.work / command.made).exists():
            code, err = self._run(command, place, None, 0.0, 0)
            if code:
                return f"the next start ends with {code}: {err}"
        try:
            result = command.result(place.work)
        except OSError as error:
            return f"the next start has not made everything: {error}"
        expected = self.expected[command.name]
        differing = sorted(key for key in {*result, *expected} if result.get(key) != expected.get(key))
        return f"the result differs: {', '.join(differing)}" if differing else _unreadable(place.work)

    def _place(self, work: Path, own_disk: bool) -> Place:
        shutil.copytree(self.inputs, work, dirs_exist_ok=True)
        for path in [work, *work.rglob("*")]:
            path.chmod(0o777)
        clock = work.with_name(f"{work.name}.clock")
        clock.write_bytes(struct.pack("d", 0.0))
        return Place(work, clock, own_disk)

    def _run(
        self, command: Command, place: Place, fault: Fault | None, moment_s: float, number: int
    ) -> tuple[int, str]:
        """Run a command, strike at the moment, and return its exit code and what it says last."""
        clock = str(place.clock) if fault is not None and fault.name == "clock jump" else "-"
        network = "own" if fault is not None and fault.name == "network gone" else "-"
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        home.chmod(0o777)
        environment = {
            **os.environ, "HOME": str(home), "TMPDIR": str(home), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline",
            "GALAXY10_LOG_LEVEL": "INFO",
        }  # fmt: skip
        words = [str(CHILD), clock, network, *command.words]
        with self.warm.start(words, place.work, environment) as process:
            if fault is not None:
                end = time.monotonic() + moment_s
                while time.monotonic() < end and process.poll() is None:
                    time.sleep(0.005)
                if process.poll() is None:
                    fault.strike(place, process.pid, number)
            deadline = time.monotonic() + ENDS_S
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"does not end within {ENDS_S:g} s")
                time.sleep(0.02)
            _, err = process.communicate()
        return process.returncode, " / ".join(err.strip().splitlines()[-LINES:])


def _left(work: Path) -> str:
    """Return which processes outlive their command; they have some seconds to end."""
    deadline = time.monotonic() + LEFT_S
    while (left := processes_in(work)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return f"processes {left} are left" if left else ""


def _unreadable(work: Path) -> str:
    """Return which file cannot be read; temporary files, with a dot or `.part` in their names, are not looked at."""
    readers = {
        ".json": lambda path: json.loads(path.read_text()),
        ".parquet": pd.read_parquet,
        ".csv": pd.read_csv,
        ".ckpt": lambda path: torch.load(path, weights_only=True),
        ".h5": lambda path: h5py.File(path).close(),
    }
    for path in sorted(work.rglob("*")):
        names = path.relative_to(work).parts
        if path.suffix in readers and not any(name.startswith(".") or ".part" in name for name in names):
            try:
                readers[path.suffix](path)
            except Exception as error:
                return f"{path.relative_to(work)} cannot be read ({error})"
    return ""


def _untrue(work: Path) -> str:
    """Return which run the list of runs shows as running or unreadable."""
    states = {str(run.path.relative_to(work)): run.state for run in list_runs(work)}
    wrong = [f"{path} {state}" for path, state in states.items() if state in ("running", "unreadable", "None")]
    return f"untrue states: {', '.join(wrong)}" if wrong else ""


def table(cells: dict[tuple[str, str], Cell], names: Sequence[str]) -> str:
    """Return a Markdown table: fault × command, good ends of tries."""
    lines = [f"| fault | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for fault in FAULTS:
        if any((fault.name, name) in cells for name in names):
            lines.append(f"| {fault.name} | {' | '.join(str(cells.get((fault.name, n), '–')) for n in names)} |")
    return "\n".join(lines)


def page(matrix: str, given: argparse.Namespace) -> str:
    """Return the page of the documentation."""
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    return (
        f"# Fault matrix\n\n{about}\n\n{matrix}\n\n"
        f"Each cell: good ends of tries. `python benchmarks/fault_matrix.py --moments {given.moments} "
        f"--seed {given.seed}` made this table.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit code is 1 if an end was not good."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20, help="tries for each fault and command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*", default=[], help="only these")
    parser.add_argument("--faults", nargs="*", default=[], help="only these, such as TERM 'full disk'")
    parser.add_argument("--markdown", type=Path, help="also write the table as this page")
    given = parser.parse_args(arguments)
    own_mounts()
    folder = Path(mkdtemp(prefix="fault-matrix-"))
    folder.chmod(0o755)
    os.environ["GALAXY10_TEST_CPU_TIMES"] = str(folder / "cpu_times")
    (folder / "warm").mkdir()
    server, cells = WarmServer(folder), {}
    try:
        warm = Warm(folder, folder / "warm")
        with serving({"/file": OWN_CONTENT}, ranges=True) as files:
            matrix = Matrix(folder, given.commands, warm, f"{files.address}/file")
            matrix.prepare()
            for command in matrix.commands:
                for fault in FAULTS:
                    chosen = not given.faults or fault.name in given.faults
                    if not chosen or command.name in fault.leaves_out or (fault.only_root and os.getuid() != 0):
                        continue
                    cell = cells.setdefault((fault.name, command.name), Cell())
                    for number in range(given.moments):
                        wrong = matrix.disturb(command, fault, number, given.seed)
                        cell.ok += not wrong
                        if wrong:
                            cell.wrong.append(wrong)
                            print(wrong, file=sys.stderr, flush=True)
                    print(f"{command.name}, {fault.name}: {cell}", file=sys.stderr, flush=True)
        warm.close()
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
    text = table(cells, [command.name for command in matrix.commands])
    print(text)
    if given.markdown:
        given.markdown.write_text(page(text, given))
    return int(any(cell.wrong for cell in cells.values()))


if __name__ == "__main__":
    sys.exit(main())
