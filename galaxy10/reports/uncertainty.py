"""The page that puts every way of asking trained networks side by side: `galaxy10 uncertainty`."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.console import quiet_libraries
from galaxy10.data.hdf5 import open_source
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.as_trained import evaluation_split
from galaxy10.evaluation.ensemble_evaluation import EnsembleEvaluation, check_same_split, evaluate_ensemble
from galaxy10.evaluation.labelled_file import check_output, match_classes
from galaxy10.files import make_folder, replacing
from galaxy10.prediction.calibrate import calibrate_run
from galaxy10.prediction.calibration_file import load_calibration
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.options import Options, check_options, check_runs
from galaxy10.reports.figures.uncertainty import accuracy_when_choosing, reliability_grid
from galaxy10.reports.html import Drawing, render, write_file, write_picture
from galaxy10.runs.trained import check_run, run_config

logger = logging.getLogger(__name__)

DROPOUT_SAMPLES = 20


def compare_ways(
    runs: Sequence[Path], file: Path, out_dir: Path, *, mc_dropout: int | None, coverage: float, device: str
) -> Path:
    """Evaluate a labelled file in every way that these runs allow, and write index.html, uncertainty.csv and figures.

    Ways: the first run with one view, with all eight, and with dropout samples if its network drops anything;
    all runs together, with one view and with all eight, if there are several. Runs are calibrated for each way
    where they are not yet.

    Args:
        file: as for evaluation: of the runs' own file, the test subset is judged; of any other, all.
        mc_dropout: number of dropout samples; None: 20, if the first network drops anything.

    Returns:
        The path of index.html.

    Raises:
        Galaxy10Error: runs of different splits, another file's classes, validation galaxies that are gone.
    """
    quiet_libraries()
    if mc_dropout is None:
        check_run(runs[0])
        mc_dropout = DROPOUT_SAMPLES if run_config(runs[0])["model"].get("dropout") else 0
    options = Options(mc_dropout=mc_dropout, coverage=coverage, temperature=False)  # it calibrates what is not
    check_options(options)
    check_runs(runs[:1], options)
    about = check_same_split(runs)
    check_output(out_dir)
    source, labels = match_classes(open_source(file, key="FILE"), tuple(about["data"]["class_names"]))
    store, split = evaluation_split(runs[0], about, source, labels, None)
    rows = split.rows("test")
    found: dict[str, EnsembleEvaluation] = {}
    tables: dict[str, pd.DataFrame] = {}
    class_names: tuple[str, ...] = ()
    make_folder(out_dir)
    for name, networks in _ways(runs, mc_dropout, device):
        class_names = networks.class_names
        found[name], tables[name] = evaluate_ensemble(networks, store, rows, labels[rows], True, coverage)
        logger.info(f"{name}: {found[name].images_per_s:.1f} images/s")
    lines = [_line(name, measured, class_names, coverage) for name, measured in found.items()]
    with replacing(out_dir / "uncertainty.csv") as part:
        pd.DataFrame(lines).to_csv(part, index=False)
    before, after = ({n: getattr(m, kind) for n, m in found.items()} for kind in ("raw", "calibrated"))
    drawings = (
        Drawing(
            "reliability",
            "Confidence and truth",
            "Bars on the dashed line: of galaxies given a confidence of 0.8, 80 % are right. Red: the gap. Above, the "
            "probabilities as the networks give them; below, after the temperature.",
            reliability_grid(before, after, labels[rows]),
        ),
        Drawing(
            "accuracy_kept",
            "Accuracy of the galaxies kept",
            "Leaving out the least certain galaxies raises the accuracy of the others: the steeper, the better a "
            "network knows what it does not know.",
            accuracy_when_choosing(after, labels[rows]),
        ),
    )
    page = render(
        "uncertainty.html.j2",
        lines=lines,
        runs=[str(run) for run in runs],
        file=str(source.path),
        num_galaxies=len(rows),
        num_validation=len(next(iter(found.values())).calibration.scores),
        coverage=coverage,
        notes=split.notes,
        by_class=_by_class(found, labels[rows], class_names),
        ways=list(found),
        parts=_parts(tables, labels[rows]),
        pictures=[write_picture(drawing, out_dir / "figures") for drawing in drawings],
    )
    return write_file(out_dir / "index.html", page.encode())


def _ways(runs: Sequence[Path], mc_dropout: int, device: str) -> Iterator[tuple[str, Ensemble]]:
    """Name and networks of each way, calibrated."""
    several, samples = len(runs), f"{mc_dropout} dropout samples"
    asked: list[tuple[str, Sequence[Path], int, int]] = [
        ("single pass", runs[:1], 1, 0),
        ("8 views", runs[:1], 8, 0),
    ]
    if mc_dropout:
        asked += [(samples, runs[:1], 1, mc_dropout), (f"8 views, {samples}", runs[:1], 8, mc_dropout)]
    if several > 1:
        asked += [(f"ensemble of {several}", runs, 1, 0), (f"ensemble of {several}, 8 views", runs, 8, 0)]
    for name, members, tta_views, dropout in asked:
        networks = Ensemble(members, tta_views=tta_views, mc_dropout=dropout, device=device)
        for member in networks.members:
            try:
                load_calibration(member.run, member.way)
            except Galaxy10Error:
                logger.info(f"calibrating {member.run} for {member.way.key}")
                calibrate_run(member.run, tta_views, dropout, device)
        yield name, networks


def _line(name: str, measured: EnsembleEvaluation, class_names: Sequence[str], coverage: float) -> dict[str, Any]:
    metrics = measured.metrics(class_names)
    kept = (
        *("accuracy", "macro_f1", "loss_uncalibrated", "loss", "calibration_error_uncalibrated", "calibration_error"),
        *("coverage", "mean_set_size"),
    )
    return {
        "way": name,
        **{key: metrics[key] for key in kept},
        "requested_coverage": coverage,
        "coverage_standard_error": measured.coverage_error(coverage),
        "temperature": measured.calibration.temperature,
        "images_per_s": round(measured.images_per_s, 1),
    }


def _by_class(
    found: dict[str, EnsembleEvaluation], labels: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """How often the true class is in the set, class by class: only over all of them it is what was asked for."""
    return [
        {
            "name": name,
            "number": int((labels == k).sum()),
            "coverage": [float(m.covered[labels == k].mean()) if (labels == k).any() else None for m in found.values()],
        }
        for k, name in enumerate(class_names)
    ]


def _parts(tables: dict[str, pd.DataFrame], labels: np.ndarray) -> list[dict[str, Any]]:
    """Mean entropy and its two parts, of galaxies judged right and wrong, where there is more than one answer."""
    lines = []
    for name, table in tables.items():
        if table["mutual_information"].isna().all():
            continue
        right = (table["predicted"] == labels).to_numpy()
        for said, chosen in (("right", right), ("wrong", ~right)):
            if chosen.any():
                total, model = (float(table.loc[chosen, c].mean()) for c in ("entropy", "mutual_information"))
                lines.append({"way": name, "verdict": said, "total": total, "data": total - model, "model": model})
    return lines
