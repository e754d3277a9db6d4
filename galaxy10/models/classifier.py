"""What every network of this project shares: training, scoring, freezing, and what its checkpoint says of itself."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import lightning as L
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from galaxy10.classes import slugs
from galaxy10.data.augment import Preprocessing, tta_views
from galaxy10.errors import TrainingError
from galaxy10.metrics.classification import classification_metrics

_SEED_STRIDE = 1_000_003


class Classifier(L.LightningModule):
    """A network with its input specification and its class names, as Lightning trains it.

    Subclasses set `network` (any nn.Module from (B, 3, S, S) to (B, C)) and may override `loss`. The output counts as
    logits; log-probabilities are logits too. metrics and predictions hold what was last measured.

    Args:
        recipe: the plain `model` section of the configuration, kept in the checkpoint to rebuild the network.
        class_names: names in label order.
        preprocessing: how stored pixels become this network's input.
        optimizer: (module) → optimizer; scheduler: (optimizer, steps, steps_per_epoch) → Lightning's dict, or None.
        seed: every random draw of a training step (dropout) is a function of it and of the step.
    """

    network: Any

    def __init__(
        self,
        recipe: dict[str, Any],
        class_names: Sequence[str],
        preprocessing: Preprocessing,
        *,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., dict[str, Any]] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.recipe, self.class_names, self.preprocessing = recipe, tuple(class_names), preprocessing
        self.optimizer, self.scheduler, self.seed = optimizer, scheduler, seed
        self.label_smoothing = float(recipe.get("label_smoothing", 0.0))
        self.predictions: pd.DataFrame | None = None
        self.metrics: dict[str, float | None] = {}
        self._scored: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._sums = torch.zeros(3, dtype=torch.float64)  # no buffer: DDP makes those equal on all processes

    @property
    def num_classes(self) -> int:
        """How many classes the network tells apart."""
        return len(self.class_names)

    def set_network(self, network: nn.Module, head: Sequence[nn.Module]) -> None:
        """Take the built network: memory layout for convolutions, and all but the new layers frozen if asked for."""
        self.head = list(head)  # a plain list: they are registered as parts of the network already
        self.network = network.to(memory_format=torch.channels_last)
        self.frozen = self.recipe["freeze"] == "backbone"
        if self.frozen:
            trained = {id(parameter) for layer in head for parameter in layer.parameters()}
            for parameter in self.network.parameters():
                parameter.requires_grad_(id(parameter) in trained)

    def compile_network(self) -> None:
        """torch.compile in place: what is compiled is called as before, and checkpoints know nothing of it."""
        self.network.compile()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised inputs → (B, C) logits."""
        return self.network(inputs)

    def probabilities(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised inputs → (B, C) float32 probabilities."""
        return self(inputs).float().softmax(dim=1)

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Training loss (a scalar) and logits (B, C)."""
        logits = self(inputs)
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing), logits

    # --- training -------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode; a frozen backbone keeps its batch-norm statistics."""
        super().train(mode)
        if mode and getattr(self, "frozen", False):
            for module in self.network.modules():
                parameters = list(module.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    module.training = False
        return self

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums anew; what it does not measure has no value, not the last epoch's."""
        self.metrics = {}
        self._sums = torch.zeros_like(self._sums, device=self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draws of a step depend on (seed, epoch, batch, rank) alone, so that a restarted run draws the same."""
        where = (self.seed * _SEED_STRIDE + self.current_epoch) * _SEED_STRIDE + batch_idx
        torch.manual_seed((where * 4096 + self.global_rank) % 2**63)

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """One optimizer step's loss."""
        loss, logits = self.loss(batch["inputs"], batch["labels"])
        # On a GPU a look at the loss waits for it: there, not at every step.
        if (loss.device.type == "cpu" or batch_idx % 20 == 0) and not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at epoch {self.current_epoch + 1}, batch {batch_idx + 1}: try a lower "
                "optimizer.lr, a smaller trainer.gradient_clip_val, or trainer.precision=32-true"
            )
        count = len(logits)
        correct = (logits.detach().argmax(dim=1) == batch["labels"]).sum()
        self._sums = self._sums.to(loss.device)  # where a checkpoint was read, it may not be
        self._sums += torch.stack([loss.detach() * count, correct, torch.full_like(correct, count)]).double()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """At the end of the epoch: mean loss and accuracy over it, as the network was at each step.

        Here and not in on_train_epoch_end, which Lightning calls after the callbacks that read these values.
        """
        trainer = self.trainer
        # As trainer.max_time has it. Of several processes, some may know of it earlier than others.
        stops = trainer.world_size == 1 and trainer.should_stop and trainer.fit_loop._can_stop_early
        if trainer.is_last_batch or stops or 0 < trainer.max_steps <= trainer.global_step:
            loss, correct, count = self._sums_of_all().tolist()
            self._record({"train/loss": loss / count, "train/accuracy": correct / count})

    def _sums_of_all(self) -> torch.Tensor:
        """(3,) this epoch's loss × galaxies, right answers and galaxies so far, over all processes."""
        if self._trainer is None or self._trainer.world_size == 1:
            return self._sums
        return self._trainer.strategy.reduce(self._sums.clone(), reduce_op="sum")

    def _record(self, metrics: dict[str, float | None]) -> None:
        """Keep values at full precision, and tell Lightning's callbacks."""
        self.metrics |= metrics
        known = {key: float("nan") if value is None else value for key, value in metrics.items()}
        self.log_dict(known, on_step=False, on_epoch=True, batch_size=1)

    # --- scoring --------------------------------------------------------------------------------------------------

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Collect one batch's answers."""
        self._score(batch)

    def test_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Collect one batch's answers."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Metrics over every validation galaxy, each counted once."""
        self._finish_scoring("val")

    def on_test_epoch_end(self) -> None:
        """Metrics over every test galaxy, each counted once."""
        self._finish_scoring("test")

    def _score(self, batch: dict[str, torch.Tensor]) -> None:
        # Every epoch's validation looks once, as training computes. The numbers that count average what the network
        # says of all views, in float32: so they are those of any other machine, of a catalogue, and of an export.
        passing = self.trainer.state.fn == "fit"
        number = 1 if passing else self.recipe["tta_views"]
        with nullcontext() if passing else torch.autocast(self.device.type, enabled=False):
            answers = [self.probabilities(view) for view in tta_views(batch["inputs"], number)]
        probabilities = torch.stack(answers).mean(dim=0)
        self._scored.append((batch["rows"].cpu(), batch["labels"].cpu(), probabilities.cpu()))

    def _finish_scoring(self, subset: str) -> None:
        scored: list[Any] = [self._scored]
        if self.trainer.world_size > 1:
            scored = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(scored, self._scored)
        self._scored = []
        self.predictions = prediction_table([batch for part in scored for batch in part], self.class_names)
        columns = [f"p_{slug}" for slug in slugs(self.class_names)]
        metrics = classification_metrics(
            torch.tensor(self.predictions[columns].to_numpy()),
            torch.tensor(self.predictions["label"].to_numpy()),
            self.class_names,
        )
        self._record({f"{subset}/{key}": value for key, value in metrics.items()})

    # --- optimizer and checkpoint ---------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """Optimizer and scheduler as the configuration's partials build them."""
        assert self.optimizer is not None
        optimizer = self.optimizer(self)
        if self.scheduler is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        per_epoch = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer, steps, per_epoch)}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning's, which refuses fused optimizers under bf16 too, where nothing is scaled."""
        if not gradient_clip_val:
            return
        clip = nn.utils.clip_grad_value_ if gradient_clip_algorithm == "value" else nn.utils.clip_grad_norm_
        clip([p for group in optimizer.param_groups for p in group["params"]], gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Everything that rebuilds the network, as plain containers (loadable with weights_only=True)."""
        checkpoint["galaxy10"] = {
            "model": self.recipe,
            "class_names": list(self.class_names),
            "preprocessing": {
                "image_size": self.preprocessing.image_size,
                "mean": list(self.preprocessing.mean),
                "std": list(self.preprocessing.std),
                "noise_sigma": list(self.preprocessing.noise_sigma),
            },
            "epoch_sums": self._sums_of_all().tolist(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run that was stopped within an epoch goes on with that epoch's sums, which the first process keeps."""
        sums = torch.tensor(checkpoint["galaxy10"]["epoch_sums"], dtype=self._sums.dtype, device=self.device)
        self._sums = sums if self.global_rank == 0 else torch.zeros_like(sums)


def prediction_table(
    scored: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], class_names: Sequence[str]
) -> pd.DataFrame:
    """row, label, predicted, p_<slug>…: one line per galaxy in file order; repeats from other processes dropped."""
    rows, labels, probabilities = (torch.cat(parts) for parts in zip(*scored, strict=True))
    table = pd.DataFrame({"row": rows.numpy(), "label": labels.numpy(), "predicted": probabilities.argmax(1).numpy()})
    for column, slug in zip(probabilities.T.numpy(), slugs(class_names), strict=True):
        table[f"p_{slug}"] = column
    return table.drop_duplicates("row").sort_values("row", ignore_index=True)
