"""The networks of conf/model that are timm's: names, weights, licences, sizes; networks with a table of positions."""

import json
import re

import pytest
import timm
import torch
import yaml
from hydra import compose, initialize_config_dir
from torch import nn

from galaxy10.config.compose import to_container
from galaxy10.config.paths import CONF
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error
from galaxy10.models.factory import build_classifier, load_classifier
from galaxy10.models.state_dicts import load_by_name
from galaxy10.models.timm_classifier import TimmClassifier
from galaxy10.models.timm_registry import MODEL_BACKBONES, MODEL_WEIGHTS, architecture_of, names_weights
from galaxy10.models.weights import download_weights, find_weights
from galaxy10.training.settings import check_values
from tests.conftest import ROOT
from tests.models.conftest import cache_on_hub, resnet
from tests.servers import refusing_address, serving

NAMES = ("a", "b", "c")
GALAXY_ZOO = "hf_hub:someone/encoder-resnet18"


def yaml_of(name):
    text = (CONF / "model" / f"{name}.yaml").read_text()
    return text.split("defaults:")[0], yaml.safe_load(text)


@pytest.mark.parametrize("name", MODEL_BACKBONES)
def test_a_models_header_says_what_timm_says_of_its_weights(name):
    head, model = yaml_of(name)
    for word in ("Weights:", "Input:", "Rate:", "Cost:"):
        assert f"# {word}" in head
    backbone = model["backbone"]
    known = timm.models.get_pretrained_cfg(backbone)
    assert f"{architecture_of(backbone)}.{known.tag}" in timm.list_models(pretrained=True)
    size = known.input_size[-1]
    assert f"# Input:   {size} px" in head
    assert f" GMACs at {size} px" in head
    assert model["default_image_size"] == size
    millions, gmacs = re.search(r"Cost:\s+([\d.]+) M parameters, ([\d.]+) GMACs", head).groups()
    assert f"| `{name}` | {millions} M | {gmacs} " in (ROOT / "docs" / "models.md").read_text()
    assert model.get("weights") == MODEL_WEIGHTS.get(name)
    if name in MODEL_WEIGHTS:
        assert f"# Weights: {MODEL_WEIGHTS[name]}, " in head
    else:
        assert f"# Weights: {architecture_of(backbone)}.{known.tag} " in head.replace(",", " ,")
        assert known.license in head.lower()


@pytest.mark.parametrize("name", MODEL_BACKBONES)
def test_a_model_composes_with_and_without_its_weights(name):
    rates = {}
    for pretrained in ("true", "false"):
        words = [f"model={name}", "data=simulated", "param_groups=layer_decay", f"model.pretrained={pretrained}"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = to_container(compose("train", overrides=words))
        check_values(config)
        assert not names_weights(config["model"])  # its own weights are no second choice beside pretrained=false
        rates = {"learning_rate": config["optimizer"]["lr"], "layer_decay": config["param_groups"]["decay"]}
    recommended = yaml_of(name)[1].get("recommended", {})
    assert rates["learning_rate"] == recommended.get("learning_rate", 5e-4)
    assert rates["layer_decay"] == recommended.get("layer_decay", 0.75)


@pytest.mark.long
@pytest.mark.parametrize("name", MODEL_BACKBONES)
def test_a_models_header_gives_its_cost(name):
    from torch.utils.flop_counter import FlopCounterMode

    head, model = yaml_of(name)
    millions, gmacs, size = re.search(r"Cost:\s+([\d.]+) M parameters, ([\d.]+) GMACs at (\d+) px", head).groups()
    with torch.device("meta"):
        network = timm.create_model(model["backbone"], num_classes=10).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, int(size), int(size)))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(float(millions), abs=0.05)
    assert counter.get_total_flops() / 2e9 == pytest.approx(float(gmacs), abs=0.005)


def built(backbone, image_size, statistics=((0.5,) * 3, (0.2,) * 3)):
    model = {"_target_": "galaxy10.models.TimmClassifier", "backbone": backbone, "image_size": image_size}
    return build_classifier(model, NAMES, 40, statistics)[0]


def test_a_transformer_takes_another_size_and_its_checkpoint_keeps_it(tmp_path):
    module = built("test_vit", 48)
    assert module.network.pos_embed.shape[1] == 9 + 1  # 160 px: 100 + 1
    assert built("test_vit", "auto").known_preprocessing.image_size == 160
    checkpoint = {"state_dict": module.state_dict()}
    module.describe_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "best.ckpt")
    again = load_classifier(tmp_path / "best.ckpt")
    assert again.known_preprocessing.image_size == 48
    inputs = torch.rand(2, 3, 48, 48)
    assert torch.equal(again(inputs), module.eval()(inputs))


def test_overlapping_patches_take_any_size():
    assert TimmClassifier("pvt_v2_b0", num_classes=4, image_size=72)(torch.zeros(1, 3, 72, 72)).shape == (1, 4)


@pytest.mark.parametrize("backbone", ["test_vit", "test_maxvit"])
def test_pretrained_tables_of_positions_are_interpolated(backbone):
    fixed = timm.models.get_pretrained_cfg(backbone).input_size[-1]
    torch.manual_seed(0)
    published = timm.create_model(backbone, num_classes=1000).state_dict()
    module = TimmClassifier(backbone, class_names=NAMES, image_size=2 * fixed)
    load_by_name(module.network, published, "w", module.head)
    taken = {name: t for name, t in module.network.state_dict().items() if name in published}
    other = [name for name, tensor in taken.items() if tensor.shape != published[name].shape]
    same = [name for name in taken if name not in other and torch.equal(taken[name], published[name])]
    assert any("pos_embed" in name or "relative_position" in name for name in other)
    assert len(same) > 0.5 * len(taken)


