"""Dropout at prediction: several answers to one picture, the same ones wherever and whenever it is asked about.

After Gal & Ghahramani 2016 (arXiv 1506.02142). The draws come from the picture's own pixels, not from a global
generator: batch, shard, restart and order of the inputs do not move them.
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
    """While entered, every dropout of a network drops, by draws that belong to each picture of the batch.

    At the first dropout the batch (B, …) becomes (num_samples · B, …), sample by sample: what comes before it is the
    same for all samples and is computed once.

    Args:
        keys: (B,) int64, one per picture.
        first: number of the first sample.
    """

    def __init__(self, keys: torch.Tensor, num_samples: int, first: int = 0):
        super().__init__()
        numbers = torch.arange(first, first + num_samples, device=keys.device)
        self._keys = counter_rng.splitmix64(keys[None, :] + counter_rng.splitmix64(numbers)[:, None]).flatten()
        self._batch, self._num_samples = len(keys), num_samples
        self.layers = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """torch's hook: sees every function call."""
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
        return input * kept.to(input.dtype) / (1 - p)


def dropout_layers(network: nn.Module, image_size: int) -> int:
    """How many dropouts a picture of this size goes through in evaluation."""
    device = next(network.parameters()).device
    with torch.inference_mode(), DeterministicMCDropout(torch.zeros(1, dtype=torch.int64, device=device), 1) as mode:
        network(torch.zeros(1, 3, image_size, image_size, device=device))
    return mode.layers


def sampled_logits(network: nn.Module, inputs: torch.Tensor, keys: torch.Tensor, num_samples: int) -> torch.Tensor:
    """(B, 3, S, S) and (B,) int64 → (num_samples, B, C) logits, each under its own dropout."""
    try:
        with DeterministicMCDropout(keys, num_samples):
            logits = network(inputs)
        return logits.reshape(num_samples, len(inputs), -1)
    except RuntimeError:
        # A branch around the dropout, as in a residual block: its batch has not been repeated. One by one, then.
        samples = []
        for number in range(num_samples):
            with DeterministicMCDropout(keys, 1, first=number):
                samples.append(network(inputs))
        return torch.stack(samples)


def image_key(pixels: np.ndarray) -> int:
    """A 64-bit signed number from a picture's pixels (H, W, 3) uint8."""
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
