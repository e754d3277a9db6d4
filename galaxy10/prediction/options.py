"""The options of `galaxy10 predict`, and the check that runs can predict with them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path

import numpy as np

from galaxy10.config.fields import did_you_mean
from galaxy10.data.fits_images import parse_hdu
from galaxy10.data.labels import shortened
from galaxy10.data.stretch import STRETCHES
from galaxy10.errors import Galaxy10Error
from galaxy10.prediction.calibration_file import Calibration, load_calibration
from galaxy10.prediction.laplace import has_laplace, missing_laplace
from galaxy10.prediction.mode import resolve_mode
from galaxy10.prediction.prior import check_prior, class_shares
from galaxy10.runs.trained import check_run, run_config

INT8 = "onnx-int8"
ENGINES = ("torch", "onnx", INT8)
CUDA_PROVIDER = "CUDAExecutionProvider"  # of the package onnxruntime-gpu

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOptions:
    """How images are read and predicted; see `galaxy10 predict --help`.

    Attributes:
        tta_views: number of flips and quarter turns to average: 1, 2, 4 or 8; None: the run's own.
        mc_dropout: number of Monte Carlo dropout samples; 0 for none.
        laplace: number of samples of the last layer's weights (Laplace approximation); 0 for none.
        temperature: whether to calibrate the probabilities.
        prior: the class prior of the probabilities, one of galaxy10.prediction.prior.PRIORS.
        coverage: fraction of galaxies whose prediction set contains the true class.
        per_class: whether the coverage holds for each class, with thresholds of its own.
        stretch: how raw flux values are stretched to 8 bits.
        hdu: the image in FITS files that have several, or three: `g,r,z`; None: found by its name.
        path_column: column of paths in an input table; None: `path`.
        batch_size: images per forward pass; None: measured (galaxy10.prediction.batch_size).
        device: auto, cpu, cuda, cuda:1, mps.
        engine: torch, onnx for ONNX Runtime on the CPU, or with device=cuda on a GPU; onnx-int8 for the CPU in 8 bits.
        workers: threads that read images; None: one per CPU core.
        shard: `i/n` to predict only shard i of n, from 0.
        overwrite: whether to replace an existing output.
    """

    tta_views: int | None = None
    mc_dropout: int = 0
    laplace: int = 0
    temperature: bool = True
    prior: str = "none"
    coverage: float = 0.9
    per_class: bool = False
    stretch: str = "auto"
    hdu: str | None = None
    path_column: str | None = None
    batch_size: int | None = 64
    device: str = "auto"
    engine: str = "torch"
    workers: int | None = None
    shard: str | None = None
    overwrite: bool = False


def check_options(options: PredictOptions) -> None:
    """Check the values of options.

    Raises:
        Galaxy10Error: a value is out of range or unknown.
    """
    if not 0 < options.coverage < 1:
        raise Galaxy10Error(f"--coverage {options.coverage:g} is not allowed; give a share from 0 to 1, such as 0.9")
    if options.mc_dropout < 0 or options.mc_dropout == 1:
        raise Galaxy10Error(f"--mc-dropout {options.mc_dropout} is not allowed; give at least 2 samples, such as 20")
    if options.laplace < 0 or options.laplace == 1:
        raise Galaxy10Error(f"--laplace {options.laplace} is not allowed; give at least 2 samples, such as 100")
    if options.laplace and options.mc_dropout:
        raise Galaxy10Error(
            "--laplace and --mc-dropout are two ways to sample a network; leave out one of them (galaxy10 uncertainty "
            "compares them)"
        )
    if options.stretch not in STRETCHES:
        nearest = did_you_mean(options.stretch, list(STRETCHES))
        raise Galaxy10Error(f"--stretch {options.stretch} is unknown{nearest}; type one of {', '.join(STRETCHES)}")
    check_prior(options.prior)
    check_engine(options.engine, options.mc_dropout, options.device)
    parse_hdu(options.hdu)
    for name, value in (("--batch-size", options.batch_size), ("--workers", options.workers)):
        if value is not None and value < 1:
            raise Galaxy10Error(f"{name} {value} is not allowed; give a number from 1")
    if options.batch_size is None and options.engine != "torch" and options.device.startswith("cuda"):
        raise Galaxy10Error(
            f"--batch-size auto does not see the GPU memory of ONNX Runtime; give a number, such as "
            f"--batch-size {PredictOptions.batch_size}"
        )
    if options.batch_size is None and options.shard is not None:
        raise Galaxy10Error(
            "--batch-size auto could choose another size for each shard, and the shards would differ in their last "
            "digits; give a number, such as the one that auto chooses without --shard"
        )


def check_engine(engine: str, mc_dropout: int, device: str) -> None:
    """Check the option --engine beside those that it excludes.

    Raises:
        Galaxy10Error: the engine is unknown, its packages are missing, or it cannot do what another option requests.
    """
    if engine not in ENGINES:
        raise Galaxy10Error(
            f"--engine {engine} is unknown{did_you_mean(engine, list(ENGINES))}; type one of {', '.join(ENGINES)}"
        )
    if engine == "torch":
        return
    if mc_dropout:
        raise Galaxy10Error(
            f"--engine {engine} has no dropout to sample; leave out --mc-dropout, or type --engine torch"
        )
    on_gpu = engine == "onnx" and device.partition(":")[0] == "cuda"
    if device not in ("auto", "cpu") and not on_gpu:
        raise Galaxy10Error(
            f"--engine {engine} computes on the CPU; leave out --device {device}, or type --engine torch"
        )
    check_packages("--engine torch")
    if on_gpu:
        import onnxruntime

        if CUDA_PROVIDER not in onnxruntime.get_available_providers():
            raise Galaxy10Error(
                f"onnxruntime {onnxruntime.__version__} computes on the CPU: pip install onnxruntime-gpu in its place, "
                f"leave out --device {device}, or type --engine torch"
            )


def check_packages(otherwise: str) -> None:
    """Check that ONNX models can be written and run; `otherwise` is what to type without them.

    Raises:
        Galaxy10Error: a package is missing.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise Galaxy10Error(f"ONNX needs {', '.join(missing)}; type pip install 'galaxy10[export]', or {otherwise}")


