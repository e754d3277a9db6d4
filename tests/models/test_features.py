"""The features of every kind of network, and what a network without any is told."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from galaxy10.catalogue.embed import NetworkChoice, embed
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error
from galaxy10.models import D4CNN, Classifier, PCAClassifier, SimpleCNN, TimmClassifier
from galaxy10.models.backbone import BackboneFeatures, find_backbone
from galaxy10.models.features import RunFeatures
from galaxy10.prediction.options import PredictOptions
from tests.galaxies import write_galaxies

INPUTS = torch.rand(2, 3, 32, 32)
PREPROCESSING = Preprocessing(32, [0.1] * 3, [0.2] * 3)


class Maps(nn.Module):
    """A network without a linear layer, whose features have a name that timm and torchvision know."""

    def __init__(self, method: str | None = None):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 3, 1)
        if method:
            setattr(self, method, self.first.forward)

    def forward(self, inputs):
        return self.last(self.first(inputs)).mean(dim=(2, 3))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("module", "dimension"),
    [
        (lambda: SimpleCNN(image_size=32, num_classes=3), 64),
        (lambda: TimmClassifier("test_resnet", num_classes=3), 96),
        (lambda: Classifier(D4CNN(3, 32, "tiny"), num_classes=3), 32),
        (lambda: PCAClassifier(image_size=32, num_components=4, num_classes=3), 4),
    ],
    ids=["simple_cnn", "timm", "d4", "pca"],
)
def test_features_are_what_the_last_layer_is_given(module, dimension):
    module = module().eval()
    features, probabilities = RunFeatures(module)(INPUTS)
    assert features.shape == (2, dimension)
    last = [layer for layer in module.network.modules() if isinstance(layer, nn.Linear)][-1]
    assert torch.allclose(last(features).softmax(dim=1), probabilities, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("method", ["forward_features", "features"])
def test_a_network_without_a_linear_layer_gives_those_of_its_method_averaged_over_the_image(method):
    network = Maps(method)
    extract = RunFeatures(Classifier(network, num_classes=3).eval())
    features, probabilities = extract(INPUTS)
    assert torch.equal(features, network.first(INPUTS).mean(dim=(2, 3)))
    assert probabilities.shape == (2, 3)
    assert extract.pooling == f"{method}(), averaged over the image"


def test_a_network_without_features_is_told_what_is_missing():
    with pytest.raises(Galaxy10Error, match=r"Maps has no features to give: .* forward_features\(inputs\)"):
        RunFeatures(Classifier(Maps(), num_classes=3))


@torch.inference_mode()
def test_a_backbones_features_are_timms_with_the_weights_of_the_file(tmp_path):
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", num_classes=1000).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    backbone = find_backbone("test_resnet", tmp_path, 32)
    assert backbone.preprocessing.image_size == 32
    features, probabilities = BackboneFeatures(backbone.load())(INPUTS)
    assert torch.allclose(features, network.forward_head(network.forward_features(INPUTS), pre_logits=True))
    assert probabilities is None
    other = timm.create_model("test_resnet", num_classes=1000)
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    assert find_backbone("test_resnet", tmp_path, 32).identity != backbone.identity


def test_without_weights_at_hand_the_message_names_the_commands_own_options(no_hub, tmp_path):
    galaxies = str(write_galaxies(tmp_path / "g.h5"))
    with pytest.raises(Galaxy10Error, match="are not on this machine and cannot be downloaded") as refused:
        embed(NetworkChoice(model="resnet18"), [galaxies], tmp_path / "out", PredictOptions())
    assert str(refused.value).endswith("or type --weights FILE")
    assert "model." not in str(refused.value)
    assert not (tmp_path / "out").exists()
