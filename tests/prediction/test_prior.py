"""Class priors after training: probabilities, prediction sets and options for another mix of classes."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import galaxy10
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.models import Classifier
from galaxy10.prediction.calibrate import calibrate_run
from galaxy10.prediction.calibration import calibrate, calibrate_priors
from galaxy10.prediction.calibration_file import Calibration
from galaxy10.prediction.conformal import prediction_set_mask
from galaxy10.prediction.export import ExportModule
from galaxy10.prediction.mode import PredictMode
from galaxy10.prediction.prior import PRIORS, ClassShares, class_shares, offsets_of, shift_prior
from galaxy10.prediction.temperature import apply_temperature
from tests.conftest import copy_of
from tests.galaxies import galaxy

SHARES = ClassShares.of_counts(trained=[40, 35, 25], natural=[80, 16, 4])


def population(number: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Perfect posteriors (1, N, 3) of a network trained on SHARES.trained, and labels in their natural shares."""
    labels = rng.choice(3, number, p=SHARES.natural)
    features = rng.normal(0, 1, number) + 1.3 * labels
    likelihood = np.exp(-0.5 * (features[:, None] - 1.3 * np.arange(3)) ** 2)
    posterior = likelihood * SHARES.trained
    return (posterior / posterior.sum(axis=1, keepdims=True))[None], labels


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    hits = np.bincount(labels[predicted == labels], minlength=3)
    return float((2 * hits / (np.bincount(labels, minlength=3) + np.bincount(predicted, minlength=3))).mean())


def test_a_shifted_posterior_is_that_of_a_network_trained_on_the_other_shares():
    likelihood = np.random.default_rng(0).uniform(0.01, 1, (50, 3))

    def posterior(prior):
        return likelihood * prior / (likelihood * prior).sum(axis=1, keepdims=True)

    trained = posterior(SHARES.trained)[None]
    for strength, target in ((0.0, SHARES.natural), (1.0, np.ones(3)), (0.5, SHARES.natural**0.5)):
        assert np.allclose(shift_prior(trained, offsets_of([SHARES], strength))[0], posterior(target), atol=1e-5)
    assert shift_prior(trained, None) is trained
    absent = ClassShares.of_counts(trained=[10, 0, 30], natural=[5, 0, 30])
    assert np.isfinite(absent.log_offsets(1.0)).all()


def test_natural_is_most_accurate_uniform_is_fair_and_fitted_has_the_better_macro_f1():
    rng = np.random.default_rng(0)
    validation, labels = population(600, rng)
    others, truth = population(20_000, rng)
    found = calibrate_priors(validation, labels, SHARES)
    assert tuple(found) == PRIORS
    predicted = {prior: c.apply(others)[0].argmax(axis=1) for prior, c in found.items()}
    accuracy = {prior: (p == truth).mean() for prior, p in predicted.items()}
    score = {prior: macro_f1(p, truth) for prior, p in predicted.items()}
    recall = {prior: np.mean([(p[truth == k] == k).mean() for k in range(3)]) for prior, p in predicted.items()}
    assert max(accuracy, key=accuracy.get) == "natural"
    assert max(recall, key=recall.get) == "uniform"
    assert score["fitted"] > score["natural"] + 0.02
    assert score["fitted"] > score["uniform"]
    # With natural shares, the mean probability of a class is its share of these galaxies.
    mean = {prior: c.apply(others)[0].mean(axis=0) for prior, c in found.items()}
    assert np.allclose(mean["natural"], SHARES.natural, atol=0.02)
    assert np.abs(mean["none"] - SHARES.natural).max() > 0.1
    assert found["natural"].temperature == pytest.approx(1, abs=0.15)  # these probabilities are true
    assert calibrate(validation, labels, "fitted", [SHARES]) == found["fitted"]
    assert (found["natural"].prior_strength, found["uniform"].prior_strength) == ((0, 0), (1, 1))
    assert set(calibrate_priors(validation, labels, None)) == {"none"}


@pytest.mark.long
@pytest.mark.parametrize("prior", PRIORS)
def test_sets_cover_with_every_prior(prior):
    rng, held, of_rarest = np.random.default_rng(1), [], []
    for _ in range(40):
        probabilities, labels = population(900, rng)
        sharp = apply_temperature(probabilities, 0.6)
        found = calibrate(sharp[:, :400], labels[:400], prior, [SHARES])
        for per_class, kept in ((False, held), (True, of_rarest)):
            inside = prediction_set_mask(found.apply(sharp[:, 400:])[0], found.thresholds(0.8, per_class))
            covered = inside[np.arange(500), labels[400:]]
            kept.append(covered[labels[400:] == 2].mean() if per_class else covered.mean())
    assert np.mean(held) > 0.8 - 0.012
    assert np.mean(of_rarest) > 0.8 - 0.03


def test_without_a_temperature_the_prior_stays():
    sharp, labels = population(4000, np.random.default_rng(2))
    sharp = apply_temperature(sharp, 0.5)
    found = calibrate(sharp, labels, "uniform", [SHARES])
    assert found.temperature == pytest.approx(2, rel=0.15)
    plain = found.without_temperature()
    assert np.allclose(plain.apply(sharp), shift_prior(sharp, offsets_of([SHARES], 1.0)))
    assert plain.record("uniform")["prior_strength"] == 1
    assert set(calibrate(sharp, labels).record("none")) == {"temperature"}


