"""Calibration, prediction sets, dropout and the out-of-distribution score do what they say."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

import galaxy10
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.prediction.calibrate import calibrate_run
from galaxy10.prediction.calibration import calibrate
from galaxy10.prediction.conformal import prediction_set_mask
from galaxy10.prediction.label_smoothing import remove_label_smoothing, trained_label_smoothing
from galaxy10.prediction.ood import KNNDetector
from galaxy10.prediction.prediction_columns import entropy, prediction_columns
from galaxy10.prediction.temperature import apply_temperature
from tests.conftest import copy_of
from tests.galaxies import galaxy


def answers(number: int, sharpness: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) as true as can be, and labels drawn from them; then made sharper than they should be."""
    logits = rng.normal(0, 2, (number, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((number, 1))).argmax(axis=1)
    return apply_temperature(true, 1 / sharpness), labels


def test_the_temperature_undoes_what_made_probabilities_too_sharp():
    sharp, labels = answers(4000, 2.0, np.random.default_rng(0))
    found = calibrate(sharp[None], labels)
    assert found.temperature == pytest.approx(2, rel=0.1)
    assert found.loss[1] < found.loss[0]
    assert found.calibration_error[1] < 0.03 < found.calibration_error[0]
    assert calibrate(np.eye(4)[None, [0, 1, 2] * 4] * 0.9 + 0.025, np.array([0, 1, 2] * 4)).temperature > 0.2


def test_label_smoothing_is_taken_back_before_the_temperature():
    true, labels = answers(4000, 1.0, np.random.default_rng(0))
    smoothed = (0.9 * true + 0.1 / 4)[None]
    found = calibrate(smoothed, labels, label_smoothing=0.1)
    assert found.label_smoothing_removed == 0.1
    assert found.temperature == pytest.approx(1, abs=0.05)
    assert np.allclose(found.apply(smoothed)[0], apply_temperature(true, found.temperature), atol=0.02)
    one_temperature = calibrate(smoothed, labels)
    assert found.loss[1] < one_temperature.loss[1]
    assert found.calibration_error[1] < 0.7 * one_temperature.calibration_error[1]
    assert np.array_equal(found.without_temperature().apply(smoothed), smoothed)
    # A network that has not learned the smoothing keeps its probabilities.
    assert calibrate(true[None], labels, label_smoothing=0.1).label_smoothing_removed == 0


def test_taking_label_smoothing_back_keeps_the_order_of_the_classes():
    samples = np.random.default_rng(3).dirichlet(np.full(10, 0.3), 500)[None].astype(np.float32)
    found = remove_label_smoothing(samples, 0.2)
    assert found.dtype == np.float32
    assert np.allclose(found.sum(axis=-1), 1, atol=1e-6)
    order = samples.argsort(axis=-1)
    assert (np.diff(np.take_along_axis(found, order, axis=-1)) >= 0).all()
    assert remove_label_smoothing(samples, 0) is samples


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.99])
def test_prediction_sets_contain_the_true_class_with_the_requested_coverage(coverage):
    rng = np.random.default_rng(1)
    held = []
    for _ in range(60):
        probabilities, labels = answers(700, 2.0, rng)
        found = calibrate(probabilities[None, :200], labels[:200])
        thresholds = found.thresholds(coverage)
        inside = prediction_set_mask(apply_temperature(probabilities[200:], found.temperature), thresholds)
        held.append(inside[np.arange(500), labels[200:]].mean())
    assert np.mean(held) == pytest.approx(coverage, abs=0.012)
    tiny = calibrate(probabilities[None, :5], labels[:5])
    assert prediction_set_mask(probabilities, tiny.thresholds(0.9)).all()  # too few to rule anything out


def test_entropy_is_the_sum_of_two_parts():
    certain, torn = np.array([0.98, 0.01, 0.01]), np.array([1 / 3] * 3)
    samples = np.array([[certain, torn, certain], [certain[::-1], torn, certain]], dtype=np.float32)
    names = ["Spiral", "Ring", "Edge-on"]
    table = prediction_columns(samples, (np.zeros(3), np.zeros(3)), names, np.full(3, 0.7)).to_pandas()
    disagree, alike, sure = table["mutual_information"]
    assert disagree > 0.5
    assert alike == pytest.approx(0, abs=1e-6)
    assert sure == pytest.approx(0, abs=1e-6)
    assert table["entropy"][1] == pytest.approx(np.log(3), abs=1e-6)
    data = entropy(samples.astype(float)).mean(axis=0)
    assert np.allclose(table["entropy"] - table["mutual_information"], data, atol=1e-6)
    sets = [list(names) for names in table["prediction_set"]]
    assert sets == [["Spiral", "Edge-on"], ["Spiral", "Ring", "Edge-on"], ["Spiral"]]


