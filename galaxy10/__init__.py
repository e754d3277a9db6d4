"""galaxy10: train, evaluate and use networks that classify galaxies by morphology."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from galaxy10.catalogue.image_classifier import ImageClassifier

from galaxy10.version import __version__ as __version__


def load(
    run: "str | PathLike[str]",
    *more: "str | PathLike[str]",
    tta_views: int | None = None,
    mc_dropout: int = 0,
    laplace: int = 0,
    temperature: bool = True,
    prior: str = "none",
    coverage: float = 0.9,
    per_class: bool = False,
    stretch: str = "auto",
    hdu: str | None = None,
    batch_size: int = 64,
    device: str = "auto",
    engine: str = "torch",
    trust: "Sequence[str]" = (),
) -> "ImageClassifier":
    """Load a trained run, or several as an ensemble, for `predict(images)`.

    Args:
        run, more: run directories with the same classes.
        tta_views: number of flips and quarter turns to average: 1, 2, 4 or 8; None: the run's own `model.tta_views`.
        mc_dropout: number of Monte Carlo dropout samples; 0 for none.
        laplace: number of samples of the last layer's weights (Laplace approximation), such as 100; 0 for none. The run
            needs `galaxy10 calibrate RUN --laplace 100` once.
        temperature: whether to calibrate the probabilities with the temperature fitted on the validation images.
        prior: class prior of the probabilities: none, natural, uniform or fitted; see `galaxy10 predict --help`.
        coverage: fraction of galaxies whose prediction set contains the true class, between 0 and 1.
        per_class: whether the coverage holds for each class, with thresholds of its own.
        stretch: how raw flux values are stretched to 8 bits; see `galaxy10 predict --help`.
        hdu: the image in FITS files that have several, or three for blue, green and red: `g,r,z`.
        batch_size: images per forward pass.
        device: auto, cpu, cuda, cuda:1, mps.
        engine: torch, or onnx for ONNX Runtime, on the CPU unless device says cuda; there about twice as fast for
            EfficientNet.
        trust: packages whose code may run if a checkpoint names it, such as the package of your own network.

    Raises:
        galaxy10.errors.Galaxy10Error: a directory is no trained run, or the run does not support an option.
    """
    from pathlib import Path

    from galaxy10.catalogue.image_classifier import ImageClassifier
    from galaxy10.config.trust import trust as trust_packages
    from galaxy10.prediction.options import PredictOptions

    trust_packages(trust)
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        laplace=laplace,
        temperature=temperature,
        prior=prior,
        coverage=coverage,
        per_class=per_class,
        stretch=stretch,
        hdu=hdu,
        batch_size=batch_size,
        device=device,
        engine=engine,
    )
    return ImageClassifier([Path(path) for path in (run, *more)], options)
