"""Samples of a network's last layer: its weights as an array, and the logits of many weights at once."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from galaxy10.errors import Galaxy10Error
from galaxy10.models.classifier import Classifier
from galaxy10.models.features import final_linear_layer
from galaxy10.prediction.laplace import load_laplace
from galaxy10.prediction.mode import PredictMode
from galaxy10.runs.files import RunFiles


def layer_weights(layer: nn.Linear) -> np.ndarray:
    """Return the weights (C, D) of a linear layer as float64, with the bias, if there is one, as the last column."""
    weights = layer.weight if layer.bias is None else torch.cat([layer.weight, layer.bias[:, None]], dim=1)
    return weights.detach().cpu().double().numpy()


def with_ones(features: np.ndarray, layer: nn.Linear) -> np.ndarray:
    """Return features (n, D), with a column of ones for the bias if the layer has one."""
    return features if layer.bias is None else np.concatenate([features, np.ones_like(features[:, :1])], axis=1)


def sampled_head_logits(features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return logits (K, B, C) of features (B, D) under K weights (K, C, D), or (K, C, D + 1) with the bias."""
    number, classes, size = weights.shape
    flat = weights.flatten(0, 1)
    logits = features @ flat.T if size == features.shape[1] else torch.addmm(flat[:, -1], features, flat[:, :-1].T)
    return logits.reshape(len(features), number, classes).transpose(0, 1)


def head_samples(run: Path, module: Classifier, mode: PredictMode) -> torch.Tensor:
    """Return `mode.laplace` samples of the last layer's weights, as for sampled_head_logits, on the module's device.

    Raises:
        Galaxy10Error: the network has no such layer, or the run no Laplace approximation of its weights.
    """
    layer = final_linear_layer(module.network, module.num_classes)
    if layer is None:
        raise Galaxy10Error(f"{run}: the network has no linear layer with one output per class; leave out --laplace")
    posterior, weights = load_laplace(run, mode.cli_options), layer_weights(layer)
    if posterior.curvature.size != weights.size:
        raise Galaxy10Error(f"{RunFiles(run).laplace} is of another network; delete it, and calibrate {run} again")
    return torch.from_numpy(posterior.sample(weights, mode.laplace)).to(module.device)
