"""Write the pooled test predictions of folds, for other commands and projects."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from galaxy10.files import atomic_write
from galaxy10.reports.seed_groups import SeedGroup, seed_of
from galaxy10.runs.files import RunFiles
from galaxy10.runs.record import RunRecord


def write_out_of_fold(experiments: Sequence[SeedGroup], out: Path) -> Path | None:
    """Write the pooled predictions of all experiments and seeds to out_of_fold.parquet; return None without folds.

    Beside it, out_of_fold/ has a directory for each of them, which `report`, `compare` and `leaderboard` read as the
    evaluation of a run.
    """
    tables = []
    for experiment in experiments:
        for run in experiment.runs:
            if run.folds:
                about = {"split": run.provenance_section("split")["hash"], "experiment": experiment.name}
                tables.append(run.predictions["test"].assign(**about, seed=seed_of(run)))
                _write_directory(run, RunFiles(out / "out_of_fold" / _folder_name(experiment, run)))
    if not tables:
        return None
    table = pd.concat(tables, ignore_index=True)
    first = ["split", "experiment", "seed", "fold", "row"]
    with atomic_write(out / "out_of_fold.parquet") as part:
        table[first + [name for name in table if name not in first]].to_parquet(part, index=False)
    return out / "out_of_fold.parquet"


def _folder_name(experiment: SeedGroup, run: RunRecord) -> str:
    name = "".join(letter if letter.isalnum() or letter in "-_.=" else "_" for letter in experiment.name)
    return f"{name}-seed{seed_of(run)}-{run.provenance_section('split')['hash']}"


def _write_directory(run: RunRecord, files: RunFiles) -> None:
    files.write_config(run.config)
    trained = ", ".join(str(fold.path.resolve()) for fold in run.folds)
    files.write_provenance({**run.provenance, "trained_run": trained})
    files.write_status(run.status)
    if run.split is not None:
        files.write_split(run.split)
    files.write_predictions("test", run.predictions["test"])
