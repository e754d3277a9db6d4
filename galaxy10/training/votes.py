"""Check that an experiment that needs people's votes has them, and learns from them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from galaxy10.data.votes import are_counts
from galaxy10.errors import Galaxy10Error
from galaxy10.metrics.specs import VOTE_METRIC_NAMES

_COUNTS = ("galaxy10.models.votes.DirichletMultinomial", "galaxy10.models.DirichletMultinomial")

_NORMALISED = "SimpleCNN"  # the baseline's network returns log-probabilities


def check_settings_of_votes(config: Mapping[str, Any]) -> None:
    """Check the settings of votes against each other, before data are read.

    Raises:
        Galaxy10Error: they do not go together.
    """
    loss, soft = config["loss"].get("_target_"), config["data"].get("soft_labels", "auto")
    name, solved = config["model"]["name"], "optimizer" in config["model"]["unused_groups"]
    if solved and (soft is True or loss in _COUNTS):
        used = "data.soft_labels=true" if soft is True else "loss=dirichlet_multinomial"
        instead = "data.soft_labels=auto" if soft is True else "loss=cross_entropy"
        raise Galaxy10Error(f"model={name} is fitted to the majority classes and does not use {used}; type {instead}")
    if loss in _COUNTS and str(config["model"].get("_target_")).rpartition(".")[2] == _NORMALISED:
        raise Galaxy10Error(
            f"loss=dirichlet_multinomial learns how sure a network is, and model={name} ends in a softmax, so that its "
            "concentrations always add up to 1; type another model, or loss=cross_entropy"
        )
    if soft is False and loss in _COUNTS:
        raise Galaxy10Error(
            "loss=dirichlet_multinomial learns from votes, which data.soft_labels=false leaves out; type "
            "data.soft_labels=auto"
        )


def check_votes_for(config: Mapping[str, Any], votes: np.ndarray | None) -> None:
    """Check the loss and the monitored metrics against the votes of the data.

    Args:
        votes: (N, C); None if the data have none.

    Raises:
        Galaxy10Error: the loss needs votes or counts, or a metric needs votes, that the data do not have, or the
            precision is too low for votes.
    """
    if votes is not None and str(config["trainer"]["precision"]) in ("16-true", "bf16-true"):
        raise Galaxy10Error("votes lose digits in half precision; type trainer.precision=bf16-mixed, or 32-true")
    counted = config["loss"].get("_target_") in _COUNTS
    if votes is None:
        monitors = (config["monitor"], (config["callbacks"].get("early_stopping") or {}).get("monitor"))
        needs = [str(name) for name in monitors if str(name).rpartition("/")[2] in VOTE_METRIC_NAMES]
        needs = ["loss=dirichlet_multinomial"] if counted else [f"the metric {name}" for name in needs]
        if needs:
            raise Galaxy10Error(
                f"{needs[0]} needs votes for each class, and the data have none; give them (docs/data.md), or type "
                + ("loss=cross_entropy" if counted else "another metric, such as val/loss")
            )
    elif counted and config["loss"].get("num_votes") is None and not are_counts(votes):
        raise Galaxy10Error(
            "loss=dirichlet_multinomial needs counts of votes, and the data have only fractions; type loss.num_votes=… "
            "(how many people voted on a galaxy, such as 40), or loss=cross_entropy"
        )
