"""A run as one file: the same answers without this project."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import galaxy10
from galaxy10.data.augment import Preprocessing
from galaxy10.data.image_geometry import center_square, resize, to_nchw
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json, write_json
from galaxy10.models import Classifier
from galaxy10.prediction import export as exporting
from galaxy10.prediction.ensemble import Ensemble
from galaxy10.prediction.export import export, resize_uint8
from galaxy10.prediction.mode import PredictMode
from tests.conftest import ROOT, copy_of
from tests.galaxies import galaxy

SIZES = ((32, 32), (33, 60), (128, 100), (16, 16))


@pytest.mark.long
@pytest.mark.slow
def test_onnx_says_what_the_run_says_with_onnxruntime_alone(run, galaxy10, tmp_path):
    done = galaxy10("export", run, "-o", "model.onnx")
    assert done.code == 0, done.err
    assert done.out.strip() == "model.onnx"
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == ["Spiral", "In-between", "Edge-on"]
    expected = load(run)
    for size in SIZES:
        images = np.stack([galaxy(seed, size) for seed in range(3)])
        (found,) = session.run(["probabilities"], {"images": images})
        assert np.abs(found - expected.probabilities(images)).max() < 1e-4
    Image.fromarray(galaxy(1)).save(tmp_path / "g.png")
    # -S -I and a path to site-packages alone: galaxy10 itself, an editable install, cannot be imported.
    code = f"import sys; sys.path.append({os.path.dirname(np.__path__[0])!r}); sys.argv = sys.argv[1:]; import runpy; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__'); assert 'galaxy10' not in sys.modules"
    example = ROOT / "examples" / "classify_onnx.py"
    words = [sys.executable, "-I", "-S", "-c", code, example, tmp_path / "model.onnx", tmp_path / "g.png"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    path, name, probability = said.stdout.strip().split("\t")
    assert path.endswith("g.png")
    assert name == expected.predict(galaxy(1))["predicted_name"][0]
    assert float(probability) == pytest.approx(expected.probabilities(galaxy(1)).max(), abs=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_an_exported_program_says_the_same_and_a_false_copy_is_not_kept(run, tmp_path, monkeypatch):
    path, run = tmp_path / "model.pt2", copy_of(run, tmp_path / "run")
    calibration = read_json(run / "calibration.json")
    calibration["modes"]["views=2"]["label_smoothing_removed"] = 0.3
    write_json(run / "calibration.json", calibration)
    assert export(run, path, tta_views=None, temperature=True, overwrite=False) < 1e-4
    extra = {exporting.METADATA: ""}
    program = torch.export.load(path, extra_files=extra).module()
    metadata = json.loads(extra[exporting.METADATA])
    assert metadata["class_names"] == ["Spiral", "In-between", "Edge-on"]
    assert metadata["label_smoothing_removed"] == 0.3
    images = np.stack([galaxy(seed, (50, 40)) for seed in range(5)])
    found = program(torch.from_numpy(images)).detach().numpy()
    assert np.abs(found - load(run).probabilities(images)).max() < 1e-4
    before = path.read_bytes()
    with pytest.raises(Galaxy10Error, match="--overwrite"):
        export(run, path, tta_views=None, temperature=True, overwrite=False)
    monkeypatch.setattr(exporting, "resize_uint8", lambda *words: resize_uint8(*words).roll(3, 2))
    with pytest.raises(Galaxy10Error, match="does not predict"):
        export(run, path, tta_views=None, temperature=True, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt2", "run"]


@pytest.mark.long
@pytest.mark.slow
def test_the_engine_onnx_computes_without_torch(run):
    images = [galaxy(seed, (32, 32)) for seed in range(3)]
    expected = Ensemble([run])
    found = Ensemble([run], engine="onnx")
    for parameter in found.members[0].module.parameters():
        parameter.data.zero_()  # the graph has weights of its own
    ours, theirs = (e.predict([e.prepare(image) for image in images]) for e in (found, expected))
    assert np.abs(ours.samples - theirs.samples).max() < 1e-5
    assert np.allclose(ours.ood_score, theirs.ood_score, atol=1e-4)


@pytest.mark.parametrize("size", [8, 32, 50, 84, 299])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (61, 40), (20, 200), (16, 17), (256, 256)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_resize_as_a_product_of_matrices_is_torchs_own_to_the_last_bit(size, height, width, interpolation):
    images = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    images[0] = (images[0] > 127) * 255  # between black and white, a cubic overshoots
    expected = to_nchw(resize(center_square(images), size, interpolation))
    assert torch.equal(resize_uint8(to_nchw(images), size, interpolation).to(torch.uint8), expected)


def test_an_export_resizes_as_its_network_was_trained():
    images = torch.from_numpy(np.stack([galaxy(seed, (50, 40)) for seed in range(3)]))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 3))
    found = {}
    for interpolation in ("bilinear", "bicubic"):
        preprocessing = Preprocessing(24, [0.2] * 3, [0.1] * 3, interpolation=interpolation)
        module = Classifier(network, num_classes=3, preprocessing=preprocessing)
        copy = exporting.ExportModule(SimpleNamespace(module=module, mode=PredictMode(1)), None)
        found[interpolation] = copy(images)
        expected = module.probabilities(preprocessing.eval_transform(images))
        assert torch.allclose(found[interpolation], expected, atol=1e-5)
    assert not torch.allclose(found["bilinear"], found["bicubic"], atol=1e-3)


load = galaxy10.load
