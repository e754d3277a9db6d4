"""Apply a temperature to probabilities."""

import numpy as np


def apply_temperature(samples: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (…, C) with the logits divided by a temperature (Guo et al. 2017, arXiv 1706.04599).

    Above 1 the probabilities become less confident, below 1 more confident.
    """
    if temperature == 1:
        return samples
    logits = np.log(np.maximum(samples.astype(np.float64), 1e-30)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softened: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(samples.dtype)
    return softened
