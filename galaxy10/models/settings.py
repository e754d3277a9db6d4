"""Allowed values of the settings of `model`, `loss`, `optimizer`, `scheduler` and `param_groups`."""

from typing import Any

from galaxy10.config.fields import Field, anything, boolean, choice, integer, number, one_of, optional, text

FIELDS: dict[str, Field] = {
    "model._target_": text(),
    "model.name": text(),
    "model.backbone": optional(text()),
    "model.image_size": one_of(integer(16, 4096), choice("auto")),
    "model.default_image_size": optional(integer(16)),
    "model.min_image_size": integer(1),
    "model.image_size_multiple": integer(1),
    "model.pretrained": boolean(),
    "model.weights": optional(text()),
    "model.init_from": optional(text()),
    "model.freeze": choice("none", "backbone"),
    "model.dropout": number(0, 0.99),
    "model.tta_views": Field(lambda v: v in (1, 2, 4, 8) and not isinstance(v, bool), "1, 2, 4 or 8"),
    "model.train_views": Field(lambda v: v in (1, 2, 4, 8) and not isinstance(v, bool), "1, 2, 4 or 8"),
    "model.recommended": anything(),
    "model.recommended.learning_rate": number(0, above=True),
    "model.recommended.label_smoothing": number(0, 0.99),
    "model.recommended.layer_decay": number(0, 1, above=True),
    "model.unused_groups": Field(lambda v: isinstance(v, list), "a list of groups, as in [augment,scheduler]"),
    "model.network._target_": text(),
    "model.network.size": choice("tiny", "small", "base"),
    "model.network.dropout": number(0, 0.99),
    "model.num_components": integer(1, 10_000),
    "model.scree_components": integer(1, 10_000),
    "model.components_from": choice("train", "each_subset"),
    "model.standardize": boolean(),
    "model.C": optional(number(0, above=True)),
    "model.max_iter": integer(1),
    "loss._target_": optional(text()),
    "loss.label_smoothing": number(0, 0.99),
    "loss.class_weights": optional(
        one_of(
            choice("balanced", "effective"), Field(lambda v: isinstance(v, list), "a list with one number per class")
        )
    ),
    "loss.gamma": number(0),
    "loss.tau": number(0),
    "loss.num_votes": optional(number(0, above=True)),
    "param_groups._target_": optional(text()),
    "param_groups._partial_": boolean(),
    "param_groups.decay": number(0, 1, above=True),
    "optimizer._target_": optional(text()),
    "optimizer._partial_": boolean(),
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": number(0, 0.9999),
    "optimizer.nesterov": boolean(),
    "optimizer.fused": boolean(),
    "scheduler._target_": optional(text()),
    "scheduler._partial_": boolean(),
    "scheduler.step_size": integer(1),
    "scheduler.gamma": number(0, 1, above=True),
    "scheduler.warmup_epochs": number(0),
    "scheduler.min_lr_ratio": number(0, 1),
    "scheduler.pct_start": number(0, 0.99, above=True),
    "scheduler.div_factor": number(1),
}
# Settings of `model` about its input and weights; the others are arguments of its class.
INPUT_SETTINGS = (
    "name",
    "image_size",
    "default_image_size",
    "min_image_size",
    "image_size_multiple",
    "pretrained",
    "weights",
    "init_from",
    "recommended",
    "unused_groups",
)
_DEFAULTS: dict[str, Any] = {
    "backbone": None,
    "image_size": "auto",
    "default_image_size": None,
    "min_image_size": 8,
    "image_size_multiple": 1,
    "pretrained": False,
    "weights": None,
    "init_from": None,
    "freeze": "none",
    "tta_views": 8,
    "recommended": {},
    "unused_groups": [],
}


def complete_model(model: dict[str, Any]) -> dict[str, Any]:
    """Return the `model` section with defaults for missing settings: a user's own section may name only its class.

    The default name is the name of the network's class, or timm.create_model's `model_name`.
    """
    network = model.get("network") or {}
    named = (network.get("model_name") or network.get("_target_")) if isinstance(network, dict) else None
    target = str(named or model.get("_target_") or "model")
    return {"name": target.rpartition(".")[2], **_DEFAULTS, **model}


def class_arguments(model: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a `model` section that are arguments of its class."""
    given = {key: value for key, value in model.items() if key not in INPUT_SETTINGS}
    return {key: value for key, value in given.items() if not (key == "backbone" and value is None)}


def not_a_classifier_message(target: str) -> str:
    """Return the error message for a `model._target_` that is no Classifier."""
    return (
        f"model._target_={target} is no galaxy10.models.Classifier; name a network alone in model.network, as in "
        "{_target_: galaxy10.models.Classifier, network: {_target_: mypkg.MyNet}}"
    )
