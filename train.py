#!/usr/bin/env python3
"""One experiment, or a grid of them: python train.py model=resnet50 data=galaxy10 (see --help)."""

import sys

import hydra
from omegaconf import DictConfig

from galaxy10.cli.train import main
from galaxy10.config.compose import ComposedConfigs

composed = ComposedConfigs()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def take(config: DictConfig) -> None:
    """Hydra's part ends here: what it composed is run outside of it."""
    composed.take(config)


if __name__ == "__main__":
    sys.exit(main(take, composed))
