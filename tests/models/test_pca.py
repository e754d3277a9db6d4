"""PCA and logistic regression: the numbers scikit-learn gives on a matrix that fits, without ever holding it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from galaxy10.data.augment import Preprocessing
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.hdf5 import open_source
from galaxy10.data.split import make_split
from galaxy10.data.store import open_store
from galaxy10.models.pca import PCAClassifier
from galaxy10.training.solving import judge, training_limit
from tests.conftest import write_galaxies

NAMES = ("a", "b", "c")
RECIPE = {
    "num_components": 4,
    "scree_components": 8,
    "components_from": "train",
    "standardize": True,
    "C": 1.0,
    "max_iterations": 1000,
}


@pytest.fixture
def data(tmp_path):
    source = open_source(write_galaxies(tmp_path / "g.h5", per_class=150, size=(16, 16)))
    store = open_store(source, tmp_path)
    return GalaxyData(store, make_split(store.table, store.content, NAMES, protocol="baseline_80_20"), NAMES)


def classifier(num_classes=3, **changes):
    preprocessing = Preprocessing(16, [0.1, 0.1, 0.1], [0.2, 0.2, 0.2])
    return PCAClassifier({**RECIPE, **changes}, NAMES[:num_classes], preprocessing)


def matrix(data, subset):
    """All galaxies of a subset as the model sees them, (n, D): what the model itself never holds."""
    images = torch.from_numpy(data.store.images[data.split.rows(subset)])
    return classifier().preprocessing.eval_transform(images).flatten(1).double().numpy()


@pytest.mark.parametrize("standardize", [True, False])
def test_it_agrees_with_scikit_learn_on_the_whole_matrix(data, standardize):
    module = classifier(standardize=standardize)
    found, converged = module.solve(data, data.split.rows("train"), data.labels("train"))
    train, test = matrix(data, "train"), matrix(data, "test")
    pca = PCA(8, svd_solver="full").fit(train)
    assert converged
    # The leading two carry the classes. The rest is white noise, of which any basis is as good as another.
    assert found.explained_variance_ratio[:2] == pytest.approx(pca.explained_variance_ratio_[:2], rel=0.01)
    overlap = np.abs(np.sum(found.components[:2] * pca.components_[:2], axis=1))
    assert (overlap > 0.999).all()
    scaler = StandardScaler(with_mean=standardize, with_std=standardize)
    scaler.fit(pca.transform(train)[:, :4])
    regression = LogisticRegression(max_iter=1000)
    regression.fit(scaler.transform(pca.transform(train)[:, :4]), data.labels("train"))
    expected = regression.predict_proba(scaler.transform(pca.transform(test)[:, :4]))
    table, metrics = judge(module, data, data.split.rows("test"), data.labels("test"))
    assert np.abs(table[["p_a", "p_b", "p_c"]].to_numpy() - expected).max() < 0.1
    assert metrics["accuracy"] == pytest.approx((expected.argmax(1) == data.labels("test")).mean(), abs=0.02)


def test_two_classes_and_absent_classes(data):
    labels = data.labels("train")
    for present in ([0, 1], [0, 2], [1, 2]):
        module = classifier()
        chosen = np.isin(labels, present)
        module.solve(data, data.split.rows("train")[chosen], labels[chosen])
        table, metrics = judge(module, data, data.split.rows("train")[chosen], labels[chosen])
        assert set(table["predicted"]) == set(present)
        assert metrics["accuracy"] > 0.9


def test_a_few_galaxies_give_as_many_components_as_they_can(data):
    few = np.random.default_rng(0).permutation(len(data.split.rows("train")))[:10]
    rows, labels = data.split.rows("train")[few], data.labels("train")[few]
    module = classifier(num_components=30)
    found, _ = module.solve(data, rows, labels)
    assert len(found.components) == 10
    table, metrics = judge(module, data, rows, labels)
    assert np.isfinite(table[["p_a", "p_b", "p_c"]].to_numpy()).all()
    assert metrics["accuracy"] == 1


def test_components_of_each_subset_are_that_subsets_own(data):
    module = classifier(components_from="each_subset")
    module.solve(data, data.split.rows("train"), data.labels("train"))
    before = module.network.components.detach().clone()
    module.adapt(data, "test")
    assert not torch.allclose(before, module.network.components)
    test = matrix(data, "test")
    assert np.allclose(module.network.mean.detach().numpy(), test.mean(axis=0), atol=1e-4)
    right = classifier()
    right.solve(data, data.split.rows("train"), data.labels("train"))
    before = right.network.components.detach().clone()
    right.adapt(data, "test")
    assert torch.equal(before, right.network.components)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 100),
        ({"limit_train_batches": 3}, 24),
        ({"limit_train_batches": 0.5}, 50),
        ({"overfit_batches": 1}, 8),
        ({"fast_dev_run": True}, 8),
        ({"limit_train_batches": 500}, 100),
    ],
)
def test_lightnings_limits_limit_the_galaxies(limits, expected):
    trainer = {"fast_dev_run": False, "overfit_batches": 0.0, "limit_train_batches": None, **limits}
    assert training_limit(trainer, 8, 100) == expected


@pytest.mark.parametrize("components_from", ["train", "each_subset"])
def test_a_run_is_complete_and_evaluate_finds_its_numbers(components_from, train, galaxy10, tmp_path):
    path = write_galaxies(tmp_path / "g.h5", names=["Spiral", "Round", "Edge-on"], per_class=40)
    words = ("model=pca_logreg", "model.num_components=5", "model.image_size=16", "seed=3")
    done = train("data=hdf5", f"data.path={path}", "run.dir=r", *words, f"model.components_from={components_from}")
    assert done.code == 0, done.err
    run = tmp_path / "r"
    scree = pd.read_csv(run / "scree.csv")
    assert scree["component"].tolist() == list(range(1, 85))
    assert (scree["explained_variance_ratio"].diff().dropna() <= 1e-9).all()
    assert scree["explained_variance_ratio"].sum() <= 1 + 1e-6
    with np.load(run / "checkpoints" / "pca.npz", allow_pickle=False) as arrays:
        assert arrays["components"].shape == (5, 768)
        assert arrays["class_names"].tolist() == ["Spiral", "Round", "Edge-on"]
    assert len(pd.read_parquet(run / "predictions" / "train.parquet")) == 84
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [0]
    for name in ("scree", "components", "confusion_train_by_row", "confusion_val_by_row", "confusion_test_by_row"):
        assert (run / "figures" / f"{name}.png").is_file(), name
    metrics = json.loads((run / "status.json").read_text())["metrics"]
    assert pd.read_csv(run / "metrics.csv")["val/accuracy"].tolist() == [metrics["val/accuracy"]]
    assert done.result["train/accuracy"] == metrics["train/accuracy"]
    judged = galaxy10("evaluate", run, path, "-o", tmp_path / "judged")
    assert judged.code == 0, judged.err
    for key in ("test/accuracy", "test/loss", "test/macro_f1"):
        assert judged.result[key] == done.result[key], key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augment=affine"], "has no use for augment; type augment=none"),
        (["optimizer=sgd"], "has no use for optimizer; type optimizer=none"),
        (["scheduler=step"], "has no use for scheduler; type scheduler=none"),
        (["trainer.accelerator=cpu", "trainer.devices=2"], "is solved by one process"),
        (["model.pretrained=true"], "no pretrained weights"),
    ],
)
def test_what_it_cannot_do_is_refused(words, message, train):
    done = train("data=simulated", "model=pca_logreg", *words)
    assert done.code == 2
    assert message in done.message
