"""Temperature, label smoothing taken back, class priors and conformal scores, fitted to validation galaxies."""

from collections.abc import Sequence
from math import exp, log

import numpy as np
from scipy.optimize import minimize_scalar

from galaxy10.metrics.calibration_error import calibration_error
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.conformal import scores_by_class
from galaxy10.prediction.label_smoothing import remove_label_smoothing
from galaxy10.prediction.prior import ClassShares, fit_strength, offsets_of, shift_prior
from galaxy10.prediction.temperature import apply_temperature

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
# The prior of ln T: normal around 0. Without it, a dozen galaxies that are all classified correctly would fit T = 0;
# with hundreds of galaxies it makes no difference.
_PRIOR_WIDTH = 0.5
_SHARES_REMOVED = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the training's label smoothing, that are tried
_STRENGTH = {"natural": 0.0, "uniform": 1.0}  # of the prior; `fitted` is found on the validation galaxies


def calibrate(
    samples: np.ndarray,
    labels: np.ndarray,
    prior: str = "none",
    shares: Sequence[ClassShares] = (),
    *,
    label_smoothing: float = 0.0,
    known: Calibration | None = None,
) -> Calibration:
    """Fit one temperature to all samples, apply the class prior, then compute the conformal scores.

    The temperature minimises the cross-entropy of the mean over the samples, under a broad prior around 1. A network
    that was trained with label smoothing has none of it, a quarter, a half, three quarters or all of it taken back
    before, whichever gives the lowest. With a class prior, both are fitted to the probabilities for the natural shares
    of the classes, which are those of the validation galaxies; the prior comes after them. The scores are those of the
    final probabilities, so prediction sets cover galaxies like the validation galaxies with any prior.

    Args:
        samples: (K, N, C) probabilities: K outputs (members, dropout samples) for each validation galaxy.
        labels: (N,) class numbers.
        prior: one of galaxy10.prediction.prior.PRIORS.
        shares: of the run, or of each of the K samples; needed for a prior.
        label_smoothing: of the training; 0 for none.
        known: the calibration with another prior, whose temperature and label smoothing are taken; None: fit them.
    """
    samples = samples.astype(np.float64)
    natural = None if prior == "none" else offsets_of(shares, 0.0)
    if known is None:
        removed, best = _fit(samples, labels, natural, label_smoothing)
    else:
        removed, best = known.label_smoothing_removed, known.temperature
    uncalibrated, calibrated = samples, apply_temperature(remove_label_smoothing(samples, removed), best)
    strengths: tuple[float, float] | None = None
    offsets: tuple[list[list[float]] | None, list[list[float]] | None] = None, None
    if prior != "none":
        strengths = _strength(prior, uncalibrated, labels, shares), _strength(prior, calibrated, labels, shares)
        offsets = offsets_of(shares, strengths[0]), offsets_of(shares, strengths[1])
    before = shift_prior(uncalibrated, offsets[0]).mean(axis=0)
    after = shift_prior(calibrated, offsets[1]).mean(axis=0)
    return Calibration(
        temperature=best,
        conformal_scores=scores_by_class(after, labels),
        uncalibrated_scores=scores_by_class(before, labels),
        loss=(_loss(before, labels), _loss(after, labels)),
        calibration_error=(calibration_error(labels, before), calibration_error(labels, after)),
        prior_strength=strengths,
        log_offsets=offsets[1],
        uncalibrated_log_offsets=offsets[0],
        label_smoothing_removed=removed,
    )


def calibrate_priors(
    samples: np.ndarray, labels: np.ndarray, shares: ClassShares | None, label_smoothing: float = 0.0
) -> dict[str, Calibration]:
    """Return the calibration of one run for every prior; without its class shares for `none` alone."""
    found = {"none": calibrate(samples, labels, label_smoothing=label_smoothing)}
    if shares is None:
        return found
    natural = calibrate(samples, labels, "natural", [shares], label_smoothing=label_smoothing)
    others = {p: calibrate(samples, labels, p, [shares], known=natural) for p in ("uniform", "fitted")}
    return found | {"natural": natural} | others


def _fit(
    samples: np.ndarray, labels: np.ndarray, log_offsets: list[list[float]] | None, label_smoothing: float
) -> tuple[float, float]:
    """Return how much label smoothing is taken back, and the temperature."""
    bounds = (log(_LOWEST_TEMPERATURE), log(_HIGHEST_TEMPERATURE))
    found, shares = [], _SHARES_REMOVED if label_smoothing else (0.0,)
    for removed in (round(share * label_smoothing, 6) for share in shares):
        sharper = remove_label_smoothing(samples, removed)

        def objective(log_temperature: float, sharper: np.ndarray = sharper) -> float:
            tempered = shift_prior(apply_temperature(sharper, exp(log_temperature)), log_offsets)
            return len(labels) * _loss(tempered.mean(axis=0), labels) + 0.5 * (log_temperature / _PRIOR_WIDTH) ** 2

        best = minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-4})
        found.append((best.fun, removed, round(exp(best.x), 4)))
    return min(found)[1:]


def _strength(prior: str, samples: np.ndarray, labels: np.ndarray, shares: Sequence[ClassShares]) -> float:
    return _STRENGTH[prior] if prior in _STRENGTH else fit_strength(samples, labels, shares)


def _loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the cross-entropy of probabilities (N, C)."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean())
