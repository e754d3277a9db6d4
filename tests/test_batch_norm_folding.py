"""Batch normalization folded into convolutions: the same probabilities in less time, and never a wrong one."""

import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from galaxy10.catalogue.embedder import FeatureNetwork
from galaxy10.evaluation.evaluate import evaluate_run
from galaxy10.models.batch_norm_folding import fold_batch_norm, folding
from galaxy10.models.classifier import Classifier
from galaxy10.models.d4_networks import PlainCNN
from galaxy10.prediction.calibrate import calibrate_run
from galaxy10.prediction.engine import OnnxForward
from galaxy10.prediction.ensemble import Ensemble
from tests.galaxies import write_galaxies

SIZE = 32


def used(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode whose batch normalization has seen data."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return network.eval()


def normalizations(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


class Operations(TorchDispatchMode):
    """Notes the operations that are computed, with the shape of their first tensor."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found.append((func._schema.name.partition("::")[2], tuple(getattr(args[0], "shape", ())) if args else ()))
        return func(*args, **(kwargs or {}))


def images() -> torch.Tensor:
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "build",
    [
        lambda: timm.create_model("test_resnet", num_classes=10),
        lambda: timm.create_model("test_efficientnet", num_classes=10),  # BatchNormAct2d: the activation stays
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=10),  # Conv2dSame
        lambda: PlainCNN(num_classes=10, image_size=SIZE, size="tiny"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.Flatten()),
    ],
)
@torch.no_grad()
def test_a_folded_network_computes_the_same_without_batch_normalization_and_is_restored(build):
    network = used(build())
    expected, kept = network(images()), copy.deepcopy(network.state_dict())
    assert normalizations(network)
    found = folding(network, lambda: network(images()), 3)
    assert normalizations(network)
    with found():
        assert normalizations(network) == 0
        torch.testing.assert_close(network(images()), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    restored = network.state_dict()
    assert list(restored) == list(kept)
    assert all(torch.equal(restored[name], kept[name]) for name in kept)
    assert torch.equal(network(images()), expected)


@pytest.mark.parametrize("kernel", [(3, 3), (2, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
@torch.no_grad()
def test_padding_as_in_tensorflow_for_every_side(kernel, dilation):
    conv = Conv2dSame(3, 4, kernel, stride=2 if dilation == 1 else (2, 3), dilation=dilation)
    network = used(nn.Sequential(conv, nn.BatchNorm2d(4)))
    found = folding(network, lambda: network(images()), 3)
    for sides in ((SIZE, SIZE), (SIZE - 1, SIZE), (SIZE - 2, SIZE + 1), (7, 9), (1, 2)):
        pictures = torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(2))
        expected = network(pictures)
        with found(), Operations() as operations:
            torch.testing.assert_close(network(pictures), expected)
        copied = ("constant_pad_nd", (2, 3, *sides)) in operations.found
        assert not copied or dilation > 1, "the images are padded, not the filters"


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU])
@pytest.mark.parametrize("padding", [1, "same"])
@torch.no_grad()
def test_an_activation_in_the_layer_of_the_normalization_is_computed_once(activation, padding):
    network = used(nn.Sequential(nn.Conv2d(3, 4, 3, padding=padding), BatchNormAct2d(4, act_layer=activation)))
    inputs = 10 * images()
    expected = network(inputs)
    found = folding(network, lambda: network(inputs), 3)
    with found():
        with Operations() as operations:
            torch.testing.assert_close(network(inputs), expected)
        joint = hasattr(torch.ops.mkldnn, "_convolution_pointwise") and activation is not nn.SiLU and padding == 1
        assert ("_convolution_pointwise" in dict(operations.found)) == joint
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(network(inputs).float(), expected, rtol=0.02, atol=0.2)
    if activation is not nn.SiLU:
        assert (expected == 0).any()
        assert activation is nn.ReLU or (expected == 6).any()
    called = []
    network[1].act.register_forward_hook(lambda *given: called.append(given))
    with folding(network, lambda: network(inputs), 3)():
        called.clear()
        network(inputs)
        assert len(called) == 1


@torch.no_grad()
def test_a_folded_network_is_written_as_an_onnx_graph():
    layers = [
        Conv2dSame(3, 4, 3, stride=2),
        BatchNormAct2d(4, act_layer=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    network = used(nn.Sequential(*layers))
    expected = network(images())
    fold_batch_norm(network, network, SIZE)
    assert normalizations(network) == 0
    graph = OnnxForward.of(network, lambda inputs: (network(inputs), None), SIZE)
    torch.testing.assert_close(graph(images())[0], expected)


class OutputUsedTwice(nn.Module):
    """The convolution's output is used without its normalization, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return (self.bn(y) + y).mean((2, 3))


class ConvolutionUsedTwice(nn.Module):
    """One convolution with a normalization for each scale."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.first(self.conv(x)).mean((2, 3)) + self.second(self.conv(x[:, :, ::2, ::2])).mean((2, 3))


class DarkPixels(nn.Module):
    """Pixels below the mean take a way of their own."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y).mean((2, 3)) + (y * (x[:, :1, 1:-1, 1:-1] < 0)).mean((2, 3))


class OneOutputForAll(OutputUsedTwice):
    """A head of zeros, as at the start of some trainings: every image has the same output."""

    def forward(self, x):
        return super().forward(x) * 0


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose filters have unit norm, whatever its weights are."""

    def forward(self, x):
        return nn.functional.conv2d(x, nn.functional.normalize(self.weight.flatten(1)).view_as(self.weight), self.bias)


@pytest.mark.parametrize(
    "network",
    [
        OutputUsedTwice(),
        ConvolutionUsedTwice(),
        DarkPixels(),
        OneOutputForAll(),
        nn.Sequential(StandardizedConv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten()),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.Flatten()),
        nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()),
    ],
    ids=lambda network: type(network).__name__ if not isinstance(network, nn.Sequential) else type(network[0]).__name__,
)
@torch.no_grad()
def test_a_network_that_would_compute_something_else_stays_as_it_is(network):
    network = used(network)
    expected = network(images())
    fold_batch_norm(network, network, SIZE)
    assert normalizations(network)
    assert torch.equal(network(images()), expected)


@torch.no_grad()
def test_features_that_would_change_keep_a_network_as_it_is():
    body = nn.Sequential(nn.Conv2d(3, 4, 3))
    network = used(nn.Sequential(body, nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()))
    assert folding(network, lambda: (network(images()), None), 3) is not None
    assert folding(network, lambda: (network(images()), body(images())), 3) is None


@torch.no_grad()
def test_a_network_in_training_is_not_folded():
    network = used(PlainCNN(num_classes=10, image_size=SIZE, size="tiny")).train()
    fold_batch_norm(network, network, SIZE)
    assert normalizations(network)


@pytest.mark.slow
def test_predicting_embedding_calibrating_and_evaluating_compute_with_folded_networks(train, tmp_path, monkeypatch):
    write_galaxies(tmp_path / "g.h5")
    words = ["data=hdf5", "data.path=g.h5", "model=timm", "model.backbone=test_resnet", "model.pretrained=false"]
    words += ["model.image_size=32", "trainer.max_epochs=1", "logger=csv", "run.report=false", "run.dir=run"]
    average = "+callbacks.average._target_=lightning.pytorch.callbacks.EMAWeightAveraging"  # writes over the weights
    done, run = train(*words, average, cwd=tmp_path), tmp_path / "run"
    assert done.code == 0, done.err

    assert normalizations(Ensemble([run]).members[0].module) == 0
    assert normalizations(FeatureNetwork.of_run(run, "cpu", 1)._extract._module) == 0
    seen = []
    monkeypatch.setattr(
        Classifier, "probabilities", lambda self, x: seen.append(normalizations(self)) or self._logits(x).softmax(1)
    )
    calibrate_run(run, None, 0, "cpu")
    assert seen[-1] == 0
    seen.clear()
    monkeypatch.chdir(tmp_path)
    evaluate_run(run, tmp_path / "g.h5", tmp_path / "evaluated")
    assert seen[0] > 0  # to compare with
    assert seen[-1] == 0