@pytest.mark.parametrize(
    ("backbone", "size", "said"),
    [
        ("test_vit", 50, r"takes images of a multiple of 16 px, not 50; type model.image_size=48"),
        ("cait_xxs24_224", 50, r"model.image_size="),
        ("hf_hub:timm/resnet18.a1_in1k", 64, "is an address"),
    ],
)
def test_a_size_or_name_that_does_not_fit_is_refused_in_one_line(backbone, size, said):
    with pytest.raises(Galaxy10Error, match=said) as caught:
        built(backbone, size)
    assert "\n" not in str(caught.value)


class Encoder(nn.Module):
    """A network as timm's are, with what is wrong with it."""

    def __init__(self, num_classes, channels=3, maps=False, headless=False):
        super().__init__()
        self.fc, self.channels, self.maps = nn.Linear(channels, num_classes), channels, maps
        if not headless:
            self.get_classifier = lambda: self.fc

    def forward(self, x):
        x = nn.functional.conv2d(x, torch.ones(self.channels, self.channels, 1, 1))
        return [x] if self.maps else self.fc(x.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, None),
        ({"headless": True}, "model.backbone=resnet18 has no classifier that can be replaced"),
        ({"maps": True}, r"model.backbone=resnet18 gives a list for one image, not \(1, 3\)"),
        ({"channels": 4}, "model.backbone=resnet18 cannot take colour images of 32 px"),
    ],
)
def test_an_encoder_that_is_no_classifier_of_colour_images_is_refused_in_one_line(wrong, said, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda name, num_classes, **others: Encoder(num_classes, **wrong))
    if said is None:
        assert built("resnet18", 32).training
        return
    with pytest.raises(Galaxy10Error, match=said) as caught:
        built("resnet18", 32)
    assert "\n" not in str(caught.value)


@pytest.fixture
def repository(pretrained, tmp_path):
    """The files of an encoder as Zoobot's repositories have them: no classifier, weights in the older form."""
    torch.save({name: t for name, t in pretrained.items() if not name.startswith("fc.")}, tmp_path / "w.bin")
    settings = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.1] * 3, "input_size": [3, 128, 128]}}
    files = {"config.json": json.dumps(settings).encode(), "pytorch_model.bin": (tmp_path / "w.bin").read_bytes()}
    return {f"/someone/encoder-resnet18/resolve/main/{name}": content for name, content in files.items()}


def pretrained_module(weights, backbone="resnet18"):
    model = {"_target_": "galaxy10.models.TimmClassifier", "backbone": backbone, "pretrained": True, "weights": weights}
    return build_classifier(model, NAMES, 256, ((0.5,) * 3, (0.2,) * 3))


def assert_is(module, pretrained):
    assert isinstance(module.preprocessing, Preprocessing)
    assert (module.preprocessing.image_size, tuple(module.preprocessing.mean)) == (128, (0.1,) * 3)
    assert torch.equal(module.network.layer1[0].conv1.weight, pretrained["layer1.0.conv1.weight"])


def test_weights_come_from_a_repository_on_the_hub_and_then_from_its_cache(
    no_hub, repository, pretrained, monkeypatch, tmp_path
):
    with serving(repository) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        with pytest.raises(Galaxy10Error, match="are weights of resnet18, not of resnet34; type"):
            find_weights("resnet34", GALAXY_ZOO)
        module, origin = pretrained_module(GALAXY_ZOO)
    assert_is(module, pretrained)
    assert origin == "weights someone/encoder-resnet18 from the hub"
    monkeypatch.setenv("HF_ENDPOINT", refusing_address())
    module, origin = pretrained_module(GALAXY_ZOO.replace("_", "-", 1))  # timm's other spelling
    assert_is(module, pretrained)
    assert origin.startswith("weights someone/encoder-resnet18 from the local cache (revision ")
    assert download_weights(GALAXY_ZOO).name == "pytorch_model.bin"  # it is here
    for path, content in repository.items():  # a folder of the same shape, copied by hand
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy" / path.rsplit("/", 1)[1]).write_bytes(content)
    assert_is(pretrained_module(str(tmp_path / "copy"))[0], pretrained)


def test_a_repository_without_a_hub_ends_in_the_ways_out(no_hub, monkeypatch):
    for attempt in (lambda: pretrained_module(GALAXY_ZOO), lambda: download_weights(GALAXY_ZOO)):
        with pytest.raises(Galaxy10Error) as caught:
            attempt()
        message = str(caught.value)
        assert f"`galaxy10 download --weights {GALAXY_ZOO}`" in message
        assert "model.weights=FILE or model.pretrained=false" in message
        assert "\n" not in message
    cache_on_hub(no_hub, resnet().state_dict(), hub_id="mwalmsley--zoobot-encoder-euclid")
    with pytest.raises(Galaxy10Error, match="the pretrained weights hf_hub:mwalmsley/zoobot-encoder-euclid are not"):
        find_weights("convnext_nano", MODEL_WEIGHTS["zoobot_euclid"])  # without its config.json
    with pytest.raises(Galaxy10Error, match=r"hf_hub:nobody names no repository; type model.weights=hf_hub:OWNER/NAME"):
        find_weights("resnet18", "hf_hub:nobody")