def test_training_has_calibrated_its_run(run):
    known = json.loads((run / "calibration.json").read_text())["modes"]
    assert set(known) >= {"views=2"}
    assert sum(map(len, known["views=2"]["conformal_scores"])) == 12
    table = pd.read_parquet(run / "predictions/val.parquet")
    loss = json.loads((run / "status.json").read_text())["metrics"]["val/loss"]
    assert known["views=2"]["loss"][0] == pytest.approx(loss, abs=1e-6)
    again = calibrate(table.filter(like="p_").to_numpy()[None], table["label"].to_numpy())
    assert again.temperature == known["views=2"]["temperature"]


def test_the_label_smoothing_of_the_runs_loss_is_taken_back(run, tmp_path):
    assert trained_label_smoothing(run) == 0
    smoothed = copy_of(run, tmp_path / "smoothed")
    config = yaml.safe_load((smoothed / "config.yaml").read_text())
    config["loss"]["label_smoothing"] = 0.2
    (smoothed / "config.yaml").write_text(yaml.safe_dump(config))
    table, columns = pd.read_parquet(smoothed / "predictions/val.parquet"), ["p_spiral", "p_in_between", "p_edge_on"]
    labels = table["label"].to_numpy()
    table[columns] = 0.8 * np.eye(3, dtype=np.float32)[labels] + np.float32(0.2 / 3)
    table.to_parquet(smoothed / "predictions/val.parquet")
    _, found = calibrate_run(smoothed, None, 0, "cpu")
    assert found.label_smoothing_removed == 0.2
    saved = read_json(smoothed / "calibration.json")["modes"]["views=2"]
    assert saved["label_smoothing_removed"] == 0.2
    classifier = galaxy10.load(smoothed)
    images = np.stack([galaxy(seed) for seed in range(4)])
    plain = galaxy10.load(smoothed, temperature=False).probabilities(images)
    expected = apply_temperature(remove_label_smoothing(plain, 0.2), found.temperature)
    assert np.allclose(classifier.probabilities(images), expected, atol=1e-6)
    assert classifier._predictor.record()["label_smoothing_removed"] == 0.2
    config["loss"]["_target_"] = "galaxy10.models.losses.LogitAdjusted"  # spreads it in other shares
    (smoothed / "config.yaml").write_text(yaml.safe_dump(config))
    assert trained_label_smoothing(smoothed) == 0


def test_a_run_of_an_older_version_is_calibrated_again_without_its_training_file(run, tmp_path):
    old = copy_of(run, tmp_path / "old")
    calibration = read_json(old / "calibration.json")
    write_json(old / "calibration.json", {k: v for k, v in calibration.items() if k != "format"})
    about = read_json(old / "provenance.json")
    about["data"]["path"] = str(tmp_path / "gone.h5")
    write_json(old / "provenance.json", about)
    with pytest.raises(Galaxy10Error, match=r"another version of galaxy10.*; type galaxy10 calibrate .*old"):
        galaxy10.load(old)
    _, again = calibrate_run(old, None, 0, "cpu")
    assert again.conformal_scores == calibration["modes"]["views=2"]["conformal_scores"]
    assert (old / "validation_features.npz").read_bytes() == (run / "validation_features.npz").read_bytes()
    with pytest.raises(Galaxy10Error, match="does not exist any more; restore it"):
        calibrate_run(old, 1, 0, "cpu")


