"""Compare a grid whose trials are forked with one of new Python processes: trials per hour of CPU time.

python benchmarks/forked_trials.py --trials 12 --repeats 2

A trial is one epoch on 60 images of 32 px, and the evaluation after it. CPU time is that of the command and of all
processes that it has started, so that other work on the machine counts little.
"""

import resource
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

from side_by_side import ROOT, arguments, keep, last_json, run, side_by_side

sys.path.append(str(ROOT))

from tests.galaxies import write_galaxies

SMALL = ("model=simple_cnn", "model.image_size=32", "data.batch_size=16", "trainer.max_epochs=1", "logger=csv")


def main() -> None:
    given = arguments(__doc__, repeats=2, trials=12)
    folder = Path(mkdtemp(prefix="bench-"))
    write_galaxies(folder / "g.h5", per_class=20)

    def trials_per_hour(forks: int) -> float:
        seeds = ",".join(map(str, range(given.trials)))
        words = ["-m", "data=hdf5", "data.path=g.h5", *SMALL, "run.report=false", f"seed={seeds}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = last_json(
            run(ROOT / "train.py", *words, cwd=folder, OMP_NUM_THREADS="1", GALAXY10_FORK_TRIALS=str(forks))
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert [trial["state"] for trial in result["trials"]] == ["finished"] * given.trials, result
        shutil.rmtree(folder / "runs")
        return given.trials * 3600 / (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)

    name = f"trials per hour of CPU time, {given.trials} trials, forked ÷ new processes"
    rows = [side_by_side(name, lambda: trials_per_hour(1), lambda: trials_per_hour(0), repeats=given.repeats,
                         unit="trials/h", target=3)]  # fmt: skip
    shutil.rmtree(folder)
    keep("forked_trials", rows, given)


if __name__ == "__main__":
    main()
