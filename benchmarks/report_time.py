"""Measure the time of figures and report for as many test galaxies as a tenth of Galaxy10 DECaLS."""

import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
from side_by_side import ROOT, alone, arguments, keep, run, seconds
from survey import data_folder


def evaluated_run(folder: Path, num_images: int) -> Path:
    """Return a short run whose test predictions are repeated to num_images rows."""
    path = folder / "run"
    run(ROOT / "train.py", "data=simulated", f"data.dir={data_folder()}", "logger=csv", "debug=fast", f"run.dir={path}")
    table = pd.read_parquet(path / "predictions" / "test.parquet")
    table = pd.concat([table] * -(-num_images // len(table)), ignore_index=True).head(num_images)
    table.assign(row=range(num_images)).to_parquet(path / "predictions" / "test.parquet", index=False)
    return path


def main() -> None:
    given = arguments(__doc__, repeats=3, images=1774)
    folder = Path(mkdtemp(prefix="bench-"))
    path = evaluated_run(folder, given.images)
    command = Path(sys.executable).with_name("galaxy10")
    rows = [
        alone(
            f"galaxy10 report, {given.images} test images",
            lambda: seconds(lambda: run(command, "report", path)),
            repeats=given.repeats,
            unit="s",
            target=15,
        )
    ]
    shutil.rmtree(folder)
    keep("report_time", rows, given)


if __name__ == "__main__":
    main()
