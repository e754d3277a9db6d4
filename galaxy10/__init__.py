"""galaxy10: train, judge and use networks that tell the shapes of galaxies apart."""

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
    temperature: bool = True,
    coverage: float = 0.9,
    stretch: str = "auto",
    batch_size: int = 64,
    device: str = "auto",
    trust: "Sequence[str]" = (),
) -> "ImageClassifier":
    """A trained run, or several as an ensemble, ready for `predict(images)`.

    Args:
        run, more: run directories of the same classes.
        tta_views: flips and quarter turns to average: 1, 2, 4 or 8; None: as many as the run does.
        mc_dropout: number of answers drawn with dropout, 0 for none.
        temperature: probabilities as calibrated on the run's validation galaxies.
        coverage: share of galaxies whose true class is to be in the prediction set.
        trust: packages whose code runs if a checkpoint names it, such as a network of your own.
        stretch: what becomes of values that are no picture yet; see `galaxy10 predict --help`.

    Raises:
        galaxy10.errors.Galaxy10Error: no trained run, or one that cannot be asked like this; says what to type.
    """
    from pathlib import Path

    from galaxy10.catalogue.image_classifier import ImageClassifier
    from galaxy10.config.trust import trust as trust_packages
    from galaxy10.prediction.options import PredictOptions

    trust_packages(trust)
    options = PredictOptions(
        tta_views=tta_views,
        mc_dropout=mc_dropout,
        temperature=temperature,
        coverage=coverage,
        stretch=stretch,
        batch_size=batch_size,
        device=device,
    )
    return ImageClassifier([Path(path) for path in (run, *more)], options)
