"""How often, and in which variations, a picture is shown to a network before it is judged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PredictMode:
    """views: flips and quarter turns averaged (1 or 8, or what a run averages itself). dropout: samples, 0 for none."""

    views: int
    dropout: int = 0

    @property
    def key(self) -> str:
        """Its name in a run's calibration.json."""
        return f"views={self.views}" + (f" dropout={self.dropout}" if self.dropout else "")

    @property
    def options(self) -> str:
        """What to type for it."""
        return f" --tta-views {self.views}" + (f" --mc-dropout {self.dropout}" if self.dropout else "")


def resolve_mode(own_views: int, tta_views: int | None, mc_dropout: int) -> PredictMode:
    """The way that options ask for; own_views: what the run itself averages when it is scored (model.tta_views)."""
    return PredictMode(own_views if tta_views is None else tta_views, mc_dropout)