def check_runs(
    runs: Sequence[Path], options: PredictOptions, hint: str = ", or add --no-temperature here"
) -> list[Calibration] | None:
    """Return the calibration of each run for the mode that options select; None with --no-temperature and no prior.

    Args:
        hint: appended to the message if a run is not calibrated for the mode.

    Raises:
        Galaxy10Error: a directory is no trained run, a run is not calibrated for the mode, has no dropout or no Laplace
            approximation, or does not record what the prior needs.
    """
    calibrations, has_prior = [], options.prior != "none"
    for run in runs:
        check_run(run)
        model = run_config(run)["model"]
        if options.mc_dropout and not model.get("dropout") and "network" not in model:
            raise Galaxy10Error(
                f"{run} (model={model['name']}) has no dropout; leave out --mc-dropout, or train a network with "
                "dropout, such as model=simple_cnn or model.dropout=0.2"
            )
        if has_prior:
            class_shares(run, options.prior)
        views = int(model.get("tta_views") or 1)
        mode = resolve_mode(views, options.tta_views, options.mc_dropout, options.prior, options.laplace)
        if options.laplace and not has_laplace(run):
            raise missing_laplace(run, mode.cli_options)
        if options.temperature or has_prior:
            try:
                calibrations.append(load_calibration(run, mode))
            except Galaxy10Error as error:
                raise Galaxy10Error(f"{error}{'' if has_prior else hint}") from error
    return calibrations if options.temperature or has_prior else None


def set_thresholds_of(
    calibration: Calibration | None, class_names: Sequence[str], options: PredictOptions
) -> np.ndarray | None:
    """Return the threshold of each class (C,) for the prediction sets that options select; None without a calibration.

    A class with too few validation galaxies for a threshold of its own is named in the log.
    """
    if calibration is None:
        return None
    if options.per_class and (few := calibration.without_own_threshold(options.coverage)):
        needed = ceil(options.coverage / (1 - options.coverage) - 1e-9)
        names = shortened([f"{class_names[k]} ({len(calibration.conformal_scores[k])})" for k in few])
        logger.warning(
            f"note: --per-class needs {needed} validation galaxies of a class for a coverage of {options.coverage:g}; "
            f"these classes have fewer, and are in every set: {names}"
        )
    return calibration.thresholds(options.coverage, options.per_class)
