"""Features of all images of a store, computed once and kept beside it for every run that has the same frozen network.

The file is `<store>.features-<key>.npy`, (N, D) float32; that of another view ends in `-view1.npy` and so on. The key
is a hash of the pixels, the network's weights and its preprocessing. A file may be deleted: it is computed again. Parts
wait in a folder of the same name that ends in `.parts`, so that a killed process loses one part.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from galaxy10.data.array_files import join_arrays, write_array
from galaxy10.data.augment import Preprocessing
from galaxy10.data.store import Store, forget_pages
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.files import remove_leftovers, remove_leftovers_of
from galaxy10.progress import progress

FORMAT = 1  # part of the key
PART, BATCH = 512, 64  # images


def features_files(
    store: Store, preprocessing: Preprocessing, network: nn.Module, head: list[nn.Module], views: int = 1
) -> list[Path]:
    """Return the file of a network's features of a store, for each view.

    Args:
        head: the layers after the features, whose weights do not count.
        views: number of flips and quarter turns, in the order of galaxy10.data.dihedral.tta_views.
    """
    after = {id(tensor) for layer in head for tensor in layer.state_dict(keep_vars=True).values()}
    inputs = preprocessing.to_dict()
    del inputs["noise_sigma"]  # of augmentation: it differs from split to split, and changes no feature
    about = {"format": FORMAT, "pixels": store.content, "preprocessing": inputs}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in after and not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    name = f"{store.path.stem}.features-{digest.hexdigest()[:12]}"
    return [store.path.with_name(f"{name}-view{view}.npy" if view else f"{name}.npy") for view in range(views)]


def cached_features(path: Path, store: Store, compute: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Return the features (N, D) float32 of all images of a store, memory-mapped; compute them if they are not there.

    Of several processes at once, one computes and the others wait.

    Args:
        path: of features_files.
        compute: images (B, H, W, 3) uint8 → features (B, D).

    Raises:
        Galaxy10Error: the folder cannot be written, the disk is full, or the file is damaged.
    """
    if not path.exists():
        try:
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    _compute(path, store, compute)
        except OSError as error:
            raise Galaxy10Error(
                f"the features cannot be kept in {path.parent} ({first_line(error)}); set data.store_dir to a writable "
                "folder"
            ) from error
    try:
        features: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise Galaxy10Error(f"{path} is damaged ({first_line(error)}); delete it, and it is made again") from error
    if len(features) != len(store):
        raise Galaxy10Error(
            f"{path} has {len(features)} lines for {len(store)} images; delete it, and it is made again"
        )
    return features


def _compute(path: Path, store: Store, compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
    folder = path.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    remove_leftovers_of(path)
    parts = {start: folder / f"{start:08d}.npy" for start in range(0, len(store), PART)}
    missing = [start for start, part in parts.items() if not part.exists()]
    done = len(store) - sum(min(PART, len(store) - start) for start in missing)
    with progress("computing features", len(store), done) as update:
        for start in missing:
            found = list(_batches(store, start, compute))
            write_array(parts[start], np.concatenate(found))
            done += sum(map(len, found))
            update(done)
    join_arrays(path, list(parts.values()))
    shutil.rmtree(folder, ignore_errors=True)


def _batches(store: Store, start: int, compute: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[np.ndarray]:
    stop = min(start + PART, len(store))
    for first in range(start, stop, BATCH):
        images = torch.from_numpy(np.array(store.images[first : min(first + BATCH, stop)]))
        found = compute(images).float().cpu().numpy()
        if not np.isfinite(found).all():
            raise Galaxy10Error(
                f"the network gives features that are not finite for images {first} to {first + len(found) - 1}; type "
                "another model.backbone or model.weights"
            )
        yield found
        forget_pages(store.images)
