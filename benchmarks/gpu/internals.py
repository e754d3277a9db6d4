"""Networks, augmentation and random draws of galaxy10; the only file of benchmarks/gpu that imports its modules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from step import ROOT

from galaxy10.data import counter_rng
from galaxy10.data.augment import Augmentation, Preprocessing
from galaxy10.models.factory import build_classifier

MEAN, STD = [0.167, 0.162, 0.159], [0.128, 0.118, 0.111]  # of Galaxy10 DECaLS
uniform, normal, sample_keys = counter_rng.uniform, counter_rng.counted_normal, counter_rng.sample_seeds


def settings(section: str, *overrides: str) -> dict[str, Any]:
    """Return a section of the configuration that train.py composes."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", overrides=list(overrides))
    return OmegaConf.to_container(config[section], resolve=True)


def build_network(image_px: int, *overrides: str) -> Any:
    """Return a randomly initialised network of ten classes, without dropout, as train.py builds it for image_px."""
    model = settings("model", "model.pretrained=false", *overrides)
    model.get("network", model)["dropout"] = 0.0
    return build_classifier(model, [str(i) for i in range(10)], image_px, (MEAN, STD))[0]


def network_loss(module: Any, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training loss and the logits (B, 10)."""
    return module.loss(inputs, labels)


def input_px(module: Any) -> int:
    """Return the side of a network's input, in pixels."""
    return module.known_preprocessing.image_size


def augmentation_of(name: str, noise: float, size_px: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a function from (B, H, W, 3) uint8 and rows (B,) to (B, 3, S, S), as `augment=name` in epoch 1."""
    augmentation = Augmentation.from_config({**settings("augment", f"augment={name}"), "noise": noise})
    preprocessing = Preprocessing(size_px, MEAN, STD, STD)

    def prepare(images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        with counted_noise():
            return preprocessing.train_transform(images, augmentation, 0, 1, rows, torch.zeros_like(rows), rows % 8)

    return prepare


@contextmanager
def counted_noise() -> Iterator[None]:
    """Draw noise on CPUs with the generator of GPUs; CPUs have a faster one with other numbers."""
    usual = counter_rng.normal
    counter_rng.normal = counter_rng.counted_normal
    try:
        yield
    finally:
        counter_rng.normal = usual
