"""From the configuration, or from a checkpoint, to a network that can train or answer."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class

from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.models.classifier import Classifier
from galaxy10.models.weights import find_weights, load_pretrained


def build_classifier(
    recipe: dict[str, Any],
    class_names: Sequence[str],
    image_px: int,
    training_statistics: tuple[list[float], list[float]],
    **training: Any,
) -> tuple[Classifier, str]:
    """The network of one experiment, and a line that says where its weights come from.

    Args:
        recipe: the `model` section of the configuration.
        image_px: the smaller side of the file's images.
        training_statistics: mean and standard deviation per channel of the training subset, scale 0–1.
        training: optimizer, scheduler and seed, for the module.
    """
    mean, std = training_statistics
    source = find_weights(recipe["backbone"], recipe["weights"]) if recipe["pretrained"] else None
    natural_px = source.input_size_px if source else None
    preprocessing = Preprocessing(
        image_size=_image_size(recipe, image_px, natural_px, fixed_input_px(recipe["backbone"])),
        mean=list(source.mean) if source else mean,
        std=list(source.std) if source else std,
        noise_sigma=std,
    )
    module = _instantiate(recipe, class_names, preprocessing, **training)
    if source is None:
        return module, "random initialisation"
    load_pretrained(module.network, source, module.head)
    return module, source.description


def fixed_input_px(backbone: str | None) -> int | None:
    """The one input size that a network of timm takes, such as a vision transformer; None where it takes any."""
    if backbone is None:
        return None
    import timm  # takes seconds: only for its networks

    known = timm.get_pretrained_cfg(backbone)
    return known.input_size[-1] if known is not None and known.fixed_input_size else None


def _image_size(recipe: dict[str, Any], image_px: int, natural_px: int | None, fixed_px: int | None) -> int:
    if fixed_px is not None:
        if recipe["image_size"] not in ("auto", fixed_px):
            raise Galaxy10Error(
                f"model.backbone={recipe['backbone']} takes pictures of {fixed_px} px alone; "
                f"type model.image_size={fixed_px}, or leave it out"
            )
        return fixed_px
    if recipe["image_size"] != "auto":
        return int(recipe["image_size"])
    natural = natural_px or recipe["default_image_size"]
    return max(min(image_px, natural) if natural else image_px, recipe["min_image_size"])


def _instantiate(recipe: dict[str, Any], *args: Any, **kwargs: Any) -> Classifier:
    build: Callable[..., Classifier] = get_class(recipe["_target_"])
    return build(recipe, *args, **kwargs)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this project as plain containers; nothing that could run code is ever loaded.

    Raises:
        Galaxy10Error: missing, damaged, a pickle with code in it, or another project's.
    """
    if not path.is_file():
        raise Galaxy10Error(f"no checkpoint {path}; give a run directory whose training saved at least one epoch")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Galaxy10Error(
            f"{path} holds more than plain numbers and is not loaded (it could run code); "
            "use a checkpoint that galaxy10 wrote"
        ) from error
    except OSError as error:
        raise Galaxy10Error(f"{path} cannot be read ({first_line(error)}); use another") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:  # what torch says of it helps nobody
        raise Galaxy10Error(f"{path} is damaged or no checkpoint; use another") from error
    if not isinstance(checkpoint, dict) or "galaxy10" not in checkpoint or "state_dict" not in checkpoint:
        raise Galaxy10Error(f"{path} is no checkpoint of galaxy10; use checkpoints/best.ckpt of a run directory")
    return checkpoint


def load_classifier(path: Path) -> Classifier:
    """The trained network of a checkpoint, in evaluation mode."""
    checkpoint = load_checkpoint(path)
    about = checkpoint["galaxy10"]
    if not str(about["model"].get("_target_", "")).startswith("galaxy10.models."):
        raise Galaxy10Error(f"{path} names a network outside galaxy10; use a checkpoint that galaxy10 wrote")
    module = _instantiate(about["model"], about["class_names"], Preprocessing(**about["preprocessing"]))
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise Galaxy10Error(f"the weights of {path} do not fit its own network: {first_line(error)}") from error
    return module.eval()
