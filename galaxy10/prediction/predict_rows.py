"""Predict rows of a store with an ensemble."""

from collections.abc import Sequence

import numpy as np

from galaxy10.data.store import Store, forget_pages
from galaxy10.prediction.compute_streams import ComputeStreams
from galaxy10.prediction.ensemble import Ensemble, Outputs
from galaxy10.progress import progress

BATCH_SIZE = 64


def predict_rows(networks: Ensemble, store: Store, rows: np.ndarray, doing: str) -> Outputs:
    """Return the outputs, before any calibration, for rows (N,) of a store, N at least 1.

    Args:
        doing: the work, for the progress.
    """

    def compute(own: Ensemble, some: Sequence[int]) -> Outputs:
        return own.predict([own.prepare(np.array(store.images[row])) for row in some])

    batches = [rows[start : start + BATCH_SIZE].tolist() for start in range(0, len(rows), BATCH_SIZE)]
    outputs: list[Outputs] = []
    with ComputeStreams(networks, most=len(batches)) as streams, progress(doing, len(rows)) as show:
        for done, (_, output) in enumerate(streams.map(compute, batches), 1):
            outputs.append(output)
            forget_pages(store.images)
            show(min(done * BATCH_SIZE, len(rows)))
    return Outputs.concatenate(outputs)
