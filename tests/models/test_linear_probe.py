"""The linear probe: scikit-learn's numbers on the frozen network's features, which are computed once and kept."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from galaxy10.data.augment import Preprocessing
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.hdf5 import open_source
from galaxy10.data.split import make_split
from galaxy10.data.store import open_store
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.models import LinearProbe, feature_cache, linear_probe
from galaxy10.models.features import FeatureHook
from galaxy10.runs.signals import Interrupted
from tests.galaxies import write_galaxies

NAMES = ("a", "b", "c")


@pytest.fixture
def data(tmp_path):
    source = open_source(write_galaxies(tmp_path / "g.h5", per_class=60))
    store = open_store(source, tmp_path)
    return GalaxyData.from_store(store, make_split(store.table, store.content, NAMES), NAMES)


def probe(seed=0, **changes):
    """A probe whose frozen network has the random weights of a seed; the new last layer differs each time."""
    options = {
        "class_names": NAMES,
        "preprocessing": Preprocessing(32, [0.1] * 3, [0.2] * 3),
        "tta_views": 1,
        **changes,
    }
    torch.manual_seed(seed)
    module = LinearProbe("test_resnet", **options)
    torch.nn.init.normal_(module.classifier.weight, std=np.random.default_rng().uniform(0.1, 1))
    return module


def kept(data):
    return sorted(data.store.path.parent.glob("*.features-*.npy"))


@torch.inference_mode()
def by_the_network(module, data, rows):
    """Features (n, D) and probabilities (n, C) of rows, computed by the network itself."""
    module.eval()
    hook = FeatureHook(module.network, 3)
    inputs = module.preprocessing.eval_transform(torch.from_numpy(data.store.images[rows]))
    probabilities = module.probabilities(inputs).numpy()
    hook.remove()
    return hook.features.numpy(), probabilities


def test_it_agrees_with_scikit_learn_on_standardised_features(data):
    module, rows, labels = probe(C=0.1), data.split.rows("train"), data.labels("train")
    table = module.solve(module.read_features(data), data, rows, labels)
    assert table[["C", "chosen"]].to_numpy().tolist() == [[0.1, True]]
    features, _ = by_the_network(module, data, rows)
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(features), labels)
    test, found = by_the_network(module, data, data.split.rows("test"))
    assert np.abs(found - regression.predict_proba(scaler.transform(test))).max() < 0.005
    assert (found.argmax(1) == data.labels("test")).mean() > 0.9


def test_the_features_are_computed_once_for_one_network_and_one_file(data, monkeypatch):
    (first,) = probe().read_features(data)
    rows = np.arange(len(data.store))
    assert np.allclose(first, by_the_network(probe(), data, rows)[0], atol=1e-5)
    monkeypatch.setattr(LinearProbe, "forward", lambda *_: pytest.fail("the features were computed again"))
    assert np.array_equal(probe().read_features(data)[0], first)
    another_split = Preprocessing(32, [0.1] * 3, [0.2] * 3, noise_sigma=[0.3] * 3)  # σ is of the training images
    assert np.array_equal(probe(preprocessing=another_split).read_features(data)[0], first)
    assert len(kept(data)) == 1
    monkeypatch.undo()
    for other in (probe(seed=1), probe(preprocessing=Preprocessing(48, [0.1] * 3, [0.2] * 3))):
        assert not np.allclose(other.read_features(data)[0], first, atol=1e-3)
    assert len(kept(data)) == 3


def test_a_killed_process_loses_one_part_of_the_features(data, monkeypatch):
    monkeypatch.setattr(feature_cache, "PART", 50)
    monkeypatch.setattr(feature_cache, "BATCH", 25)
    forward, calls = LinearProbe.forward, []

    def counted(self, inputs):
        calls.append(len(inputs))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(self, inputs)

    monkeypatch.setattr(LinearProbe, "forward", counted)
    with pytest.raises(KeyboardInterrupt):
        probe().read_features(data)
    assert not kept(data)
    (features,) = probe().read_features(data)
    assert calls == [25, 25, 25, 25, *[25] * 5, 5]  # the second part again, and no more
    assert not list(data.store.path.parent.glob("*.parts"))
    monkeypatch.undo()
    assert np.allclose(features, by_the_network(probe(), data, np.arange(180))[0], atol=1e-5)


def test_a_signal_stops_it_between_two_batches_of_features(data, monkeypatch):
    monkeypatch.setattr(feature_cache, "PART", 64)
    stop = SimpleNamespace(signal_number=None)
    module, forward = probe(), LinearProbe.forward

    def signalled(self, inputs):
        stop.signal_number = 15
        return forward(self, inputs)

    monkeypatch.setattr(LinearProbe, "forward", signalled)
    module._trainer = SimpleNamespace(world_size=1, callbacks=[object(), stop])
    with pytest.raises(Interrupted):
        module.read_features(data)
    (parts,) = data.store.path.parent.glob("*.features-*.parts")
    assert [part.name for part in parts.iterdir()] == ["00000000.npy"]


def test_c_is_the_one_with_the_lowest_loss_on_the_validation_images(data):
    module = probe()
    features = np.array(module.read_features(data)[0])
    features += np.random.default_rng(0).normal(0, features.std(), features.shape).astype(np.float32)
    table = module.solve([features], data, data.split.rows("train"), data.labels("train"))
    assert table["C"].tolist() == list(linear_probe.GRID[: len(table)])
    assert table["chosen"].tolist() == (table["val_loss"] == table["val_loss"].min()).tolist()
    chosen = table.loc[table["chosen"], "C"].item()
    assert linear_probe.GRID[0] < chosen < linear_probe.GRID[-1]
    val = data.split.rows("val")
    logits = features[val] @ module.classifier.weight.detach().numpy().T + module.classifier.bias.detach().numpy()
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.tensor(data.labels("val")))
    assert loss.item() == pytest.approx(table["val_loss"].min(), abs=1e-4)


def test_batches_of_the_file_are_evaluated_from_the_kept_features_and_others_by_the_network(data):
    module = probe(C=0.01)
    module.solve(module.read_features(data), data, data.split.rows("train"), data.labels("train"))
    rows = data.split.rows("val").copy()
    _, expected = by_the_network(module, data, rows)
    inputs = module.preprocessing.eval_transform(torch.from_numpy(data.store.images[rows]))
    blank = {"inputs": torch.zeros_like(inputs), "rows": torch.from_numpy(rows)}
    module._trainer = SimpleNamespace(datamodule=data)
    with torch.inference_mode():
        assert np.allclose(module.batch_probabilities(blank, 1), expected, atol=1e-5)
        assert np.allclose(module.batch_probabilities({**blank, "inputs": inputs}, 1), expected, atol=1e-5)
        assert not np.allclose(module.batch_probabilities(blank, 2), expected, atol=1e-3)
        module._trainer = SimpleNamespace(datamodule=SimpleNamespace(store=data.store))  # another data module
        assert not np.allclose(module.batch_probabilities(blank, 1), expected, atol=1e-3)


def test_all_views_of_training_images_are_learned_and_those_of_others_averaged(data):
    module, rows, labels = probe(C=0.1, train_views=4, tta_views=4), data.split.rows("train"), data.labels("train")
    kept_views = module.read_features(data)
    assert len(kept(data)) == len(kept_views) == 4
    module.solve(kept_views, data, rows, labels)
    views = np.concatenate([np.array(features[rows]) for features in kept_views])
    scaler = StandardScaler().fit(views)
    regression = LogisticRegression(C=0.1, max_iter=1000)
    regression.fit(scaler.transform(views), np.tile(labels, 4), sample_weight=np.full(len(views), 0.25))
    test = data.split.rows("test").copy()
    expected = np.mean([regression.predict_proba(scaler.transform(np.array(f[test]))) for f in kept_views], axis=0)
    inputs = module.preprocessing.eval_transform(torch.from_numpy(data.store.images[test]))
    module._trainer = SimpleNamespace(datamodule=data)
    with torch.inference_mode():
        blank = {"inputs": torch.zeros_like(inputs), "rows": torch.from_numpy(test)}
        assert np.abs(module.batch_probabilities(blank, 4).numpy() - expected).max() < 0.005
        by_network = module.eval()._averaged(inputs, 4)
        assert np.allclose(module.batch_probabilities(blank, 4), by_network, atol=1e-5)


def test_what_it_cannot_do_is_said(data, tmp_path, here):
    with pytest.raises(Galaxy10Error, match=r"type model.freeze=backbone, or model=timm model.backbone=test_resnet"):
        probe(freeze="none")
    with pytest.raises(Galaxy10Error, match="does not end in one linear layer"):
        LinearProbe("deit_tiny_distilled_patch16_224", class_names=NAMES)  # it has two
    module = probe()
    data.split.table.loc[data.split.table["subset"] == "val", "subset"] = "test"
    with pytest.raises(TrainingError, match=r"no validation images to choose model.C on; type model.C"):
        module.solve(module.read_features(data), data, data.split.rows("train"), data.labels("train"))
    kept(data)[0].write_bytes(b"no array")
    with pytest.raises(Galaxy10Error, match=r"is damaged .*; delete it, and it is made again"):
        module.read_features(data)
    done = here("train.py", "data=simulated", "model=linear_probe", "augment=affine")
    assert (done.code, "does not use augment; type augment=none" in done.message) == (2, True)


TINY = ("model=linear_probe", "model.backbone=test_resnet", "model.pretrained=false", "model.image_size=32")


@pytest.mark.long
def test_a_run_is_complete_and_evaluate_finds_its_numbers(train, galaxy10, tmp_path):
    path = write_galaxies(tmp_path / "g.h5", names=["Spiral", "Round", "Edge-on"], per_class=40)
    words = ("data=hdf5", f"data.path={path}", *TINY, "logger=csv", "run.report=false", "trainer.max_epochs=1")
    done = train(*words, "run.dir=r")
    assert done.code == 0, done.err
    run = tmp_path / "r"
    table = pd.read_csv(run / "regularization.csv")
    assert table["chosen"].sum() == 1
    assert len(list(tmp_path.glob("g-*.features-*.npy"))) == 1
    metrics = json.loads((run / "status.json").read_text())["metrics"]
    assert metrics["val/loss"] == pytest.approx(table["val_loss"].min(), abs=1e-4)
    assert metrics["test/accuracy"] > 0.8
    evaluated = galaxy10("evaluate", run, path, "-o", tmp_path / "evaluated")  # by the network in the checkpoint
    assert evaluated.code == 0, evaluated.err
    for key in ("test/accuracy", "test/loss", "test/macro_f1"):
        assert evaluated.result[key] == pytest.approx(done.result[key], abs=1e-5), key


@pytest.mark.long
@pytest.mark.slow
def test_everything_works_on_its_run_as_on_any(train, galaxy10, tmp_path):
    path = write_galaxies(tmp_path / "g.h5", names=["Spiral", "Round", "Edge-on"], per_class=40)
    done = train("data=hdf5", f"data.path={path}", *TINY, "logger=csv", "run.dir=r", "trainer.max_epochs=1")
    assert done.code == 0, done.err
    assert (tmp_path / "r/report.html").is_file()
    for words in (
        ("report", "r"),
        ("predict", "r", path, "-o", "cat.parquet"),
        ("embed", "r", path, "-o", "embeddings"),
        ("uncertainty", "r", path, "-o", "uncertainty"),
        ("export", "r", "-o", "model.pt2"),
    ):
        finished = galaxy10(*words)
        assert finished.code == 0, finished.err
