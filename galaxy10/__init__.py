"""galaxy10: train, judge and use networks that tell the shapes of galaxies apart."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from galaxy10.inference.classifier import Classifier

__version__ = "0.1.0"


def load(
    run: "str | PathLike[str]",
    *more: "str | PathLike[str]",
    orientations: bool | None = None,
    mc_dropout: int = 0,
    temperature: bool = True,
    coverage: float = 0.9,
    stretch: str = "auto",
    batch_size: int = 64,
    device: str = "auto",
) -> "Classifier":
    """A trained run, or several as an ensemble, ready for `predict(images)`.

    Args:
        run, more: run directories of the same classes.
        orientations: average all eight flips and quarter turns (True) or look once (False); None: as the run does.
        mc_dropout: number of answers drawn with dropout, 0 for none.
        temperature: probabilities as calibrated on the run's validation galaxies.
        coverage: share of galaxies whose true class is to be in the prediction set.
        stretch: what becomes of values that are no picture yet; see `galaxy10 predict --help`.

    Raises:
        galaxy10.errors.Galaxy10Error: no trained run, or one that cannot be asked like this; says what to type.
    """
    from pathlib import Path

    from galaxy10.inference.classifier import Classifier
    from galaxy10.inference.predict import Options

    options = Options(
        orientations=orientations,
        mc_dropout=mc_dropout,
        temperature=temperature,
        coverage=coverage,
        stretch=stretch,
        batch_size=batch_size,
        device=device,
    )
    return Classifier([Path(path) for path in (run, *more)], options)
