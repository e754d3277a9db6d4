"""The Laplace approximation of the last layer: the right posterior, kept with its weights, and refused where wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import galaxy10
from galaxy10.data.array_files import write_array
from galaxy10.data.augment import Preprocessing
from galaxy10.data.hdf5 import open_source
from galaxy10.data.store import open_store
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json
from galaxy10.models import D4CNN, Classifier, PCAClassifier, SimpleCNN, TimmClassifier
from galaxy10.models.feature_cache import features_files
from galaxy10.models.features import linear_head
from galaxy10.prediction import fit_laplace as fitting
from galaxy10.prediction.calibrate import calibrate_run
from galaxy10.prediction.head_samples import layer_weights, sampled_head_logits, with_ones
from galaxy10.prediction.laplace import LastLayerLaplace
from galaxy10.prediction.options import PredictOptions, check_options
from tests.conftest import copy_of
from tests.galaxies import galaxy

PREPROCESSING = Preprocessing(32, [0.1] * 3, [0.2] * 3)


def small_problem(classes: int = 2, size: int = 3, number: int = 40):
    """Features (n, D) with ones as the last column, and weights (C, D) that need not be the best ones."""
    rng = np.random.default_rng(0)
    features = np.c_[rng.normal(0, 1, (number, size - 1)), np.ones(number)]
    return features, rng.normal(0, 1, (classes, size)), rng.integers(0, classes, number)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_covariance_is_the_inverse_of_torchs_exact_hessian(classes):
    features, weights, labels = small_problem(classes)
    found = LastLayerLaplace.fit(weights, features, 0.7)
    inputs, targets = torch.tensor(features), torch.tensor(labels)

    def negative_log_posterior(flat: torch.Tensor) -> torch.Tensor:
        logits = inputs @ flat.reshape(weights.shape).T
        return nn.functional.cross_entropy(logits, targets, reduction="sum") + found.precision / 2 * flat.square().sum()

    exact = torch.autograd.functional.hessian(negative_log_posterior, torch.tensor(weights.ravel()))
    assert np.allclose(found.covariance(), np.linalg.inv(exact.numpy()), atol=1e-8)


def test_the_kronecker_product_is_exact_where_all_galaxies_are_alike():
    features, weights, _ = small_problem()
    alike = np.repeat(features[:1], 20, axis=0)
    whole, product = (LastLayerLaplace.fit(weights, alike, 2.0, full) for full in (1000, 0))
    assert [len(found.bases) for found in (whole, product)] == [1, 2]
    assert np.allclose(product.covariance(), whole.covariance(), atol=1e-9)


@pytest.mark.parametrize("full", [1000, 0])
def test_samples_have_the_mean_and_the_covariance(full):
    features, weights, _ = small_problem()
    found = LastLayerLaplace.fit(weights, features, 0.7, full)
    samples = found.sample(weights, 20_000).astype(np.float64)
    assert np.allclose(samples.mean(axis=0), weights, atol=1e-6)  # pairs
    covariance = np.cov(samples.reshape(len(samples), -1), rowvar=False)
    assert np.allclose(covariance, found.covariance(), atol=0.05 * np.abs(found.covariance()).max())
    assert found.sample(weights, 3).shape == (3, 2, 3)
    assert np.array_equal(found.sample(weights, 3), found.sample(weights, 3))
    assert not np.array_equal(found.sample(weights, 3), found.sample(weights, 3, seed=1))


def test_the_prior_is_as_wide_as_the_validation_galaxies_need():
    """Where a feature that no training galaxy has says what the network says, and where it says nothing."""
    rng = np.random.default_rng(0)
    weights = np.array([[-2.0, -1.0], [2.0, 1.0]])
    train = np.c_[rng.normal(0, 1, 400), np.zeros(400)]
    found = LastLayerLaplace.fit(weights, train, 1.0)
    features = np.c_[train[:, 0], np.repeat([0.0, 8.0, -8.0], [200, 100, 100])]
    labels = (rng.random(400) < 1 / (1 + np.exp(-2 * features @ weights[1]))).astype(int)
    assert fitting.choose_precision(found, weights, features, labels) >= 100
    labels[200:] = rng.integers(0, 2, 200)
    assert fitting.choose_precision(found, weights, features, labels) <= 10


@pytest.mark.parametrize("full", [1000, 0])
def test_uncertainty_grows_away_from_the_training_galaxies(full):
    """Probabilities of a point as confident as the training galaxies, but in a direction that none of them has."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    along = np.where(labels == 1, 1.0, -1.0) + rng.normal(0, 0.5, 200)
    features = np.c_[along, rng.normal(0, 0.01, 200)]
    weights = np.array([[-1.0, 0.0], [1.0, 0.0]])
    found = LastLayerLaplace.fit(weights, features, 1.0, full)
    points = torch.tensor([[1.0, 0.0], [1.0, 5.0], [1.0, 20.0]])
    samples = sampled_head_logits(points, torch.from_numpy(found.sample(weights, 400))).softmax(dim=-1)
    assert samples.shape == (400, 3, 2)
    spread = samples[:, :, 1].std(dim=0)
    assert spread[0] < 0.05
    assert 3 * spread[0] < spread[1] < spread[2]
    mean = samples[:, :, 1].mean(dim=0)
    assert 0.5 < mean[2] < mean[1] < mean[0]


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
def test_the_trained_weights_give_the_layers_own_output(bias):
    layer, inputs = nn.Linear(5, 3, bias=bias), torch.randn(4, 5)
    weights = layer_weights(layer)
    assert weights.shape == (3, 5 + bias)
    given = sampled_head_logits(inputs, torch.from_numpy(weights[None]).float())[0]
    assert torch.allclose(given, layer(inputs), atol=1e-6)
    assert np.allclose(with_ones(inputs.numpy(), layer) @ weights.T, layer(inputs).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "module",
    [
        lambda **k: SimpleCNN(image_size=32, **k),
        lambda **k: TimmClassifier("test_resnet", **k),
        lambda **k: Classifier(D4CNN(3, 32, "tiny"), **k),
        lambda **k: PCAClassifier(image_size=32, num_components=4, **k),
    ],
    ids=["simple_cnn", "timm", "d4", "pca"],
)
def test_the_last_layer_of_every_kind_of_network_is_found(module):
    found = module(num_classes=3, preprocessing=PREPROCESSING).eval()
    layers = [layer for layer in found.network.modules() if isinstance(layer, nn.Linear)]
    assert linear_head(found) is layers[-1]


