"""PCA and logistic regression: the numbers scikit-learn gives on a matrix that fits, without ever holding it."""

import json
from types import SimpleNamespace

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
from galaxy10.models.solved_once import training_limit
from tests.galaxies import write_galaxies

NAMES = ("a", "b", "c")


@pytest.fixture
def data(tmp_path):
    source = open_source(write_galaxies(tmp_path / "g.h5", per_class=150, size=(16, 16)))
    store = open_store(source, tmp_path)
    return GalaxyData.from_store(store, make_split(store.table, store.content, NAMES, protocol="baseline_80_20"), NAMES)


def classifier(num_classes=3, **changes):
    preprocessing = Preprocessing(16, [0.1, 0.1, 0.1], [0.2, 0.2, 0.2])
    options = {"num_components": 4, "scree_components": 8, "tta_views": 1, **changes}
    return PCAClassifier(image_size=16, class_names=NAMES[:num_classes], preprocessing=preprocessing, **options)


@torch.inference_mode()
def probabilities(module, data, rows):
    """(n, C) of rows of the store."""
    return module.probabilities(module.preprocessing.eval_transform(torch.from_numpy(data.store.images[rows]))).numpy()


def matrix(data, subset):
    """All galaxies of a subset as the model sees them, (n, D): what the model itself never holds."""
    images = torch.from_numpy(data.store.images[data.split.rows(subset)])
    return classifier().preprocessing.eval_transform(images).flatten(1).double().numpy()


@pytest.mark.parametrize("standardize", [True, False])
def test_it_agrees_with_scikit_learn_on_the_whole_matrix(data, standardize):
    # Two components, which carry the classes. The rest is white noise, of which any basis is as good as another.
    module = classifier(standardize=standardize, num_components=2)
    found, converged = module.fit(data, data.split.rows("train"), data.labels("train"))
    train, test = matrix(data, "train"), matrix(data, "test")
    pca = PCA(8, svd_solver="full").fit(train)
    assert converged
    assert found.explained_variance_ratio[:2] == pytest.approx(pca.explained_variance_ratio_[:2], rel=0.01)
    overlap = np.abs(np.sum(found.components[:2] * pca.components_[:2], axis=1))
    assert (overlap > 0.999).all()
    scaler = StandardScaler(with_mean=standardize, with_std=standardize)
    scaler.fit(pca.transform(train)[:, :2])
    regression = LogisticRegression(max_iter=1000)
    regression.fit(scaler.transform(pca.transform(train)[:, :2]), data.labels("train"))
    expected = regression.predict_proba(scaler.transform(pca.transform(test)[:, :2]))
    found = probabilities(module, data, data.split.rows("test"))
    assert np.abs(found - expected).max() < 0.005
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_two_classes_and_absent_classes(data):
    labels = data.labels("train")
    for present in ([0, 1], [0, 2], [1, 2]):
        module = classifier()
        chosen = np.isin(labels, present)
        module.fit(data, data.split.rows("train")[chosen], labels[chosen])
        predicted = probabilities(module, data, data.split.rows("train")[chosen]).argmax(1)
        assert set(predicted) == set(present)
        assert (predicted == labels[chosen]).mean() > 0.9


def test_one_class_alone_is_always_predicted(data):
    labels = data.labels("train")
    module = classifier()
    module.fit(data, data.split.rows("train")[labels == 1], labels[labels == 1])
    assert (probabilities(module, data, data.split.rows("test"))[:, 1] > 0.999).all()


def test_a_few_galaxies_give_as_many_components_as_they_can(data):
    few = np.random.default_rng(0).permutation(len(data.split.rows("train")))[:10]
    rows, labels = data.split.rows("train")[few], data.labels("train")[few]
    module = classifier(num_components=30)
    found, _ = module.fit(data, rows, labels)
    assert len(found.components) == 10
    found = probabilities(module, data, rows)
    assert np.isfinite(found).all()
    assert (found.argmax(1) == labels).all()


def test_components_of_each_subset_are_that_subsets_own_while_it_is_scored(data):
    for components_from in ("each_subset", "train"):
        module = classifier(components_from=components_from)
        module.fit(data, data.split.rows("train"), data.labels("train"))
        module._trainer = SimpleNamespace(datamodule=data)
        before = module.network.components.detach().clone()
        module.on_test_start()
        if components_from == "each_subset":
            assert not torch.allclose(before, module.network.components)
            mean = matrix(data, "test").mean(axis=0)
            assert np.allclose(module.network.mean.detach().numpy(), mean, atol=1e-4)
        else:
            assert torch.equal(before, module.network.components)
        module.on_test_end()
        assert torch.equal(before, module.network.components)


@pytest.mark.parametrize(("batches", "expected"), [(3, 24), (1, 8), (12, 100), (float("inf"), 100)])
def test_lightnings_limits_limit_the_images(batches, expected):
    assert training_limit(batches, all_batches=12, batch_size=8, num_rows=100) == expected


@pytest.mark.long
@pytest.mark.parametrize("components_from", ["train", "each_subset"])
def test_a_run_is_complete_and_evaluate_finds_its_numbers(components_from, train, galaxy10, tmp_path):
    path = write_galaxies(tmp_path / "g.h5", names=["Spiral", "Round", "Edge-on"], per_class=40)
    words = ("model=pca_logreg", "model.num_components=5", "model.image_size=16", "seed=3", "logger=csv")
    drawn = components_from == "train"
    words = (*words, f"model.components_from={components_from}", f"run.report={str(drawn).lower()}")
    done = train("data=hdf5", f"data.path={path}", "run.dir=r", *words)
    assert done.code == 0, done.err
    run = tmp_path / "r"
    scree = pd.read_csv(run / "scree.csv")
    assert scree["component"].tolist() == list(range(1, 85))
    assert (scree["explained_variance_ratio"].diff().dropna() <= 1e-9).all()
    assert scree["explained_variance_ratio"].sum() <= 1 + 1e-6
    with np.load(run / "checkpoints" / "pca.npz", allow_pickle=False) as arrays:
        assert arrays["components"].shape == (5, 768)
        assert arrays["class_names"].tolist() == ["Spiral", "Round", "Edge-on"]
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [0]
    for name in ("scree", "components", "confusion_val_by_row", "confusion_test_by_row"):
        assert (run / "figures" / f"{name}.png").is_file() == drawn, name
    metrics = json.loads((run / "status.json").read_text())["metrics"]
    assert pd.read_csv(run / "metrics.csv")["val/accuracy"].tolist() == [metrics["val/accuracy"]]
    assert pd.read_csv(run / "metrics.csv")["train/accuracy"].item() > 0.5
    evaluated = galaxy10("evaluate", run, path, "-o", tmp_path / "evaluated")
    assert evaluated.code == 0, evaluated.err
    for key in ("test/accuracy", "test/loss", "test/macro_f1"):
        assert evaluated.result[key] == done.result[key], key


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["augment=affine"], "does not use augment; type augment=none"),
        (["optimizer=sgd"], "does not use optimizer; type optimizer=none"),
        (["scheduler=step"], "does not use scheduler; type scheduler=none"),
        (["model.pretrained=true"], "no pretrained weights"),
    ],
)
def test_what_it_cannot_do_is_refused(words, message, here):
    done = here("train.py", "data=simulated", "model=pca_logreg", *words)
    assert done.code == 2
    assert message in done.message
