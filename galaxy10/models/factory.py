"""Build a module from a configuration, or load one from a checkpoint."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from galaxy10.config.building import build
from galaxy10.config.trust import check_trusted
from galaxy10.data.augment import Preprocessing
from galaxy10.errors import Galaxy10Error, first_line, system_reason
from galaxy10.foreign_files import is_legacy_checkpoint
from galaxy10.models.classifier import Classifier
from galaxy10.models.init_from import preprocessing_of, take_weights
from galaxy10.models.settings import class_arguments, complete_model, not_a_classifier_message
from galaxy10.models.timm_registry import fixed_input_px
from galaxy10.models.weights import find_weights, load_pretrained
from galaxy10.runs.files import RunFiles

_PRETRAINED_ARGUMENTS = (
    "pretrained",
    "checkpoint_path",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "weights",
    "weights_backbone",
)
_TRAINING_ONLY = ("criterion.",)  # parts of a checkpoint that prediction does not need


def build_classifier(
    model: Mapping[str, Any],
    class_names: Sequence[str],
    image_px: int | None,
    training_statistics: tuple[Sequence[float], Sequence[float]] | None,
    **training: Any,
) -> tuple[Classifier, str]:
    """Return the module of one experiment, and a line that names the origin of its weights.

    Args:
        model: the `model` section of the configuration.
        image_px: the smaller side of the file's images; without statistics, the side of the inputs.
        training_statistics: mean and standard deviation per channel of the training subset, scale 0–1; None for a
            custom data module, which decides the size and preprocessing of the inputs.
        training: loss, metrics, optimizer, scheduler … for the module.

    Raises:
        Galaxy10Error: the class cannot be built or is no Classifier, the input size does not fit the network, or the
            pretrained weights, or those of model.init_from, are missing or do not fit.
    """
    model = complete_model(dict(model))
    run = None if model["init_from"] is None else Path(str(model["init_from"]))
    start = None if run is None else load_checkpoint(RunFiles(run).best)
    trained_with = None if run is None or start is None else preprocessing_of(start, RunFiles(run).best)
    if trained_with is not None and training_statistics is not None and model["image_size"] == "auto":
        model["image_size"] = trained_with.image_size
    source = find_weights(model["backbone"], model["weights"]) if model["pretrained"] and run is None else None
    learned = source or trained_with
    fixed_px = fixed_input_px(model["backbone"])
    if training_statistics is None:
        preprocessing, size = None, _given_size(model, image_px)
    else:
        assert image_px is not None
        mean, std = training_statistics
        size = _image_size(model, image_px, source.input_size_px if source else None, fixed_px)
        preprocessing = Preprocessing(
            image_size=size,
            mean=list(learned.mean) if learned else mean,
            std=list(learned.std) if learned else std,
            noise_sigma=std,
            interpolation=learned.interpolation if learned else "bilinear",
        )
    module = _build(model, class_names, size, preprocessing, **training)
    if run is not None and start is not None:
        return module, take_weights(module, start, run)
    if source is None:
        return module, module.init_description
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
            f"model._target_={model['_target_']} cannot be built: {first_line(error)}; pass the keyword arguments that "
            "your class does not use on to galaxy10.models.Classifier, or name a network alone in model.network"
        ) from error
    if not isinstance(module, Classifier):
        raise Galaxy10Error(not_a_classifier_message(model["_target_"]))
    module.model_config = _without_pretrained({**model, "image_size": image_size})
    return module


def _without_pretrained(config: Any) -> Any:
    """Return a configuration whose builders of timm and torchvision do not load pretrained weights again."""
    if isinstance(config, list):
        return [_without_pretrained(item) for item in config]
    if not isinstance(config, Mapping):
        return config
    foreign = str(config.get("_target_", "")).startswith(("timm.", "torchvision."))
    kept = {key: value for key, value in config.items() if not (foreign and key in _PRETRAINED_ARGUMENTS)}
    return {key: _without_pretrained(value) for key, value in kept.items()}


def _given_size(model: Mapping[str, Any], inputs_px: int | None) -> int:
    """Return the side of the inputs that a custom data module gives."""
    configured = None if model["image_size"] == "auto" else int(model["image_size"])
    size = inputs_px or configured
    if size is None:
        raise Galaxy10Error(
            "the size of the data module's inputs cannot be read from its batches; add model.image_size=…"
        )
    if configured not in (None, size):
        raise Galaxy10Error(
            f"the data module gives inputs of {size} px, the network expects {configured}; change either"
        )
    return size


def _image_size(model: Mapping[str, Any], image_px: int, default_px: int | None, fixed_px: int | None) -> int:
    if model["image_size"] != "auto":
        return int(model["image_size"])
    if fixed_px is not None:
        return default_px or fixed_px
    size = default_px or model["default_image_size"]
    size = max(min(image_px, size) if size else image_px, model["min_image_size"])
    return int(size - size % model["image_size_multiple"])


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint of this project as plain containers, without running any code in the file.

    Raises:
        Galaxy10Error: the file is missing, damaged, a pickle with code, or was written by another project.
    """
    if not path.is_file():
        raise Galaxy10Error(f"no checkpoint {path}; give a run directory whose training saved at least one epoch")
    if is_legacy_checkpoint(path):
        raise Galaxy10Error(f"{path} is a tar archive and no checkpoint of galaxy10; use another")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise Galaxy10Error(
            f"{path} holds more than plain numbers and is not loaded (it could run code); "
            "use a checkpoint that galaxy10 wrote"
        ) from error
    except OSError as error:
        raise Galaxy10Error(f"{path} {system_reason(error) or 'cannot be read; use another'}") from error
    except Exception as error:  # torch's own message does not help
        raise Galaxy10Error(f"{path} is damaged or no checkpoint; use another") from error
    if not isinstance(checkpoint, dict) or not all(
        isinstance(checkpoint.get(part), dict) for part in ("galaxy10", "state_dict")
    ):
        raise Galaxy10Error(f"{path} is no checkpoint of galaxy10; use checkpoints/best.ckpt of a run directory")
    return checkpoint


def load_classifier(path: Path) -> Classifier:
    """Return the trained module of a checkpoint, in evaluation mode.

    Raises:
        Galaxy10Error: the file is no checkpoint, names code that is not trusted (see galaxy10.config.trust), has no
            configuration, or its weights do not fit.
    """
    checkpoint = load_checkpoint(path)
    about = checkpoint["galaxy10"]
    if about.get("model") is None:
        raise Galaxy10Error(
            f"{path} was written without a configuration (in a notebook?), so its network cannot be rebuilt; "
            "build the network yourself and call its load_state_dict"
        )
    check_trusted(about["model"], str(path))
    try:
        preprocessing = Preprocessing(**about["preprocessing"]) if about["preprocessing"] else None
        size, class_names = int(about["model"]["image_size"]), [str(name) for name in about["class_names"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Galaxy10Error(
            f"{path} describes its network in another way ({first_line(error)}); use a checkpoint that galaxy10 wrote"
        ) from error
    module = _build(about["model"], class_names, size, preprocessing)
    weights = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith(_TRAINING_ONLY)}
    own = {k for k in module.state_dict() if not k.startswith(_TRAINING_ONLY)}
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
