"""Monte Carlo dropout (Gal & Ghahramani 2016, arXiv 1506.02142) with repeatable draws.

The draws are a function of an image's own pixels, not of a global generator: they do not depend on batch, shard,
restart, or the order of the inputs.
"""

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

import galaxy10.data.counter_rng as counter_rng


class DeterministicMCDropout(TorchFunctionMode):
    """A context in which every dropout layer of a network is active, with draws that belong to each image.

    At the first dropout the batch (B, …) becomes (num_samples · B, …), sample by sample: the layers before it are the
    same for all samples and are computed once.

    Args:
        keys: (B,) int64, one per image.
        first: number of the first sample.

    Attributes:
        layers: dropout layers passed since the context was made.
    """

    def __init__(self, keys: torch.Tensor, num_samples: int, first: int = 0):
        super().__init__()
        numbers = torch.arange(first, first + num_samples, device=keys.device)
        self._keys = counter_rng.splitmix64(keys[None, :] + counter_rng.splitmix64(numbers)[:, None]).flatten()
        self._batch, self._num_samples = len(keys), num_samples
        self.layers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace torch.nn.functional.dropout; torch calls this for every function."""
        if func is not F.dropout:
            return func(*args, **(kwargs or {}))
        return self._dropped(*args, **(kwargs or {}))

    def _dropped(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if p <= 0:
            return input
        if self.layers == 0 and self._num_samples > 1:
            input = input.repeat(self._num_samples, *([1] * (input.ndim - 1)))
        keys = counter_rng.splitmix64(self._keys + self.layers)
        self.layers += 1
        kept = counter_rng.uniform(keys, input[0].numel()).reshape(input.shape) >= p
        dropped: torch.Tensor = input * kept.to(input.dtype) / (1 - p)
        return dropped


def dropout_layers(network: nn.Module, image_size: int) -> int:
    """Return the number of dropout layers that an image (3, image_size, image_size) passes in evaluation mode."""
    device = next(network.parameters()).device
    with torch.inference_mode(), DeterministicMCDropout(torch.zeros(1, dtype=torch.int64, device=device), 1) as mode:
        network(torch.zeros(1, 3, image_size, image_size, device=device))
    return int(mode.layers)


def sampled_logits(network: nn.Module, inputs: torch.Tensor, keys: torch.Tensor, num_samples: int) -> torch.Tensor:
    """Return logits (num_samples, B, C) of inputs (B, 3, S, S) with keys (B,) int64, a dropout mask for each sample."""
    try:
        with DeterministicMCDropout(keys, num_samples):
            logits: torch.Tensor = network(inputs)
        return logits.reshape(num_samples, len(inputs), -1)
    except RuntimeError:
        # A branch around the dropout, as in a residual block, has not been repeated: compute samples one by one.
        samples = []
        for number in range(num_samples):
            with DeterministicMCDropout(keys, 1, first=number):
                samples.append(network(inputs))
        return torch.stack(samples)


def image_key(pixels: np.ndarray) -> int:
    """Return a 64-bit signed hash of an image's pixels (H, W, 3) uint8."""
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