def test_dropout_draws_depend_only_on_the_image(run):
    images = np.stack([galaxy(seed) for seed in range(10)])
    options = {"mc_dropout": 5, "temperature": False}
    whole = galaxy10.load(run, **options).predict(images)
    assert (whole["mutual_information"] > 0).all()
    turned = galaxy10.load(run, batch_size=3, **options).predict(images[::-1])[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(whole, turned, rtol=1e-4)
    once = galaxy10.load(run, temperature=False).predict(images)
    assert not np.allclose(once["p_spiral"], whole["p_spiral"], atol=1e-6)


def test_many_dropout_samples_have_the_mean_they_should(run):
    """Each drawn mask drops with the layer's probability: by hand, on the last hidden layer of the baseline's CNN."""
    from galaxy10.prediction.mc_dropout import DeterministicMCDropout

    keys = torch.arange(400)
    layer, inputs = torch.nn.Dropout(0.25).eval(), torch.ones(400, 64)
    with DeterministicMCDropout(keys, 10) as mode:
        first, second = layer(inputs), None
        second = layer(first)
    assert first.shape == (4000, 64)
    assert mode.layers == 2
    assert (first == 0).float().mean() == pytest.approx(0.25, abs=0.005)
    assert first.mean() == pytest.approx(1, abs=0.01)
    assert (second == 0).float().mean() == pytest.approx(1 - 0.75**2, abs=0.005)
    assert torch.equal(layer(inputs), inputs)


@pytest.mark.long
def test_an_ensemble_is_calibrated_from_its_members_tables(trained, tmp_path):
    runs = [trained(0), trained(1)]
    images = [galaxy(seed, (40, 50)) for seed in range(4)]
    both = galaxy10.load(*runs).predict(images)
    single = [galaxy10.load(run, temperature=False).probabilities(images) for run in runs]
    tables = [pd.read_parquet(run / "predictions/val.parquet") for run in runs]
    samples = np.stack([table.filter(like="p_").to_numpy() for table in tables])
    temperature = calibrate(samples, tables[0]["label"].to_numpy()).temperature
    expected = np.mean([apply_temperature(p, temperature) for p in single], axis=0)
    assert np.allclose(both.filter(like="p_"), expected, atol=1e-5)
    assert (both["mutual_information"] > 0).all()


def test_out_of_distribution_images_score_above_one():
    rng = np.random.default_rng(0)
    near = torch.tensor(rng.normal(0, 0.1, (200, 8)) + 1, dtype=torch.float32)
    reference = KNNDetector.fit(near[:150])
    assert (reference.score(near[150:]) < 1).mean() > 0.9
    assert (reference.score(torch.tensor(rng.normal(0, 1, (50, 8)), dtype=torch.float32)) > 1).mean() > 0.95


class Largest(TorchDispatchMode):
    """Notes the most numbers that one tensor held."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        found = function(*arguments, **(keywords or {}))
        for value in found if isinstance(found, tuple) else (found,):
            self.numbers = max(self.numbers, value.numel() if isinstance(value, torch.Tensor) else 0)
        return found


def test_ood_scores_need_memory_for_a_block_of_distances_and_not_for_all():
    features = torch.tensor(np.random.default_rng(0).normal(0, 1, (2100, 4)), dtype=torch.float32)
    with Largest() as largest:
        reference = KNNDetector.fit(features)
        scores = reference.score(features)
    assert largest.numbers <= 1024 * 2100
    unit = reference.features.astype(np.float64)
    distance = np.sqrt(np.maximum(2 - 2 * unit @ unit.T, 0))
    assert np.allclose(scores * reference.scale, np.sort(distance, axis=1)[:, 9], atol=1e-3)
    np.fill_diagonal(distance, np.inf)
    assert reference.scale == pytest.approx(np.quantile(np.sort(distance, axis=1)[:, 9], 0.99), abs=1e-3)


def test_python_says_what_is_wrong(run, tmp_path):
    classifier = galaxy10.load(run)
    assert classifier.class_names == ("Spiral", "In-between", "Edge-on")
    assert len(classifier.predict(galaxy())) == 1
    assert len(classifier.predict(np.zeros((0, 32, 32, 3), np.uint8))) == 0
    with pytest.raises(Galaxy10Error, match=r"image 1: 32×8 px"):
        classifier.predict([galaxy(), galaxy(0, (8, 32))])
    with pytest.raises(Galaxy10Error, match="is no run directory"):
        galaxy10.load(tmp_path)
    with pytest.raises(Galaxy10Error, match=r"not calibrated for views=1; type galaxy10 calibrate .* --tta-views 1"):
        galaxy10.load(run, tta_views=1)
