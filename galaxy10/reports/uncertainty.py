"""Compare the prediction modes of trained runs on one page: `galaxy10 uncertainty`."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.console import quiet_libraries
from galaxy10.errors import Galaxy10Error
from galaxy10.evaluation.as_trained import evaluation_split
from galaxy10.evaluation.ensemble_evaluation import EnsembleEvaluation, check_same_split, evaluate_ensemble
from galaxy10.evaluation.labelled_file import check_evaluation_folder, open_labelled_file
from galaxy10.files import atomic_write, make_directory
from galaxy10.metrics.classification import over_present_classes
from galaxy10.metrics.prediction_sets import COVERAGE, SET_SIZE, set_metrics
from galaxy10.prediction.calibrate import calibrate_run
from galaxy10.prediction.calibration_file import load_calibration
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.fit_laplace import fit_laplace
from galaxy10.prediction.laplace import load_laplace
from galaxy10.prediction.mode import PredictMode
from galaxy10.prediction.options import PredictOptions, check_options, check_runs
from galaxy10.prediction.prior import class_shares
from galaxy10.prediction.run_store import run_store
from galaxy10.reports.figures.uncertainty import reliability_grid, selective_accuracy
from galaxy10.reports.html import Drawing, render, write_figure, write_file
from galaxy10.runs.trained import check_run, run_config

logger = logging.getLogger(__name__)

DROPOUT_SAMPLES = 20
LAPLACE_SAMPLES = 100


def compare_modes(
    runs: Sequence[Path],
    file: Path,
    out_dir: Path,
    *,
    mc_dropout: int | None,
    laplace: int | None = None,
    coverage: float,
    per_class: bool = False,
    prior: str = "none",
    include_trained: bool = False,
    device: str,
) -> Path:
    """Evaluate a labelled file in every prediction mode of the runs; write index.html, uncertainty.csv and figures.

    The modes are the first run with one view, with eight views, with Monte Carlo dropout if the network has dropout,
    and with samples of its last layer (Laplace approximation) if that is linear; of several runs also their ensemble
    with one view and with eight views. A run that is not calibrated for a mode is calibrated first.

    Args:
        file: the labelled file; the test subset of the runs' own file, else all rows.
        mc_dropout: number of Monte Carlo dropout samples; None: 20 if the first network has dropout, else 0.
        laplace: number of samples of the last layer's weights; None: 100 if the first network ends in a linear layer
            and its training file is there, else 0.
        coverage: of the prediction sets, between 0 and 1.
        per_class: whether the coverage holds for each class.
        prior: the class prior of all modes, one of galaxy10.prediction.prior.PRIORS.
        include_trained: whether to evaluate galaxies of another file that the runs were trained or validated on, too.
        device: auto, cpu, cuda, …

    Returns:
        The path of index.html.

    Raises:
        Galaxy10Error: the runs have different splits, the file has other classes, or a run's validation galaxies are
            missing.
    """
    quiet_libraries()
    if mc_dropout is None:
        check_run(runs[0])
        mc_dropout = DROPOUT_SAMPLES if run_config(runs[0])["model"].get("dropout") else 0
    options = PredictOptions(mc_dropout=mc_dropout, coverage=coverage, per_class=per_class, prior=prior)
    check_options(options)
    check_options(replace(options, mc_dropout=0, laplace=laplace or 0))
    check_runs(runs[:1], replace(options, temperature=False, prior="none"))  # runs are calibrated below
    provenance = check_same_split(runs)
    if prior != "none":
        for run in runs:
            class_shares(run, prior)
    check_evaluation_folder(out_dir)
    store, split, labelled = evaluation_split(
        runs, provenance, open_labelled_file(file, provenance), None, include_trained
    )
    rows = split.rows("test")
    labels, absent = labelled.labels[rows], labelled.absent
    evaluations: dict[str, EnsembleEvaluation] = {}
    tables: dict[str, pd.DataFrame] = {}
    class_names: tuple[str, ...] = ()
    make_directory(out_dir)
    for name, networks in _modes(runs, mc_dropout, laplace, device, prior):
        class_names = networks.class_names
        evaluations[name], tables[name] = evaluate_ensemble(networks, store, rows, labels, options)
        logger.info(f"{name}: {evaluations[name].images_per_s:.1f} images/s")
    lines = [_line(name, evaluation, class_names, absent, options) for name, evaluation in evaluations.items()]
    with atomic_write(out_dir / "uncertainty.csv") as part:
        pd.DataFrame(lines).to_csv(part, index=False)
    by_class = _by_class(evaluations, labels, class_names)
    with atomic_write(out_dir / "by_class.csv") as part:
        pd.DataFrame(by_class).to_csv(part, index=False)
    before, after = ({n: getattr(e, kind) for n, e in evaluations.items()} for kind in ("raw", "calibrated"))
    drawings = (
        Drawing(
            "reliability",
            "Reliability diagrams",
            "Bars on the dashed line are calibrated: of the predictions with a confidence of 0.8, 80 % are correct. "
            "Red: the gap. Above: before temperature scaling; below: after.",
            reliability_grid(before, after, labels),
        ),
        Drawing(
            "accuracy_kept",
            "Accuracy of the most certain galaxies",
            "Accuracy without the least certain galaxies, by the share of galaxies kept. The steeper the line, the "
            "better the confidence separates correct from wrong predictions.",
            selective_accuracy(after, labels),
        ),
    )
    page = render(
        "uncertainty.html.j2",
        lines=lines,
        runs=[str(run) for run in runs],
        file=str(labelled.source.path),
        num_galaxies=len(rows),
        num_validation=next(iter(evaluations.values())).calibration.num_galaxies,
        coverage=coverage,
        per_class=per_class,
        prior=prior,
        notes=split.notes,
        by_class=[(name, list(rows)) for name, rows in groupby(by_class, itemgetter("class"))],
        modes=list(evaluations),
        entropies=_entropies(tables, labels),
        figures=[write_figure(drawing, out_dir / "figures") for drawing in drawings],
    )
    return write_file(out_dir / "index.html", page.encode())


def _modes(
    runs: Sequence[Path], mc_dropout: int, laplace: int | None, device: str, prior: str
) -> Iterator[tuple[str, Ensemble]]:
    """Yield name and calibrated ensemble of each mode."""
    several = len(runs)
    modes: list[tuple[str, Sequence[Path], int, int]] = [("", runs[:1], 0, 0)]
    if mc_dropout:
        modes.append((f"{mc_dropout} dropout samples", runs[:1], mc_dropout, 0))
    laplace = _laplace_samples(runs[0], laplace, device)
    if laplace:
        modes.append((f"{laplace} Laplace samples", runs[:1], 0, laplace))
    if several > 1:
        modes.append((f"ensemble of {several}", runs, 0, 0))
    for name, members, dropout, samples in modes:
        for tta_views in (1, 8):
            for run in members:
                _calibrate(run, PredictMode(tta_views, dropout, samples, prior), device)
            networks = Ensemble(
                members, tta_views=tta_views, mc_dropout=dropout, laplace=samples, device=device, prior=prior
            )
            views = "8 views" if tta_views == 8 else "" if name else "single pass"
            # The names of a table that readers know: "8 views, 20 dropout samples", but "ensemble of 3, 8 views".
            words = [name, views] if len(members) > 1 else [views, name]
            yield ", ".join(filter(None, words)), networks


def _calibrate(run: Path, mode: PredictMode, device: str) -> None:
    """Calibrate a run for a mode unless it is."""
    try:
        load_calibration(run, mode)
        if mode.laplace:
            load_laplace(run, mode.cli_options)
    except Galaxy10Error:
        logger.info(f"calibrating {run} for {mode.key}")
        calibrate_run(run, mode.views, mode.dropout, device, mode.prior, mode.laplace)


def _laplace_samples(run: Path, requested: int | None, device: str) -> int:
    """Return the number of samples of the last layer, which is fitted; 0 without a request if it cannot be."""
    if requested == 0:
        return 0
    try:
        fit_laplace(run, device)
        if requested is None:
            run_store(run, check_run(run))  # a calibration for these samples may need it
    except Galaxy10Error as error:
        if requested:
            raise
        logger.info(f"note: no Laplace samples: {error}")
        return 0
    return requested or LAPLACE_SAMPLES


def _line(
    name: str,
    evaluation: EnsembleEvaluation,
    class_names: Sequence[str],
    absent: Sequence[str],
    options: PredictOptions,
) -> dict[str, Any]:
    metrics = over_present_classes(evaluation.metrics(class_names), class_names, absent)
    kept = (
        *("accuracy", "macro_f1", "loss_uncalibrated", "loss", "calibration_error_uncalibrated", "calibration_error"),
        *("calibration_error_perfect", "calibration_error_perfect_95", "coverage", "mean_set_size"),
    )
    return {
        "mode": name,
        **{key: metrics[key] for key in kept},
        "requested_coverage": options.coverage,
        "per_class": options.per_class,
        "prior": options.prior,
        "coverage_standard_error": evaluation.coverage_error(options.coverage),
        "temperature": evaluation.calibration.temperature,
        "images_per_s": round(evaluation.images_per_s, 1),
    }


def _by_class(
    evaluations: dict[str, EnsembleEvaluation], labels: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return coverage and mean size of the prediction sets of every class in every mode, class after class."""
    measured = {mode: set_metrics(e.inside, labels, class_names) for mode, e in evaluations.items()}
    number = np.bincount(labels, minlength=len(class_names))
    return [
        {
            "class": name,
            "galaxies": int(number[k]),
            "mode": mode,
            "coverage": values[f"{COVERAGE}_{slug}"],
            "mean_set_size": values[f"{SET_SIZE}_{slug}"],
        }
        for k, (name, slug) in enumerate(zip(class_names, slugs(class_names), strict=True))
        for mode, values in measured.items()
    ]


def _entropies(tables: dict[str, pd.DataFrame], labels: np.ndarray) -> list[dict[str, Any]]:
    """Return the mean entropy and its two parts of correct and wrong predictions, for modes with several samples."""
    lines = []
    for name, table in tables.items():
        if table["mutual_information"].isna().all():
            continue
        correct = (table["predicted"] == labels).to_numpy()
        for prediction, chosen in (("correct", correct), ("wrong", ~correct)):
            if chosen.any():
                total, epistemic = (float(table.loc[chosen, c].mean()) for c in ("entropy", "mutual_information"))
                parts = {"total": total, "aleatoric": total - epistemic, "epistemic": epistemic}
                lines.append({"mode": name, "prediction": prediction, **parts})
    return lines
