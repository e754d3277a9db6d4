"""The prediction mode: how many test-time augmentation views and dropout samples are averaged for an image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictMode:
    """The number of passes that are averaged for one image.

    Attributes:
        views: flips and quarter turns averaged, 1, 2, 4 or 8.
        dropout: samples with dropout, 0 for none.
    """

    views: int
    dropout: int = 0

    @property
    def key(self) -> str:
        """Return the mode's name in a run's calibration.json."""
        return f"views={self.views}" + (f" dropout={self.dropout}" if self.dropout else "")

    @property
    def cli_options(self) -> str:
        """Return the command-line options that select the mode."""
        return f" --tta-views {self.views}" + (f" --mc-dropout {self.dropout}" if self.dropout else "")


def resolve_mode(default_views: int, tta_views: int | None, mc_dropout: int) -> PredictMode:
    """Return the mode that options select; default_views: the run's model.tta_views, used if tta_views is None."""
    return PredictMode(default_views if tta_views is None else tta_views, mc_dropout)
