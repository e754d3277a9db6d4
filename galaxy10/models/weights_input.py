"""The input that pretrained weights expect: channel means, size, interpolation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json
from galaxy10.models.timm_registry import architecture_of
from galaxy10.models.weight_files import read_weights


def input_of_config(config: Any) -> dict[str, Any]:
    """Return the input settings in timm's configuration of weights: mean, std, input_size_px, interpolation."""
    return {
        "mean": tuple(config.mean),
        "std": tuple(config.std),
        "input_size_px": int(config.input_size[1]),
        "interpolation": _nearest_interpolation(config.interpolation),
    }


def input_of_file(path: Path, backbone: str) -> dict[str, Any]:
    """Return the input settings in a checkpoint of this project, or in timm's config.json beside a file.

    Args:
        path: the file of weights; in a repository of timm's kind, config.json itself will do.

    Raises:
        Galaxy10Error: the checkpoint is of another network.
    """
    if path.suffix == ".ckpt":
        content = read_weights(path)
        about = content.get("galaxy10") if isinstance(content, dict) else None
        if about is None:
            return {}
        trained = (about["model"] or {}).get("backbone")
        if trained is None or architecture_of(trained) != architecture_of(backbone):
            raise Galaxy10Error(
                f"{path} is a run of {about['model']['name']} ({trained or 'no timm network'}) and not of "
                f"{backbone}; type model={about['model']['name']} or another model.weights"
            )
        trained_with = about["preprocessing"]
        if trained_with is None:  # trained on a custom data module that prepares images itself
            return {}
        size = [3, trained_with["image_size"]]
        found: Mapping[str, Any] = {"interpolation": "bilinear"} | trained_with | {"input_size": size}
    else:
        found = read_json(path.with_name("config.json")).get("pretrained_cfg") or {}
    settings: dict[str, Any] = {key: tuple(map(float, found[key])) for key in ("mean", "std") if key in found}
    if "interpolation" in found:
        settings["interpolation"] = _nearest_interpolation(found["interpolation"])
    return settings | ({"input_size_px": int(found["input_size"][1])} if "input_size" in found else {})


def _nearest_interpolation(name: str) -> str:
    """Return bilinear or bicubic, whichever is nearer to timm's nearest, bilinear, bicubic or lanczos."""
    return "bicubic" if name in ("bicubic", "lanczos") else "bilinear"