class Ends(nn.Module):
    """A network of a convolution and `last`; `after` computes its output from the features and `last`."""

    def __init__(self, last: nn.Module, after=lambda features, last: last(features)):
        super().__init__()
        self.first, self.last, self.after = nn.Conv2d(3, 5, 3), last, after

    def forward(self, inputs):
        return self.after(self.first(inputs).mean(dim=(2, 3)), self.last)


@pytest.mark.parametrize(
    ("network", "missing"),
    [
        (Ends(nn.Linear(5, 3), lambda features, last: 3 * last(features)), "changes the output of its final linear"),
        (Ends(nn.Identity(), lambda features, last: features[:, :3]), "has no linear layer with one output per class"),
        (Ends(nn.Linear(5, 3), lambda features, last: features[:, :3]), "does not use its final linear layer once"),
    ],
    ids=["scaled", "none", "unused"],
)
def test_networks_that_do_not_end_in_a_linear_layer_are_told_what_is_missing(network, missing):
    module = Classifier(network, num_classes=3, preprocessing=PREPROCESSING).eval()
    with pytest.raises(Galaxy10Error, match=missing):
        linear_head(module)
    with pytest.raises(Galaxy10Error, match=rf"^r: Ends {missing}.*; leave out --laplace$"):
        fitting.head_of_run(Path("r"), module)


