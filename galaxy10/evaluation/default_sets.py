"""Coverage and size of the prediction sets that a run gives by default, from its prediction tables."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy10.classes import slugs
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.prediction_sets import set_metrics
from galaxy10.prediction.calibration_file import Calibration, load_calibration
from galaxy10.prediction.conformal import prediction_set_mask
from galaxy10.prediction.mode import resolve_mode
from galaxy10.prediction.options import PredictOptions
from galaxy10.runs.trained import run_config

logger = logging.getLogger(__name__)


def default_set_metrics(
    calibration: Calibration, predictions: pd.DataFrame, class_names: tuple[str, ...], subset: str
) -> dict[str, float | None]:
    """Return coverage and size of the sets that `predict` gives by default, as `<subset>/<metric>`.

    The metrics are those of galaxy10.metrics.prediction_sets.set_metrics.

    Args:
        predictions: label and p_<slug>… before the temperature, in the run's own mode.
    """
    raw = predictions[[f"p_{slug}" for slug in slugs(class_names)]].to_numpy(np.float64)
    thresholds = calibration.thresholds(PredictOptions.coverage)
    inside = prediction_set_mask(calibration.apply(raw[None])[0], thresholds)
    measured = set_metrics(inside, predictions["label"].to_numpy(), class_names)
    return {f"{subset}/{name}": value for name, value in measured.items()}


def calibration_of_run(run: Path) -> Calibration | None:
    """Return the calibration of a run's own mode; None, with a note, if it has none that can be used."""
    mode = resolve_mode(int(run_config(run)["model"].get("tta_views") or 1), None, 0)
    try:
        return load_calibration(run, mode)
    except Galaxy10Error as error:
        logger.info(f"note: no coverage of prediction sets: {error}")
        return None
