"""Keep the training images in the GPU's memory instead of the host's memory map."""

import numpy as np
import torch

from galaxy10.data.store import forget_pages
from galaxy10.errors import Galaxy10Error

COMFORTABLE_SHARE = 0.25  # of the device's free memory; the rest is the network's
_UPLOADED_AT_ONCE = 256  # galaxies


def use_device_cache(wanted: bool | str, num_bytes: int, device: torch.device) -> bool:
    """Decide whether the training images, of so many bytes, are kept in the device's memory.

    Args:
        wanted: data.cache_on_device: true, false or "auto" (true on a CUDA GPU where they take at most a quarter of
            the free memory). Each process of a run holds the whole training subset, as every epoch deals it out anew.

    Raises:
        Galaxy10Error: true, and the device has no room.
    """
    if device.type != "cuda":
        return wanted is True
    free = torch.cuda.mem_get_info(device)[0]
    if wanted is True and num_bytes > free:
        raise Galaxy10Error(
            f"data.cache_on_device=true: the training images take {num_bytes / 2**30:.2f} GiB, {device} has "
            f"{free / 2**30:.2f} GiB free; type data.cache_on_device=auto"
        )
    return num_bytes <= COMFORTABLE_SHARE * free if wanted == "auto" else bool(wanted)


def upload(images: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Rows (n,) of the store's array (N, H, W, 3) as one uint8 tensor (n, H, W, 3) on a device."""
    resident = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _UPLOADED_AT_ONCE):
        part = slice(start, start + _UPLOADED_AT_ONCE)
        resident[part] = torch.from_numpy(images[rows[part]]).to(device)
    forget_pages(images)
    return resident