def test_a_layer_without_bias_and_a_log_softmax_after_it_change_nothing():
    network = Ends(nn.Linear(5, 3, bias=False), lambda features, last: last(features).log_softmax(dim=1))
    assert linear_head(Classifier(network, num_classes=3, preprocessing=PREPROCESSING).eval()) is network.last


@pytest.mark.parametrize(
    ("options", "message"),
    [({"laplace": 1}, "at least 2 samples"), ({"laplace": 4, "mc_dropout": 4}, "leave out one of them")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(Galaxy10Error, match=message):
        check_options(PredictOptions(**options))


@pytest.mark.long
def test_a_run_is_calibrated_once_and_says_how_uncertain_its_weights_are(run, tmp_path, monkeypatch):
    mine = copy_of(run, tmp_path / "mine")
    missing = r"mine has no Laplace approximation of its present weights; type galaxy10 calibrate .*--laplace 6$"
    with pytest.raises(Galaxy10Error, match=missing):
        galaxy10.load(mine, laplace=6, temperature=False)
    with pytest.raises(Galaxy10Error, match=missing):
        galaxy10.load(mine, tta_views=1, laplace=6)
    mode, found = calibrate_run(mine, 1, 0, "cpu", laplace=6)
    assert mode.key == "views=1 laplace=6"
    assert found.num_galaxies == 12
    kept = (mine / "laplace.npz").read_bytes()
    images = np.stack([galaxy(seed) for seed in range(6)])
    table = galaxy10.load(mine, tta_views=1, laplace=6).predict(images)
    assert (table["mutual_information"] > 0).all()
    turned = galaxy10.load(mine, tta_views=1, laplace=6, batch_size=2).predict(images[::-1])[::-1]
    pd.testing.assert_frame_equal(table, turned.reset_index(drop=True), rtol=1e-4)
    # Another number of samples, and views, have the same approximation: the training galaxies are not read again.
    monkeypatch.setattr(fitting, "load_classifier", None)
    calibrate_run(mine, 2, 0, "cpu", laplace=4)
    assert (mine / "laplace.npz").read_bytes() == kept
    assert set(read_json(mine / "calibration.json")["modes"]) >= {"views=1 laplace=6", "views=2 laplace=4"}
    with pytest.raises(Galaxy10Error, match=r"not calibrated for views=1 laplace=4; .*--tta-views 1 --laplace 4"):
        galaxy10.load(mine, tta_views=1, laplace=4)
    # A damaged file counts as none.
    (mine / "laplace.npz").write_bytes(kept[:1000])
    with pytest.raises(Galaxy10Error, match=r"has no Laplace approximation of its present weights"):
        galaxy10.load(mine, laplace=4)
    (mine / "laplace.npz").write_bytes(kept)
    # Other weights have none.
    checkpoint = torch.load(mine / "checkpoints/best.ckpt", weights_only=True)
    torch.save({**checkpoint, "epoch": 7}, mine / "checkpoints/best.ckpt")
    with pytest.raises(Galaxy10Error, match=missing):
        galaxy10.load(mine, laplace=6, temperature=False)


def test_the_features_of_a_linear_probe_are_not_computed_again(galaxies, tmp_path):
    store = open_store(open_source(galaxies, None), tmp_path)
    module = Classifier(D4CNN(3, 32, "tiny"), num_classes=3, preprocessing=PREPROCESSING).eval()
    layer, rows = linear_head(module), np.array([0, 5, 7])
    computed = fitting._features(module, layer, store, rows)
    assert computed.shape == (3, layer.in_features)
    kept = np.random.default_rng(0).random((len(store), layer.in_features)).astype(np.float32)
    write_array(features_files(store, PREPROCESSING, module.network, [layer])[0], kept)
    assert np.array_equal(fitting._features(module, layer, store, rows), kept[rows])
