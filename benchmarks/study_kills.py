"""Kill a study's workers and the command at ten random moments, and check that no trial is lost or counted twice.

python benchmarks/study_kills.py sweep=simple_cnn data=hdf5 data.path=gz1.h5 trainer.max_epochs=2 sweep.n_trials=6
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).resolve().parents[1]
KILLS = 10
LONGEST_S = 25.0


def children(pid: int) -> list[int]:
    """Return the live child processes of a process."""
    lists = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for line in lists for child in line]


def main(arguments: list[str]) -> None:
    """Print a line per kill, then the trials of the study; exit code 1 unless every trial of the budget ended once."""
    folder = Path(mkdtemp(prefix="study-kills-")) / "study"
    command = [sys.executable, str(ROOT / "sweep.py"), *arguments, "sweep.workers=2", f"sweep.dir={folder}"]
    moments, output, kills = random.Random(0), "", 0
    while kills < KILLS:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            for target in ("worker", "parent"):
                time.sleep(moments.uniform(0, LONGEST_S))
                workers = children(process.pid) if process.poll() is None else []
                if process.poll() is not None:
                    break
                victim = moments.choice(workers) if target == "worker" and workers else process.pid
                os.kill(victim, signal.SIGKILL)
                kills += 1
                rows = len(list(folder.glob("trials/*/metrics.csv")))
                print(
                    f"kill {kills:2}: {'worker' if victim != process.pid else 'parent'}, {rows} trials with epochs",
                    flush=True,
                )
            process.kill()
            output += process.communicate()[1]
        if process.returncode == 0:
            sys.exit("the study ended before ten kills; give it more trials")
    done = subprocess.run(command, capture_output=True, text=True)
    output += done.stderr
    ends = Counter(re.findall(r"trial (\d+) is (?:complete|pruned)", output))
    print(done.stdout.strip()[:200], f"\nexit code {done.returncode}; number of ends of each trial: {dict(ends)}")
    table = [line for line in done.stderr.splitlines() if re.match(r"\d+ +(complete|pruned|failed|running)", line)]
    print("\n".join(table))
    budget = next(int(word.partition("=")[2]) for word in arguments if word.startswith("sweep.n_trials="))
    numbers = sorted(int(path.name) for path in (folder / "trials").iterdir())
    good = done.returncode == 0 and numbers == list(range(budget)) and all(count == 1 for count in ends.values())
    print("no trial was lost, none counted twice" if good else "NOT GOOD")
    sys.exit(not good)


if __name__ == "__main__":
    main(sys.argv[1:])
