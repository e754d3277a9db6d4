"""From the configuration, or from a checkpoint, to a module that can train or predict."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from galaxy10.config.building import build
from galaxy10.config.trust import check_trusted
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error, first_line
from galaxy10.models.classifier import Classifier
from galaxy10.models.settings import class_arguments, complete_model, no_classifier
from galaxy10.models.weights import find_weights, load_pretrained

_OF_PRETRAINED = (
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "weights",
    "weights_backbone",
)
_IN_TRAINING_ONLY = ("criterion.",)  # parts of a checkpoint that prediction has no use for


def build_classifier(
    model: Mapping[str, Any],
    class_names: Sequence[str],
    image_px: int | None,
    training_statistics: tuple[Sequence[float], Sequence[float]] | None,
    **training: Any,
) -> tuple[Classifier, str]:
    """Return the module of one experiment, and a line that says where its weights come from.

    Args:
        model: the `model` section of the configuration.
        image_px: the smaller side of the file's images; without statistics, the side of the inputs.
        training_statistics: mean and standard deviation per channel of the training subset, scale 0–1; None where a
            data module of somebody's own makes the inputs: it decides their size, and what it says of preprocessing.
        training: loss, metrics, optimizer, scheduler … for the module.
    """
    model = complete_model(dict(model))
    source = find_weights(model["backbone"], model["weights"]) if model["pretrained"] else None
    fixed_px = fixed_input_px(model["backbone"])
    if training_statistics is None:
        preprocessing, size = None, _given_size(model, image_px, fixed_px)
    else:
        assert image_px is not None
        mean, std = training_statistics
        size = _image_size(model, image_px, source.input_size_px if source else None, fixed_px)
        preprocessing = Preprocessing(
            image_size=size,
            mean=list(source.mean) if source else mean,
            std=list(source.std) if source else std,
            noise_sigma=std,
        )
    module = _build(model, class_names, size, preprocessing, **training)
    if source is None:
        return module, module.initialisation
    load_pretrained(module.network, source, module.head)
    return module, source.description


def _build(
    model: Mapping[str, Any],
    class_names: Sequence[str],
    image_size: int,
    preprocessing: Preprocessing | None,
    **training: Any,
) -> Classifier:
    names = list(class_names)
    context: dict[str, Any] = {"num_classes": len(names), "class_names": names, "image_size": image_size}
    make = build({**class_arguments(dict(model)), "_partial_": True}, context, "model")
    try:
        module = make(preprocessing=preprocessing, **training)
    except TypeError as error:
        raise Galaxy10Error(
            f"model._target_={model['_target_']} cannot be built: {first_line(error)}; a class of your own passes the "
            "keyword arguments that it does not know on to galaxy10.models.Classifier; a network alone goes into "
            "model.network"
        ) from error
    if not isinstance(module, Classifier):
        raise Galaxy10Error(no_classifier(model["_target_"]))
    module.recipe = _without_weights({**model, "image_size": image_size})
    return module


def _without_weights(recipe: Any) -> Any:
    """Return what rebuilds a network: builders of timm and torchvision are not to look for pretrained weights again."""
    if isinstance(recipe, list):
        return [_without_weights(item) for item in recipe]
    if not isinstance(recipe, Mapping):
        return recipe
    foreign = str(recipe.get("_target_", "")).startswith(("timm.", "torchvision."))
    kept = {key: value for key, value in recipe.items() if not (foreign and key in _OF_PRETRAINED)}
    return {key: _without_weights(value) for key, value in kept.items()}


def fixed_input_px(backbone: str | None) -> int | None:
    """Return the one input size that a network of timm takes, such as a vision transformer; None where it takes any."""
    if backbone is None:
        return None
    import timm  # takes seconds: only for its networks

    known = timm.get_pretrained_cfg(backbone)
    return known.input_size[-1] if known is not None and known.fixed_input_size else None


def _given_size(model: Mapping[str, Any], inputs_px: int | None, fixed_px: int | None) -> int:
    """The side of the inputs that a data module of somebody's own makes."""
    asked = None if model["image_size"] == "auto" else int(model["image_size"])
    size = inputs_px or asked
    if size is None:
        raise Galaxy10Error(
            "how large the data module's inputs are does not show in its batches; add model.image_size=…"
        )
    if asked not in (None, size) or fixed_px not in (None, size):
        raise Galaxy10Error(
            f"the data module makes inputs of {size} px, the network expects {asked or fixed_px}; change one of them"
        )
    return size


def _image_size(model: Mapping[str, Any], image_px: int, natural_px: int | None, fixed_px: int | None) -> int:
    if fixed_px is not None:
        if model["image_size"] not in ("auto", fixed_px):
            raise Galaxy10Error(
                f"model.backbone={model['backbone']} takes images of {fixed_px} px alone; "
                f"type model.image_size={fixed_px}, or leave it out"
            )
        return fixed_px
    if model["image_size"] != "auto":
        return int(model["image_size"])
    natural = natural_px or model["default_image_size"]
    return max(min(image_px, natural) if natural else image_px, model["min_image_size"])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint of this project as plain containers; nothing that could run code is ever loaded.

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
    """Return the trained module of a checkpoint, in evaluation mode.

    Raises:
        Galaxy10Error: no checkpoint, one that names code which nobody has trusted (see galaxy10.config.trust), one made
            without a configuration, or weights that do not fit.
    """
    checkpoint = load_checkpoint(path)
    about = checkpoint["galaxy10"]
    if about.get("model") is None:
        raise Galaxy10Error(
            f"{path} was written without a configuration (in a notebook?), so its network cannot be rebuilt from it; "
            "build the network yourself and use its load_state_dict"
        )
    check_trusted(about["model"], str(path))
    told = about["preprocessing"]
    size = int(about["model"]["image_size"])
    module = _build(about["model"], about["class_names"], size, Preprocessing(**told) if told else None)
    weights = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith(_IN_TRAINING_ONLY)}
    own = {k for k in module.state_dict() if not k.startswith(_IN_TRAINING_ONLY)}
    try:
        missing = own - set(weights)
        if missing:
            raise RuntimeError(f"{len(missing)} are missing, such as {min(missing)}")
        unexpected = module.load_state_dict(weights, strict=False).unexpected_keys
        if unexpected:
            raise RuntimeError(f"{len(unexpected)} are too many, such as {unexpected[0]}")
    except RuntimeError as error:
        raise Galaxy10Error(f"the weights of {path} do not fit its own network: {first_line(error)}") from error
    return module.eval()
