"""Compare trials per hour of a study with two workers and one, a thread each; measure a trial's time outside training.

python benchmarks/study_workers.py sweep=simple_cnn data=hdf5 data.path=gz1.h5 trainer.max_epochs=3
"""

import argparse
import json
import shutil
from pathlib import Path
from tempfile import mkdtemp

from side_by_side import ROOT, Row, keep, last_json, run, seconds, side_by_side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", default=["sweep=simple_cnn", "data=simulated", "trainer.max_epochs=3"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--trials", type=int, default=6)
    given = parser.parse_args()
    outside: list[float] = []

    def trials_per_hour(workers: int) -> float:
        folder = Path(mkdtemp(prefix="bench-"))
        # The same points for both numbers of workers, without pruning.
        words = [*given.overrides, "sweep.sampler=random", "sweep.pruner=none", f"sweep.n_trials={given.trials}",
                 f"sweep.workers={workers}", f"sweep.dir={folder / 'study'}", "logger=csv"]  # fmt: skip

        def study() -> None:
            result = last_json(run(ROOT / "sweep.py", *words, OMP_NUM_THREADS="1"))
            assert result["complete"] == given.trials, result

        taken_s = seconds(study)
        if workers == 1:
            status = [json.loads(path.read_text()) for path in (folder / "study" / "trials").glob("*/status.json")]
            fit_s = sum(trial["metrics"]["train/seconds"] for trial in status)
            outside.append((taken_s - fit_s) / given.trials)
        shutil.rmtree(folder)
        return given.trials / taken_s * 3600

    name = "trials per hour, two workers ÷ one, a thread each"
    rows = [side_by_side(name, lambda: trials_per_hour(2), lambda: trials_per_hour(1), repeats=given.repeats,
                         unit="trials/h")]  # fmt: skip
    rows.append(Row("a trial outside of its training steps, one worker", "s", outside))
    print(rows[-1].line())
    given.overrides = [Path(word).name if "path=" in word else word for word in given.overrides]
    keep("study_workers", rows, given)


if __name__ == "__main__":
    main()
