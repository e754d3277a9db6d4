#!/usr/bin/env python3
"""A hyperparameter study: python sweep.py sweep=resnet50 sweep.n_trials=40 (see --help)."""

import sys

import hydra
from omegaconf import DictConfig

from galaxy10.cli.sweep import main
from galaxy10.config.compose import ComposedConfigs

composed = ComposedConfigs()


@hydra.main(version_base="1.3", config_path="conf", config_name="sweep")
def take(config: DictConfig) -> None:
    """Hydra's part ends here: what it composed is run outside of it."""
    composed.take(config)


if __name__ == "__main__":
    sys.exit(main(take, composed))
