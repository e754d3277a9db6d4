"""The prediction mode: how many views and samples of a network are averaged for an image, and for which class prior."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PredictMode:
    """The number of passes that are averaged for one image, and the class prior of the result.

    Attributes:
        views: flips and quarter turns averaged, 1, 2, 4 or 8.
        dropout: samples with dropout, 0 for none.
        laplace: samples of the last layer's weights (galaxy10.prediction.laplace), 0 for none; not with dropout.
        prior: one of galaxy10.prediction.prior.PRIORS.
    """

    views: int
    dropout: int = 0
    laplace: int = 0
    prior: str = "none"

    @property
    def key(self) -> str:
        """Return the mode's name in a run's calibration.json."""
        return self.passes_key + (f" prior={self.prior}" if self.prior != "none" else "")

    @property
    def passes_key(self) -> str:
        """Return the name of the passes alone: the network's outputs do not depend on the prior."""
        dropout = f" dropout={self.dropout}" if self.dropout else ""
        return f"views={self.views}{dropout}" + (f" laplace={self.laplace}" if self.laplace else "")

    @property
    def samples(self) -> int:
        """Return the number of probabilities of one image and class, 1 for a single prediction."""
        return max(1, self.dropout, self.laplace)

    @property
    def cli_options(self) -> str:
        """Return the command-line options that select the mode."""
        samples = f" --mc-dropout {self.dropout}" if self.dropout else ""
        samples += f" --laplace {self.laplace}" if self.laplace else ""
        return f" --tta-views {self.views}{samples}" + (f" --prior {self.prior}" if self.prior != "none" else "")

    def with_prior(self, prior: str) -> "PredictMode":
        """Return the mode with another prior."""
        return replace(self, prior=prior)


def resolve_mode(
    default_views: int, tta_views: int | None, mc_dropout: int, prior: str = "none", laplace: int = 0
) -> PredictMode:
    """Return the mode that options select; default_views: the run's model.tta_views, used if tta_views is None."""
    return PredictMode(default_views if tta_views is None else tta_views, mc_dropout, laplace, prior)
