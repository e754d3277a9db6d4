"""Read the finished runs among folders, and describe what they were trained on."""

import logging
from collections.abc import Sequence
from pathlib import Path

from galaxy10.errors import Galaxy10Error
from galaxy10.reports.label_curves import num_labels
from galaxy10.reports.seed_groups import SeedGroup
from galaxy10.runs.record import RunRecord, read_run

logger = logging.getLogger(__name__)

SUBSET_NAMES = {"test": "test", "val": "validation"}


def read_finished(run_dirs: Sequence[Path]) -> tuple[list[RunRecord], list[tuple[str, str]]]:
    """Return the finished runs, and name and reason of each folder that is none; a note says so of each."""
    finished, left_out = [], []
    for path in dict.fromkeys(Path(path).resolve() for path in run_dirs):
        try:
            run = read_run(path)
        except Galaxy10Error as error:
            left_out.append((path.name, str(error).replace(str(path), "it", 1)))
            continue
        if run.status.get("state") != "finished":
            left_out.append((path.name, f"its state is {run.status.get('state') or 'unknown'}, not finished"))
        else:
            finished.append(run)
    if finished:
        for name, why in left_out:
            logger.info(f"note: {name} is left out: {why}")
    return finished, left_out


def split_description(experiments: list[SeedGroup], subset: str) -> str:
    """Return file, protocol and numbers of galaxies of the experiments of one split, as one line."""
    runs = [run for experiment in experiments for run in experiment.runs]
    run = next((run for run in runs if not run.is_evaluation), runs[0])
    data, split = run.provenance_section("data"), run.provenance_section("split")
    counts = RunRecord.section(split, "counts")
    parts = [str(data.get("name") or "unnamed data")]
    if path := data.get("path"):
        parts[0] += f" ({Path(str(path)).name})"
    if split.get("protocol"):
        seed = split.get("split_seed")
        parts.append(f"protocol {split['protocol']}" + (f", split seed {seed}" if seed is not None else ""))
    if counts:
        trained = sorted({number for run in runs if (number := num_labels(run))}) or [0]
        train = " to ".join(f"{number:,}" for number in dict.fromkeys((trained[0], trained[-1])))
        parts.append(f"{train} training and {counts.get(subset, 0):,} {SUBSET_NAMES[subset]} galaxies")
    return ", ".join(parts)


def device_of(run: RunRecord) -> str | None:
    """Return the GPUs, else the CPU, that a run was trained on; None if unknown."""
    device = run.provenance_section("device")
    return ", ".join(device["gpus"]) if device.get("gpus") else device.get("cpu")
