"""Which galaxies runs were trained or validated on, as their run directories record it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from galaxy10.data.known_galaxies import KnownGalaxies, Match, any_known
from galaxy10.runs.files import RunFiles


class TrainedOn:
    """The galaxies that any of several runs was trained or validated on.

    Attributes:
        unchecked: the runs that do not record their galaxies.
    """

    def __init__(self, runs: Sequence[Path]):
        tables = {run: RunFiles(run).read_known_galaxies() for run in runs}
        self.unchecked = [run for run, table in tables.items() if table is None]
        self._known = [KnownGalaxies(table) for table in tables.values() if table is not None]

    def match(self, pixel_hash: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> Match:
        """Return which of N galaxies are known to a run; see KnownGalaxies.match."""
        none = np.zeros(len(pixel_hash), dtype=bool)
        return any_known([Match(none, none), *(known.match(pixel_hash, ra, dec) for known in self._known)])

    def why_unchecked(self) -> str | None:
        """Return one line about the first run that does not record its galaxies; None if all do."""
        if not self.unchecked:
            return None
        run = self.unchecked[0]
        return (
            f"it cannot be checked whether {run} was trained on these galaxies: it has no "
            f"{RunFiles(run).known_galaxies.name} (an older version made it, or its data module has no store)"
        )