def test_members_that_were_trained_on_other_shares_have_offsets_of_their_own():
    probabilities, labels = population(300, np.random.default_rng(3))
    even = shift_prior(probabilities, offsets_of([SHARES], 1.0))  # as if trained on equal classes
    equal = ClassShares.of_counts([1, 1, 1], [80, 16, 4])
    both = calibrate(np.concatenate([probabilities, even]), labels, "natural", [SHARES, equal])
    first, second = shift_prior(np.concatenate([probabilities, even]), both.log_offsets)
    assert np.allclose(first, second, atol=1e-5)


@pytest.fixture
def uneven(run, tmp_path):
    """A run that was trained on unequal classes, as it says."""
    copy = copy_of(run, tmp_path / "uneven")
    about = read_json(copy / "provenance.json")
    assert about["training"]["class_counts"] == {"natural": [28, 28, 28], "trained": [28, 28, 28]}
    about["training"]["class_counts"] = {"natural": [60, 20, 4], "trained": [60, 35, 16]}
    write_json(copy / "provenance.json", about)
    return copy


def test_a_run_answers_with_any_prior_and_its_record_says_which(uneven):
    mode, found = calibrate_run(uneven, None, 0, "cpu", "uniform")
    assert mode.key == "views=2 prior=uniform"
    modes = read_json(uneven / "calibration.json")["modes"]
    assert {"views=2", *(f"views=2 prior={prior}" for prior in PRIORS[1:])} <= set(modes)
    images = np.stack([galaxy(seed) for seed in range(6)])
    plain = galaxy10.load(uneven, temperature=False).probabilities(images).astype(np.float64)
    expected = apply_temperature(plain, found.temperature) / np.array([60, 35, 16])
    classifier = galaxy10.load(uneven, prior="uniform")
    table = classifier.predict(images)
    assert np.allclose(table.filter(like="p_"), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    assert (table["predicted"] == expected.argmax(axis=1)).all()
    assert all(name in found for name, found in zip(table["predicted_name"], table["prediction_set"], strict=True))
    assert classifier._predictor.record()["prior"] == "uniform"
    assert "prior" not in galaxy10.load(uneven)._predictor.record()


def test_a_prior_that_a_run_cannot_have_is_refused_in_one_line(uneven):
    with pytest.raises(
        Galaxy10Error, match=r"not calibrated for .* prior=natural; type galaxy10 calibrate .* natural$"
    ):
        galaxy10.load(uneven, tta_views=1, prior="natural")
    with pytest.raises(Galaxy10Error, match="--prior unifrom is unknown: did you mean uniform"):
        galaxy10.load(uneven, prior="unifrom")
    about = read_json(uneven / "provenance.json")
    for nonsense in ({"natural": [1, 2], "trained": [1, 2]}, {"natural": [-1, 2, 3], "trained": [0, 0, 0]}):
        write_json(uneven / "provenance.json", {**about, "training": {"class_counts": nonsense}})
        with pytest.raises(Galaxy10Error, match="does not record how many images of each class"):
            class_shares(uneven)
    del about["training"]["class_counts"]
    write_json(uneven / "provenance.json", about)
    # An older version's run has the numbers in another file.
    assert class_shares(uneven).trained == pytest.approx([1 / 3] * 3)
    config = (uneven / "config.yaml").read_text()
    (uneven / "config.yaml").write_text(config.replace("class_weights: null", "class_weights: balanced"))
    with pytest.raises(Galaxy10Error, match="does not record how many images of each class"):
        galaxy10.load(uneven, prior="natural")
    (uneven / "config.yaml").write_text(config)
    shutil.move(uneven / "class_distribution.csv", uneven / "gone.csv")
    with pytest.raises(Galaxy10Error, match="--prior fitted cannot be computed; leave out --prior, or train again"):
        calibrate_run(uneven, None, 0, "cpu", "fitted")


def test_an_export_has_the_prior_in_its_graph():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 3))
    preprocessing = Preprocessing(24, [0.2] * 3, [0.1] * 3)
    module = Classifier(network, num_classes=3, preprocessing=preprocessing)
    images = torch.from_numpy(np.stack([galaxy(seed) for seed in range(3)]))
    member = SimpleNamespace(module=module, mode=PredictMode(2))
    offsets = offsets_of([SHARES], 1.0)
    calibration = Calibration(1.5, [], [], (0, 0), (0, 0))
    plain = ExportModule(member, calibration)(images).detach().numpy()[None]
    shifted = ExportModule(member, replace(calibration, log_offsets=offsets))(images).detach().numpy()
    assert np.allclose(shifted, shift_prior(plain, offsets)[0], atol=1e-5)
    assert not np.allclose(shifted, plain[0], atol=1e-3)


@pytest.mark.slow
def test_evaluate_with_a_prior_measures_and_records_it(run, galaxy10, here, tmp_path):
    done = galaxy10("evaluate", run, run.parent / "g.h5", "-o", "e", "--prior", "fitted")
    assert done.code == 0, done.err
    prediction = read_json(tmp_path / "e/provenance.json")["prediction"]
    assert (prediction["prior"], prediction["modes"]) == ("fitted", ["views=2 prior=fitted"])
    assert 0 <= prediction["prior_strength"] <= 1.5
    table = pd.read_parquet(tmp_path / "e/predictions/test.parquet")
    assert done.result["test/accuracy"] == (table["predicted"] == table["label"]).mean()
    refused = here("galaxy10", "export", run, "-o", "m.onnx", "--prior", "even")
    assert (refused.code, "--prior even is unknown" in refused.message) == (2, True)
