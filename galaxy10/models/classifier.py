"""The LightningModule around every network: training, evaluation, freezing, and the contents of a checkpoint."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import pandas as pd
import torch
from torch import nn

from galaxy10.classes import slugs
from galaxy10.config.building import matching_arguments
from galaxy10.data.augment import Preprocessing
from galaxy10.data.dihedral import tta_views
from galaxy10.errors import Galaxy10Error, TrainingError
from galaxy10.metrics.classification import classification_metrics
from galaxy10.metrics.extra import compute_extra_metrics
from galaxy10.metrics.predictions import prediction_table
from galaxy10.metrics.specs import metric_mode
from galaxy10.metrics.votes import vote_metrics
from galaxy10.models.batch_norm_folding import Folding, folding
from galaxy10.models.losses import CrossEntropy
from galaxy10.models.schedule import build_schedule
from galaxy10.models.votes import loss_targets

# Arguments that are rebuilt from the configuration, not from a checkpoint's hyperparameters.
_BUILT = ("network", "loss", "metrics", "optimizer", "scheduler", "param_groups", "preprocessing")


class Classifier(L.LightningModule):
    """The LightningModule of any network from (B, 3, S, S) to (B, C) logits or log-probabilities.

    Batches are {"inputs": (B, 3, S, S) float32, "labels": (B,) int64, "rows": (B,) int64}, and optionally have "votes",
    (B, C) float32. A subclass overrides what differs: `loss`, `forward`, `training_step`, `configure_optimizers` …

    Attributes:
        metrics: the last measured values, `<subset>/<metric>` → value, at full precision; None where not defined.
        predictions: the prediction table of the subset that was last evaluated; None before.
        model_config: the plain configuration that rebuilds this module; None if it was built by hand.
        init_record: which tensors of which run the module started from (model.init_from); None without one.

    Args:
        network: the network; None where a subclass calls set_network itself.
        num_classes, class_names: one of them; neither: those of the data module.
        preprocessing: how pixels become this network's input; None: that of the data module.
        loss: (logits (B, C), labels (B,), or fractions (B, C) with votes) → scalar; default: cross-entropy.
        metrics: name → torchmetrics Metric of (probabilities (N, C), labels (N,)), in addition to the built-in ones.
        optimizer: (parameter groups) → optimizer; default: AdamW with torch's settings.
        scheduler: (optimizer) → scheduler of torch; it is also given total_steps, T_max and steps_per_epoch if its
            signature names them and they are not set. None: a constant learning rate.
        scheduler_interval: epoch or step: how often a scheduler without an `interval` of its own steps.
        param_groups: (module) → parameter groups; None: one group of all trainable parameters. The learning rate of a
            group is multiplied by its `lr_scale`, if it has one.
        freeze: `none`, or `backbone`: only the head trains, and the rest keeps its batch-norm statistics.
        tta_views: flips and quarter turns averaged when the best epoch is evaluated: 1, 2, 4 or 8.
        monitor: the metric that a scheduler such as ReduceLROnPlateau monitors.
        monitor_mode: min or max, whichever is better; None: by the metric.
    """

    network: Any
    init_description = "random initialisation"  # for the run's provenance, without pretrained weights
    evaluates_saved_weights = True  # false: the validation predictions were made with other weights than are saved

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        metrics: Mapping[str, Any] | None = None,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        scheduler_interval: str = "epoch",
        param_groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None,
        freeze: str = "none",
        tta_views: int = 8,
        monitor: str = "val/macro_f1",
        monitor_mode: str | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=list(_BUILT))
        if class_names is None and num_classes is not None:
            class_names = [str(i) for i in range(num_classes)]
        self.class_names = tuple(class_names or ())
        self.preprocessing = preprocessing
        self.criterion = CrossEntropy() if loss is None else loss
        self.optimizer, self.scheduler, self.param_groups = optimizer, scheduler, param_groups
        self.scheduler_interval = scheduler_interval
        self.monitor, self.monitor_mode = monitor, monitor_mode or metric_mode(monitor)
        self.freeze_mode, self.tta_views = freeze, int(tta_views)
        self.frozen = False
        self.head: list[nn.Module] = []
        self.model_config: dict[str, Any] | None = None
        self.init_record: dict[str, Any] | None = None
        self.metrics: dict[str, float | None] = {}
        self.predictions: pd.DataFrame | None = None
        # In a tuple, so that they are no submodules: they are computed on all predictions at once.
        self._extra_metrics = (dict(metrics or {}),)
        self._scored: list[tuple[torch.Tensor, ...]] = []
        self._folding: Folding | None = None  # of an evaluation, from its first batch on
        if network is not None:
            self.set_network(network)

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def known_preprocessing(self) -> Preprocessing:
        """Return how pixels become this network's input.

        Raises:
            Galaxy10Error: it is unknown: the network was trained on a custom data module that does not define it.
        """
        if self.preprocessing is None:
            raise Galaxy10Error(
                "this network was trained on a data module without `preprocessing`, so images cannot be made into "
                "inputs; give the data module that attribute (galaxy10.data.augment.Preprocessing) and train again"
            )
        return self.preprocessing

    def set_network(self, network: nn.Module, head: Sequence[nn.Module] | None = None) -> None:
        """Set the network, in channels-last memory format, and freeze all but its head with freeze=backbone.

        Args:
            head: the layers that freeze=backbone still trains; None: the last linear layer with an output per class.

        Raises:
            Galaxy10Error: `network` is no torch.nn.Module; or freeze=backbone, and there is no head.
        """
        if not isinstance(network, nn.Module):
            raise Galaxy10Error(
                f"model.network: {type(network).__name__} is no torch.nn.Module; name a class that is one"
            )
        self.network = network.to(memory_format=torch.channels_last)
        self.head = list(
            self._find_head(network) if head is None else head
        )  # a plain list: the layers are registered already
        self.frozen = self.freeze_mode == "backbone"
        if not self.frozen:
            return
        if not self.head:
            raise Galaxy10Error(
                f"model.freeze=backbone: {type(network).__name__} has no linear layer with one output per class to "
                "train; type model.freeze=none"
            )
        trained = {id(parameter) for layer in self.head for parameter in layer.parameters()}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.train(self.training)  # Lightning leaves modes as it finds them: batch norms stay in evaluation mode

    def _find_head(self, network: nn.Module) -> list[nn.Module]:
        layers: list[nn.Module] = [
            layer
            for layer in network.modules()
            if isinstance(layer, nn.Linear) and layer.out_features == self.num_classes
        ]
        return layers[-1:]

    def compile_network(self) -> None:
        """Compile the network in place, so that the names in its state_dict stay the same."""
        self.network.compile()

    def setup(self, stage: str) -> None:
        """Take class names and preprocessing from the data module if they were not given."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if not self.class_names:
            self.class_names = tuple(getattr(data, "class_names", ()))
        if self.preprocessing is None:
            self.preprocessing = getattr(data, "preprocessing", None)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C) of normalised inputs (B, 3, S, S)."""
        logits: torch.Tensor = self.network(inputs)
        return logits

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float32 probabilities (B, C) of normalised inputs (B, 3, S, S)."""
        return self._logits(inputs).float().softmax(dim=1)

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the training loss, a scalar, and the logits (B, C).

        Args:
            labels: (B,) int64, or the class fractions (B, C) float32 of votes or mixed images.

        Raises:
            TrainingError: the criterion does not return a tensor, or the network no (B, C) logits.
        """
        logits = self._logits(inputs)
        loss = self.criterion(logits.float(), labels)
        if not isinstance(loss, torch.Tensor):
            raise TrainingError(f"the loss returns a {type(loss).__name__}; expected a tensor with one number")
        return loss, logits

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's output after a check of its shape.

        Raises:
            TrainingError: the output is not (B, C).
        """
        logits: Any = self(inputs)
        is_tensor = isinstance(logits, torch.Tensor)
        if isinstance(logits, torch.Tensor) and logits.ndim == 2 and logits.shape[1] == self.num_classes:
            return logits
        found = f"a tensor of shape {tuple(logits.shape)}" if is_tensor else f"a {type(logits).__name__}"
        raise TrainingError(
            f"{type(self.network).__name__} gives {found} for inputs of shape {tuple(inputs.shape)}; expected "
            f"({len(inputs)}, {self.num_classes}), a logit for each class; give the network an argument "
            "num_classes, which is then set"
        )

    # --- training -------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "Classifier":
        """Switch training mode; a frozen backbone keeps its batch-norm statistics."""
        super().train(mode)
        if mode and self.frozen:
            for module in self.network.modules():
                parameters = list(module.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    module.training = False
        return self

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> dict[str, torch.Tensor]:
        """Return the loss of one step and, for the training accuracy, the logits."""
        loss, logits = self.loss(batch["inputs"], loss_targets(self.criterion, batch))
        return {"loss": loss, "logits": logits.detach()}

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Keep values at full precision, and log them to Lightning's callbacks and loggers (None as NaN)."""
        self.metrics = {**self.metrics, **metrics}
        values = {key: float("nan") if value is None else value for key, value in metrics.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1)

    # --- evaluation --------------------------------------------------------------------------------------------------

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Collect one batch's probabilities."""
        self._score(batch)

    def test_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Collect one batch's probabilities."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics over every validation image, each counted once."""
        self._finish_scoring("val")

    def on_test_epoch_end(self) -> None:
        """Compute the metrics over every test image, each counted once."""
        self._finish_scoring("test")

    def predict_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return probabilities (B, C), averaged over tta_views."""
        return self._averaged(batch["inputs"], self.tta_views)

    def batch_probabilities(self, batch: dict[str, torch.Tensor], views: int) -> torch.Tensor:
        """Return the probabilities (B, C) with which a batch is evaluated, averaged over views."""
        return self._averaged(batch["inputs"], views)

    def _averaged(self, inputs: torch.Tensor, number: int) -> torch.Tensor:
        return torch.stack([self.probabilities(view) for view in tta_views(inputs, number)]).mean(dim=0)

    def _score(self, batch: dict[str, torch.Tensor]) -> None:
        # Validation during training uses one view and the precision of training. The final evaluation averages all
        # views in float32, so that its numbers are, but for rounding, those of all machines, catalogues and exports.
        if self.trainer.state.fn == "fit":
            probabilities = self.batch_probabilities(batch, 1)
        else:
            with torch.autocast(self.device.type, enabled=False), self._folded(batch):
                probabilities = self.batch_probabilities(batch, self.tta_views)
        votes = [batch["votes"].cpu()] if "votes" in batch else []
        self._scored.append((batch["rows"].cpu(), batch["labels"].cpu(), probabilities.cpu(), *votes))

    def _folded(self, batch: dict[str, torch.Tensor]) -> AbstractContextManager[None]:
        """Return the context of a batch's evaluation: batch normalization folded, if that changes nothing.

        Only within a batch, so that callbacks see the network as it is.
        """
        if not self._scored:
            self._folding = folding(self.network, lambda: self.batch_probabilities(batch, 1), len(batch["labels"]))
        return nullcontext() if self._folding is None else self._folding()

    def _finish_scoring(self, subset: str) -> None:
        self._folding = None
        scored: list[Any] = [self._scored]
        if self.trainer.world_size > 1:
            scored = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(scored, self._scored)
        self._scored = []
        batches = [batch for part in scored for batch in part]
        if not batches:  # a subclass evaluates differently
            return
        self.predictions = prediction_table(batches, self.class_names)
        columns = [f"p_{slug}" for slug in slugs(self.class_names)]
        probabilities = torch.tensor(self.predictions[columns].to_numpy())
        labels = torch.tensor(self.predictions["label"].to_numpy())
        measured = classification_metrics(probabilities, labels, self.class_names)
        measured |= compute_extra_metrics(self._extra_metrics[0], probabilities, labels)
        measured |= vote_metrics(self.predictions, self.class_names)
        self.log_metrics({f"{subset}/{key}": value for key, value in measured.items()})

    # --- optimizer and checkpoint ---------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Return the optimizer and scheduler over the parameter groups.

        Raises:
            Galaxy10Error: the optimizer or scheduler does not take its arguments.
        """
        groups = self.param_groups(self) if self.param_groups else None
        groups = groups or [{"params": [p for p in self.parameters() if p.requires_grad]}]
        build = self.optimizer or torch.optim.AdamW
        try:
            optimizer = build(groups, **matching_arguments(build, self._fused()))
        except (TypeError, ValueError) as error:
            name = getattr(getattr(build, "func", build), "__name__", build)
            raise Galaxy10Error(f"optimizer: {name} cannot be built: {error}") from error
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * group.get("lr_scale", 1.0)
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._schedule(optimizer)}

    def _fused(self) -> dict[str, bool]:
        """Return `fused`, one pass over all weights instead of one per tensor, unless scaled gradients are clipped."""
        scaled = str(self.trainer.precision).startswith("16-mixed") and self.trainer.gradient_clip_val
        return {} if scaled else {"fused": True}

    def _schedule(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        assert self.scheduler is not None
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = max(1, math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches))
        return build_schedule(
            self.scheduler, optimizer, steps, per_epoch, self.scheduler_interval, self.monitor, self.monitor_mode
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients; Lightning itself refuses fused optimizers also under bf16, where no gradient is scaled."""
        if not gradient_clip_val:
            return
        clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
        clip([p for group in optimizer.param_groups for p in group["params"]], gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the network."""
        self.describe_checkpoint(checkpoint)

    def describe_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to rebuild the network, as plain containers (loadable with weights_only=True)."""
        hyperparameters = checkpoint.get("hyper_parameters") or {}
        checkpoint["hyper_parameters"] = {key: value for key, value in hyperparameters.items() if is_plain(value)}
        checkpoint["galaxy10"] = {
            **checkpoint.get("galaxy10", {}),  # of a callback
            "model": self.model_config,
            "class_names": list(self.class_names),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_dict(),
        }


def is_plain(value: Any) -> bool:
    """Return whether a value holds only numbers, text, None, and containers of these."""
    if isinstance(value, Mapping):
        return all(is_plain(key) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
