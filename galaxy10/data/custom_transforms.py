"""Custom modules in the augmentation of training batches, with draws that a restart repeats.

Such a module draws from the global generators of torch, numpy and `random`, which the training step (dropout) uses,
too. So it runs in the main thread, between the steps, with a seed that is a function of the run's seed, the epoch and
the first image of the batch. The generators are restored afterwards.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

import galaxy10.data.counter_rng as counter_rng
from galaxy10.config.building import build, check_signatures
from galaxy10.errors import Galaxy10Error, first_line

_SALTS = {"before": 0x6265666F7265, "after": 0x6166746572}


class CustomTransforms:
    """Custom modules on batches.

    Args:
        before: applied before the built-in augmentation, to (B, 3, H, W) from 0 to 1.
        after: applied to the network's input (B, 3, S, S). Both hold modules, functions, or configurations of them for
            hydra.utils.instantiate.

    Raises:
        Galaxy10Error: a module cannot be built, or is not callable.
    """

    def __init__(self, before: Sequence[Any] = (), after: Sequence[Any] = ()):
        self._modules = {"before": _built(before, "augment.before"), "after": _built(after, "augment.after")}

    def __contains__(self, place: str) -> bool:
        return bool(self._modules[place])

    def apply(self, place: str, images: torch.Tensor, seed: int, epoch: int, first: tuple[int, int]) -> torch.Tensor:
        """Apply the modules of one place to a batch (B, 3, H, W) float32; equal arguments give equal results.

        Args:
            place: before or after.
            first: row and repeat_index of the batch's first image.

        Raises:
            Galaxy10Error: a module fails, or returns a batch of another form.
        """
        modules = self._modules[place]
        if not modules:
            return images
        row, repeat_index = (torch.tensor([number]) for number in first)
        key = int(counter_rng.splitmix64(counter_rng.sample_seeds(seed, epoch, row, repeat_index) + _SALTS[place]))
        with torch.no_grad(), temporary_seed(key, images.device):
            for number, module in enumerate(modules):
                images = _applied(module, images, f"augment.{place}[{number}]", same_size=place == "after")
        return images


class PerImage(nn.Module):
    """A module that applies another one to each image of a batch, with separate draws.

    The random transforms of torchvision.transforms.v2 draw once per call: they would crop or turn all images of a batch
    in the same way.

    Args:
        module: from (3, H, W) to (3, H, W).
    """

    def __init__(self, module: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Apply the module to each image of (B, 3, H, W)."""
        return torch.stack([self.module(image) for image in images])


def _built(modules: Sequence[Any], key: str) -> list[Any]:
    built = []
    for number, module in enumerate(modules):
        if not callable(module):
            check_signatures(module, f"{key}[{number}]")
            module = build(module, key=f"{key}[{number}]")
        if not callable(module) or isinstance(module, type):
            raise Galaxy10Error(f"{key}[{number}] is {module!r}; expected a module (an instance) or a function")
        built.append(module.train().requires_grad_(False) if isinstance(module, nn.Module) else module)
    return built


def _applied(module: Any, images: torch.Tensor, key: str, same_size: bool) -> torch.Tensor:
    name = getattr(module, "__name__", type(module).__name__)
    if isinstance(module, nn.Module):
        module.to(images.device)
    try:
        result = module(images)
    except Exception as error:  # a custom module may raise anything
        raise Galaxy10Error(
            f"{key} ({name}) fails on a batch {tuple(images.shape)}: {type(error).__name__}: {first_line(error)}"
        ) from error
    expected = tuple(images.shape) if same_size else (*images.shape[:2], "H", "W")
    found = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
    fits = isinstance(result, torch.Tensor) and result.is_floating_point() and result.ndim == 4
    if not fits or found[: 4 if same_size else 2] != expected[: 4 if same_size else 2]:
        kind = f" {result.dtype}" if isinstance(result, torch.Tensor) else ""
        shape = ", ".join(map(str, expected))
        raise Galaxy10Error(f"{key} ({name}) returns {found}{kind}; expected ({shape}) float32")
    batch: torch.Tensor = result.to(torch.float32)
    return batch


@contextmanager
def temporary_seed(key: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch (of the CPU and of one device), numpy and `random`; restore them on exit.

    torch.manual_seed would seed the generators of every GPU.
    """
    accelerator: Any = None if device.type == "cpu" else torch.get_device_module(device)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - theirs
    on_device = accelerator.get_rng_state() if accelerator else None
    try:
        torch.default_generator.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
        np.random.seed(key & 0xFFFF_FFFF)  # noqa: NPY002
        random.seed(key)
        if accelerator:
            accelerator.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        if accelerator:
            accelerator.set_rng_state(on_device)
