"""What trains and what does not: frozen backbones, and the parameter groups of an optimizer."""

from functools import partial

import pytest
import timm.optim
import torch
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.models import Classifier, TimmClassifier
from galaxy10.models.param_groups import no_decay_on_norms
from tests.training.test_schedules import train

SGD = partial(torch.optim.SGD, lr=0.1)


def trained(**options):
    """A network before and after a few steps: (module, its state before)."""
    torch.manual_seed(0)
    module = TimmClassifier("test_resnet", num_classes=2, optimizer=SGD, **options)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    train(module, epochs=1)
    return module, before


def changed(module, before):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.filterwarnings("ignore")
def test_a_frozen_backbone_keeps_its_weights_and_its_batch_norm_statistics():
    module, before = trained(freeze="backbone")
    head = {"network.fc.weight", "network.fc.bias"}
    assert {name for name, parameter in module.named_parameters() if parameter.requires_grad} == head
    assert changed(module, before) == head
    norms = [layer for layer in module.network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert norms
    module.train()
    assert module.network.fc.training
    assert not any(norm.training for norm in norms)


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_frozen_trains_with_its_statistics():
    module, before = trained()
    assert all(parameter.requires_grad for parameter in module.parameters())
    moved = changed(module, before)
    assert {name for name, _ in module.named_parameters()} <= moved
    assert any(name.endswith("running_mean") for name in moved)


def test_a_network_of_ones_own_is_frozen_but_for_its_last_layer_and_one_without_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2), nn.Linear(2, 2))
    module = Classifier(network, num_classes=2, freeze="backbone")
    assert [p.requires_grad for p in module.parameters()] == [False] * 4 + [True] * 2
    with pytest.raises(Galaxy10Error, match=r"Sequential has no linear layer.*type model\.freeze=none"):
        Classifier(nn.Sequential(nn.Conv2d(3, 2, 3)), num_classes=2, freeze="backbone")


def names_of(module, group):
    known = {id(parameter): name for name, parameter in module.named_parameters()}
    return {known[id(parameter)] for parameter in group["params"]}


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_weight_decay_spares_vectors_and_what_the_network_names(backbone):
    module = TimmClassifier(backbone, num_classes=2)
    decayed, spared = no_decay_on_norms(module)
    assert "weight_decay" not in decayed  # the optimizer's own
    assert spared["weight_decay"] == 0
    vectors = {name for name, parameter in module.named_parameters() if parameter.ndim <= 1}
    named = {f"network.{name}" for name in getattr(module.network, "no_weight_decay", set)()}
    assert vectors
    assert bool(named) == (backbone == "test_vit")
    assert names_of(module, spared) == vectors | (named & {name for name, _ in module.named_parameters()})
    assert names_of(module, decayed) == {name for name, _ in module.named_parameters()} - names_of(module, spared)
    if not named:  # as timm's own function divides them
        theirs = timm.optim.param_groups_weight_decay(module.network, 0.1)
        assert {id(p) for p in theirs[0]["params"]} == {id(p) for p in spared["params"]}


def test_only_what_trains_is_in_a_group():
    module = TimmClassifier("test_resnet", num_classes=2, freeze="backbone")
    assert [names_of(module, group) for group in no_decay_on_norms(module)] == [
        {"network.fc.weight"},
        {"network.fc.bias"},
    ]
    network = nn.Sequential(nn.Linear(2, 2, bias=False))
    assert len(no_decay_on_norms(network)) == 1  # no empty group


@pytest.mark.filterwarnings("ignore")
def test_an_optimizer_is_built_over_the_groups():
    optimizer = partial(torch.optim.SGD, lr=0.1, weight_decay=0.3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    seen = {}
    for groups in (None, no_decay_on_norms):
        module = Classifier(network, num_classes=2, optimizer=optimizer, param_groups=groups)
        train(module, epochs=1)
        seen[groups] = [(g["weight_decay"], len(g["params"])) for g in module.trainer.optimizers[0].param_groups]
    assert seen == {None: [(0.3, 2)], no_decay_on_norms: [(0.3, 1), (0.0, 1)]}
