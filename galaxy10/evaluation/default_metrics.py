"""Calibration error and prediction sets of what a run gives by default, from its prediction tables."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.calibration_error import calibration_metrics
from galaxy10.metrics.prediction_sets import set_metrics
from galaxy10.prediction.calibration_file import Calibration, load_calibration
from galaxy10.prediction.conformal import prediction_set_mask
from galaxy10.prediction.mode import resolve_mode
from galaxy10.prediction.options import PredictOptions
from galaxy10.runs.trained import run_config

logger = logging.getLogger(__name__)


def default_metrics(
    calibration: Calibration | None, predictions: pd.DataFrame, class_names: tuple[str, ...], subset: str
) -> dict[str, float | None]:
    """Return the metrics of the probabilities and sets that `predict` gives by default, as `<subset>/<metric>`.

    They are those of galaxy10.metrics.calibration_error.calibration_metrics and, of a calibrated run,
    galaxy10.metrics.prediction_sets.set_metrics.

    Args:
        calibration: of the run's own mode; None: it has none.
        predictions: label and p_<slug>… before the temperature, in the run's own mode.
    """
    raw = predictions[[f"p_{slug}" for slug in slugs(class_names)]].to_numpy(np.float64)
    labels = predictions["label"].to_numpy()
    calibrated = None if calibration is None else calibration.apply(raw[None])[0]
    measured = calibration_metrics(labels, raw, calibrated)
    if calibration is not None and calibrated is not None:
        inside = prediction_set_mask(calibrated, calibration.thresholds(PredictOptions.coverage))
        measured |= set_metrics(inside, labels, class_names)
    return {f"{subset}/{name}": value for name, value in measured.items()}


def calibration_of_run(run: Path) -> Calibration | None:
    """Return the calibration of a run's own mode; None, with a note, if it has none that can be used."""
    mode = resolve_mode(int(run_config(run)["model"].get("tta_views") or 1), None, 0)
    try:
        return load_calibration(run, mode)
    except Galaxy10Error as error:
        logger.info(f"note: no prediction sets, and no calibration error after a temperature: {error}")
        return None
