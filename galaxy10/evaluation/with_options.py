"""Judging a labelled file with temperature, dropout, views or several runs: `galaxy10 evaluate` with options."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.hdf5 import SourceFile
from galaxy10.evaluation.as_trained import evaluation_provenance, evaluation_split, write_evaluation
from galaxy10.evaluation.measure import check_same_split, measure
from galaxy10.evaluation.samples import save_misclassified
from galaxy10.files import make_folder
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.options import Options, check_options, check_runs
from galaxy10.runs.files import RunFiles


def score_uncertain(
    runs: Sequence[Path],
    about: dict[str, Any],
    source: SourceFile,
    labels: np.ndarray,
    out_dir: Path,
    subset: str | None,
    options: Options | None,
) -> dict[str, Any]:
    """Evaluate runs together on a checked file whose labels (N,) are in their class order; the JSON line's object.

    Beside the usual metrics: `loss_uncalibrated` and `calibration_error_uncalibrated`, before the temperature;
    `coverage` and `mean_set_size` of the prediction sets; `images_per_s`.
    """
    options = options or Options()
    check_options(options)
    check_same_split(runs)
    check_runs(runs, replace(options, temperature=True), else_type="")  # sets and coverage need a calibration anyway
    networks = Ensemble(runs, tta_views=options.tta_views, mc_dropout=options.mc_dropout, device=options.device)
    store, split = evaluation_split(runs[0], about, source, labels, subset)
    rows = split.rows("test")
    make_folder(out_dir)
    measured, table = measure(networks, store, rows, labels[rows], options.temperature, options.coverage)
    files = RunFiles(out_dir)
    files.write_predictions("test", table)
    save_misclassified(store.images, table, networks.class_names, files.samples("misclassified_test"))
    shutil.copyfile(RunFiles(runs[0]).config, files.config)
    metrics = {f"test/{key}": value for key, value in measured.metrics(networks.class_names).items()}
    metrics["test/images_per_s"] = round(measured.images_per_s, 1)
    asked = {
        "ways": [member.way.key for member in networks.members],
        "temperature": measured.calibration.temperature,
        "coverage_asked": options.coverage,
    }
    provenance = evaluation_provenance(about, source, store.content, split, runs[0])
    trained = ", ".join(str(run.resolve()) for run in runs)
    data = GalaxyData.from_store(store, split, networks.class_names)
    return write_evaluation(out_dir, data, metrics, {**provenance, "trained_run": trained, "asked": asked})
