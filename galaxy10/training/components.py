"""Build the pieces of an experiment that the configuration names by `_target_`."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from torchmetrics import Metric

from galaxy10.config.building import build
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.specs import metric_mode

METRIC_OPTIONS = ("direction", "label")  # keys of a metric in YAML that are no arguments of its class


def build_components(config: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Build the loss, optimizer, scheduler, parameter groups and metrics of a LightningModule.

    Raises:
        Galaxy10Error: a class cannot be built, or a metric is no torchmetrics Metric.
    """
    built = {
        name: build({**config[name], "_partial_": True} if name != "loss" else config[name], context, name)
        for name in ("loss", "param_groups", "optimizer", "scheduler")
        if config[name].get("_target_")
    }
    own = {name: {k: v for k, v in node.items() if k not in METRIC_OPTIONS} for name, node in config["metrics"].items()}
    built["metrics"] = {name: build(node, context, f"metrics.{name}") for name, node in own.items()}
    _check_kinds("metrics", built["metrics"], Metric)
    built |= {"scheduler_interval": config["trainer"]["scheduler_interval"], "monitor": config["monitor"]}
    return {**built, "monitor_mode": metric_mode(config["monitor"], context["directions"])}


def build_callbacks(config: dict[str, Any], context: dict[str, Any]) -> list[L.Callback]:
    """Build the callbacks that the configuration names.

    Raises:
        Galaxy10Error: a class cannot be built, or is no Callback.
    """
    built = {name: build(node, context, f"callbacks.{name}") for name, node in config["callbacks"].items() if node}
    _check_kinds("callbacks", built, L.Callback)
    return list(built.values())


def _check_kinds(section: str, built: Mapping[str, Any], kind: type) -> None:
    for name, instance in built.items():
        if not isinstance(instance, kind):
            expected = f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
            raise Galaxy10Error(f"{section}.{name}._target_ makes a {type(instance).__name__}, which is no {expected}")
