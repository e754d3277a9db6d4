"""Evaluate runs with temperature, Monte Carlo dropout, views or as an ensemble: `galaxy10 evaluate` with options."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from galaxy10.data.datamodule import GalaxyData
from galaxy10.evaluation.as_trained import evaluation_provenance, evaluation_split, write_evaluation
from galaxy10.evaluation.ensemble_evaluation import check_same_split, evaluate_ensemble
from galaxy10.evaluation.labelled_file import LabelledFile
from galaxy10.evaluation.samples import save_misclassified
from galaxy10.files import make_directory
from galaxy10.metrics.classification import over_present_classes
from galaxy10.metrics.votes import vote_metrics
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.options import PredictOptions, check_options, check_runs
from galaxy10.runs.files import RunFiles


def evaluate_with_options(
    runs: Sequence[Path],
    provenance: dict[str, Any],
    file: LabelledFile,
    out_dir: Path,
    subset: str | None,
    options: PredictOptions | None,
    include_trained: bool = False,
) -> dict[str, Any]:
    """Evaluate an ensemble of runs on a checked file and return the object of the JSON line.

    The metrics are the default ones, those of votes if the file has them, `loss_uncalibrated` (before the temperature),
    the calibration errors (galaxy10.metrics.calibration_error.calibration_metrics), those of the prediction sets
    (coverage and size, of all and of each class), and `images_per_s`.

    Args:
        provenance: the first run's.
        include_trained: whether to evaluate galaxies of another file that the runs were trained on, too.

    Raises:
        Galaxy10Error: the runs do not support the options or have different splits, or the subset is not in the file.
    """
    options = options or PredictOptions()
    check_options(options)
    check_same_split(runs)
    check_runs(runs, replace(options, temperature=True), hint="")  # prediction sets need a calibration anyway
    networks = Ensemble(
        runs,
        tta_views=options.tta_views,
        mc_dropout=options.mc_dropout,
        laplace=options.laplace,
        device=options.device,
        prior=options.prior,
        engine=options.engine,
    )
    store, split, file = evaluation_split(runs, provenance, file, subset, include_trained)
    rows = split.rows("test")
    make_directory(out_dir)
    evaluation, table = evaluate_ensemble(networks, store, rows, file.labels[rows], options)
    files = RunFiles(out_dir)
    files.write_predictions("test", table)
    save_misclassified(store.images, table, networks.class_names, files.samples("misclassified_test"))
    shutil.copyfile(RunFiles(runs[0]).config, files.config)
    measured = over_present_classes(evaluation.metrics(networks.class_names), networks.class_names, file.absent)
    measured |= vote_metrics(table, networks.class_names)
    metrics = {f"test/{key}": value for key, value in measured.items()}
    metrics["test/images_per_s"] = round(evaluation.images_per_s, 1)
    prediction = {
        "modes": [member.mode.key for member in networks.members],
        "requested_coverage": options.coverage,
        "per_class": options.per_class,
        "engine": options.engine,
        **({"int8_agreement": networks.int8_agreement} if networks.int8_agreement is not None else {}),
        **evaluation.calibration.record(options.prior),
    }
    evaluated = evaluation_provenance(provenance, file, store.content, split, runs[0])
    trained = ", ".join(str(run.resolve()) for run in runs)
    data = GalaxyData.from_store(store, split, networks.class_names)
    return write_evaluation(out_dir, data, metrics, {**evaluated, "trained_run": trained, "prediction": prediction})
