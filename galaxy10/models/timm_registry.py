"""The networks and weights of the installed timm, and the names of this project for some of them.

Read from timm's source files in 0.1 s: importing timm takes 4 s.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODEL_BACKBONES = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "inceptionv3": "inception_v3.tv_in1k",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnetv2_s": "tf_efficientnetv2_s",
    "convnext_nano": "convnext_nano",
    "convnext_tiny": "convnext_tiny",
    "vit_small_dinov3": "vit_small_patch16_dinov3",
    "zoobot_convnext_nano": "convnext_nano",
    "zoobot_euclid": "convnext_nano",
}
# Those whose weights are in a repository of their own on the hub.
MODEL_WEIGHTS = {
    "zoobot_convnext_nano": "hf_hub:mwalmsley/zoobot-encoder-convnext_nano",
    "zoobot_euclid": "hf_hub:mwalmsley/zoobot-encoder-euclid",
}
# A registered network is a decorated function; its weights are entries 'architecture.tag': … of its module's tables,
# with a star after the default tag. A few networks compute their entries: these have none here.
_NETWORK = re.compile(r"^@register_model\b[^\n]*\n(?:[@#][^\n]*\n)*def (\w+)\(", re.MULTILINE)
_KEY = r"^[ \t]+['\"]{}['\"]:"
_ENTRY = re.compile(
    _KEY.format(r"(\w+)(?:\.([\w.]+?))?(\*?)") + r"(.*?)(?=" + _KEY.format(r"\w+(?:\.[\w.]+)?\*?") + r"|^[})]|\Z)",
    re.MULTILINE | re.DOTALL,
)
_WITHOUT_WEIGHTS = ("", "untrained")


def timm_names() -> list[str]:
    """Return all architecture names of the installed timm, sorted."""
    return sorted(_modules())


def backbone_of(model: str) -> str:
    """Return the timm name of a model=… of this project; other names are returned unchanged."""
    return MODEL_BACKBONES.get(model, model)


def fixed_input_px(backbone: str | None) -> int | None:
    """Return the input size (px) that a timm network was made for, if its layers need it; None if it takes any size.

    Such networks have a table of positions, as vision transformers do. Imports timm.
    """
    if backbone is None:
        return None
    import timm  # takes seconds: only for its networks

    pretrained = timm.get_pretrained_cfg(backbone)
    return int(pretrained.input_size[-1]) if pretrained is not None and pretrained.fixed_input_size else None


def names_weights(model: Mapping[str, Any]) -> bool:
    """Return whether model.weights of a `model` section names other weights than those of its own YAML."""
    return model["weights"] not in (None, MODEL_WEIGHTS.get(model["name"]))


def architecture_of(backbone: str) -> str:
    """Return a timm name without the tag of its weights."""
    return backbone.partition(".")[0]


def weight_tags(architecture: str) -> list[str]:
    """Return the tags of an architecture's weights (after the dot), timm's default first; empty if unknown."""
    return [tag for tag in _weights().get(architecture, {}) if tag not in _WITHOUT_WEIGHTS]


def weights_text(backbone: str) -> str:
    """Return the text of timm's entry for a network's weights, the default ones without a tag.

    If the entry has no URL, return the text of the whole module.
    """
    architecture, _, tag = backbone.partition(".")
    text = _weights().get(architecture, {}).get(tag or next(iter(weight_tags(architecture)), ""), "")
    return text if "url=" in text or "hf_hub_id=" in text else _modules().get(architecture, "")


@cache
def _modules() -> dict[str, str]:
    """Return architecture → text of the module that defines it."""
    spec = find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    texts = [file.read_text(encoding="utf-8") for file in (Path(spec.origin).parent / "models").glob("*.py")]
    return {name: text for text in texts for name in _NETWORK.findall(text)}


@cache
def _weights() -> dict[str, dict[str, str]]:
    """Return architecture → tag → text of the entry, the default tag first."""
    tables: dict[str, dict[str, str]] = {}
    for text in set(_modules().values()):
        for architecture, tag, star, entry in _ENTRY.findall(text):
            others = tables.get(architecture, {})
            tables[architecture] = {tag: entry} | others if star else others | {tag: entry}
    return tables
