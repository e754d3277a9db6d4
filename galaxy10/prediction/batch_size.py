"""Choose how many images a forward pass takes, by measuring on the machine that computes."""

import logging
import resource
import sys
import time
from collections.abc import Callable

import torch

DEFAULT_BATCH_SIZE = 64
SIZES = (16, 32, 64, 128, 256, 512, 1024)
_WORTH = 1.05  # a larger batch is taken if it is faster by this factor
_SHARE_OF_GPU = 0.4  # of its memory
_BYTES_ON_CPU = 2 * 2**30
MEASURED_FROM = 20 * DEFAULT_BATCH_SIZE  # images; for fewer, measuring costs more than it gains

logger = logging.getLogger(__name__)


def fastest_batch_size(
    compute: Callable[[int], object],
    num_images: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Return the batch size of the highest throughput, among powers of two from 16.

    Sizes are doubled until that gains less than 5 %, or until the next batch would take more than 40 % of a GPU's
    memory, or 2 GiB on a CPU. For fewer than MEASURED_FROM images nothing is measured, and
    the default is returned.

    Args:
        compute: computes a batch of that many images, and waits for the result.
        num_images: number of images to predict.
        device: where it computes.
        clock: seconds.
    """
    if num_images < MEASURED_FROM:
        return DEFAULT_BATCH_SIZE
    compute(SIZES[0])  # what is done once
    best, best_rate, memory = SIZES[0], 0.0, _Memory(device)
    for size in SIZES:
        try:
            seconds = min(_seconds(compute, size, clock) for _ in range(2))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        rate = size / max(seconds, 1e-9)
        logger.debug("batches of %d: %.1f images/s", size, rate)
        if rate < _WORTH * best_rate:
            break
        best, best_rate = size, rate
        if memory.doubled_is_too_much():
            break
    return best


def _seconds(compute: Callable[[int], object], size: int, clock: Callable[[], float]) -> float:
    start = clock()
    compute(size)
    return clock() - start


class _Memory:
    """The memory that this process takes beyond what it had when this was made."""

    def __init__(self, device: torch.device):
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._before = self._peak()

    def _peak(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def doubled_is_too_much(self) -> bool:
        """Return whether twice what was taken is more than a batch may take."""
        allowed: float = _BYTES_ON_CPU
        if self._device.type == "cuda":
            allowed = _SHARE_OF_GPU * torch.cuda.get_device_properties(self._device).total_memory
        return 2 * (self._peak() - self._before) > allowed
