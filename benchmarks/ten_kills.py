"""Kill a run at ten random moments, resume it, and check that the weights are those of the uninterrupted run.

python benchmarks/ten_kills.py data=hdf5 data.path=gz1.h5 model=simple_cnn trainer.max_epochs=4
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import torch

ROOT = Path(__file__).resolve().parents[1]
KILLS = 10


def run(arguments: list[str], folder: Path, killed_after_s: float | None = None) -> float:
    """Run train.py in `folder`, kill it after some seconds if given, and return the seconds that it ran."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments, f"run.dir={folder}"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, err = process.communicate(timeout=killed_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return time.perf_counter() - start
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {err}")
    return time.perf_counter() - start


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the last and the best checkpoint."""
    states = {name: torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best")}
    return {f"{name} {key}": value for name, state in states.items() for key, value in state["state_dict"].items()}


def main(arguments: list[str]) -> None:
    """Print a line per kill; exit code 1 if a resumed run differs."""
    work = Path(mkdtemp(prefix="ten-kills-"))
    whole_s = run(arguments, work / "whole")  # also builds the store
    whole_s = run(arguments, work / "again")
    expected, table = weights(work / "whole"), (work / "whole" / "metrics.csv").read_bytes()
    moments = random.Random(0)
    print(f"uninterrupted: {whole_s:.1f} s, {len(expected)} tensors")
    print("kill  after (s)  epochs done  same weights  same metrics.csv")
    bad = 0
    for kill in range(KILLS):
        folder = work / f"killed-{kill}"
        lived_s = run(arguments, folder, moments.uniform(0, whole_s))
        rows = (folder / "metrics.csv").read_text().count("\n") - 1 if (folder / "metrics.csv").exists() else 0
        run(arguments, folder)
        found = weights(folder)
        same = found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
        same_table = (folder / "metrics.csv").read_bytes() == table
        bad += not (same and same_table)
        print(f"{kill:4}  {lived_s:9.1f}  {rows:11}  {same!s:>12}  {same_table!s:>16}", flush=True)
        shutil.rmtree(folder)
    shutil.rmtree(work)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
