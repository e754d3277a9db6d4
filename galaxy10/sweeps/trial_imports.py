"""What every trial imports: the fork server imports it once. It imports no code of the user's."""

import numpy as np

import galaxy10.config.compose
import galaxy10.training.experiment
import galaxy10.training.preflight  # noqa: F401


def seed_anew() -> None:
    """Give numpy's global generator a seed from the system, as when numpy is imported; Python's gets one by itself."""
    np.random.seed()  # noqa: NPY002 - for libraries that use the global one
