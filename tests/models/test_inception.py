"""InceptionV3's auxiliary head takes part where it should, and nowhere else."""

import pytest
import torch
from hydra import compose, initialize_config_dir

from galaxy10.config.compose import to_container
from galaxy10.config.paths import CONF
from galaxy10.models.factory import build_classifier


@pytest.mark.long
def test_all_that_is_trained_has_a_gradient():
    """Several processes wait for the gradient of whatever asks for one."""
    choices = ["model=inceptionv3", "model.pretrained=false", "model.image_size=96"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        recipe = to_container(compose("train", overrides=choices))["model"]
    module, _ = build_classifier(recipe, ("a", "b"), 96, ([0.1] * 3, [0.1] * 3))
    for freeze in ("none", "backbone"):
        module.freeze_mode = freeze
        module.set_network(module.network, module.head)  # its weights take seconds to draw: not twice
        module.zero_grad()
        loss, _ = module.train().loss(torch.randn(2, 3, 96, 96), torch.tensor([0, 1]))
        loss.backward()
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        assert any("AuxLogits" in name for name in trained) == (freeze == "none")
        assert all(p.grad is not None for p in trained.values())
