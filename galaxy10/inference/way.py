"""How often, and in which variations, a picture is shown to a network before it is judged."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
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
        words = {1: " --no-orientations", 8: " --orientations"}.get(self.views, "")
        return words + (f" --mc-dropout {self.dropout}" if self.dropout else "")


def choose_way(own_views: int, orientations: bool | None, mc_dropout: int) -> Way:
    """The way that options ask for; own_views: what the run itself averages when it is scored (model.views)."""
    return Way(own_views if orientations is None else 8 if orientations else 1, mc_dropout)
