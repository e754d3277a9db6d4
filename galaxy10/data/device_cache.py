"""Cache the training images in the GPU's memory."""

import numpy as np
import torch

from galaxy10.data.store import forget_pages
from galaxy10.errors import Galaxy10Error

MAX_AUTO_SHARE = 0.25  # of the device's free memory; the network needs the rest
_UPLOAD_BATCH = 256  # images


def use_device_cache(setting: bool | str, num_bytes: int, device: torch.device) -> bool:
    """Return whether the training images, of num_bytes in all, are cached in the device's memory.

    Each process of a run caches the whole training subset, since every epoch distributes it anew.

    Args:
        setting: data.cache_on_device: true, false, or "auto": true on a CUDA GPU if the images take at most a quarter
            of the free memory.

    Raises:
        Galaxy10Error: the setting is true, and the device has too little memory.
    """
    if device.type != "cuda":
        return setting is True
    free = torch.cuda.mem_get_info(device)[0]
    if setting is True and num_bytes > free:
        raise Galaxy10Error(
            f"data.cache_on_device=true: the training images take {num_bytes / 2**30:.2f} GiB, {device} has "
            f"{free / 2**30:.2f} GiB free; type data.cache_on_device=auto"
        )
    return num_bytes <= MAX_AUTO_SHARE * free if setting == "auto" else bool(setting)


def upload(images: np.ndarray, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy rows (n,) of the store's array (N, H, W, 3) to a device, as one uint8 tensor (n, H, W, 3)."""
    cached = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _UPLOAD_BATCH):
        part = slice(start, start + _UPLOAD_BATCH)
        cached[part] = torch.from_numpy(images[rows[part]]).to(device)
    forget_pages(images)
    return cached
