"""The learning rate at every step of a training, for each schedule of `conf/scheduler`."""

import math

import lightning as L
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn

from galaxy10.config.building import build
from galaxy10.config.compose import to_container
from galaxy10.config.paths import CONF
from galaxy10.models import Classifier

EPOCHS, STEPS, RATE = 3, 4, 0.5


class Rates(L.Callback):
    """Keeps the rate that every step is made with."""

    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def train(module, *callbacks, epochs=EPOCHS, **options):
    """Train in Lightning's own Trainer, on batches of two images."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "inputs": torch.randn(2, 3, 8, 8, generator=generator),
            "labels": torch.tensor([0, 1]),
            "rows": torch.arange(2),
        }
        for _ in range(STEPS)
    ]
    L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), **options,
    ).fit(module, torch.utils.data.DataLoader(batches, batch_size=None))  # fmt: skip


def rates_of(*words, **options):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = to_container(compose("train", overrides=["optimizer=sgd", f"optimizer.lr={RATE}", *words]))
    parts = {name: build(config[name], {}, name) for name in ("optimizer", "scheduler") if config[name]["_target_"]}
    interval = config["trainer"]["scheduler_interval"]
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    kept = Rates()
    train(Classifier(network, num_classes=2, scheduler_interval=interval, **parts), kept, **options)
    return kept.rates


@pytest.mark.filterwarnings("ignore")
def test_step_multiplies_the_rate_every_so_many_epochs():
    rates = rates_of("scheduler=step", "scheduler.step_size=1", "scheduler.gamma=0.1")
    assert rates == pytest.approx([RATE] * STEPS + [RATE / 10] * STEPS + [RATE / 100] * STEPS)
    assert rates_of("scheduler=step") == [RATE] * EPOCHS * STEPS  # five epochs are not over


@pytest.mark.filterwarnings("ignore")
def test_cosine_warms_up_over_an_epoch_and_falls_to_its_share():
    total = EPOCHS * STEPS
    fall = [0.01 + 0.99 * (1 + math.cos(math.pi * step / (total - STEPS))) / 2 for step in range(total - STEPS)]
    expected = [RATE * share for share in (0.2, 0.4, 0.6, 0.8, *fall)]
    assert rates_of("scheduler=cosine") == pytest.approx(expected)
    straight = rates_of("scheduler=cosine", "scheduler.warmup_epochs=0", "scheduler.min_lr_ratio=0.5")
    assert straight[0] == RATE
    assert straight == sorted(straight, reverse=True)
    assert RATE / 2 < straight[-1] < 0.52 * RATE


@pytest.mark.filterwarnings("ignore")
def test_onecycle_rises_from_a_tenth_and_ends_at_nearly_nothing():
    rates = rates_of("scheduler=onecycle")
    assert len(rates) == EPOCHS * STEPS
    assert rates[0] == pytest.approx(RATE / 10)
    top = rates.index(max(rates))
    assert top in (2, 3)  # a quarter of the run
    assert rates[top] > 0.9 * RATE
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.03 * RATE


@pytest.mark.filterwarnings("ignore")
def test_without_a_schedule_the_rate_stays():
    assert rates_of("scheduler=none") == [RATE] * EPOCHS * STEPS


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_of_torch_steps_once_an_epoch_or_once_a_step_and_is_told_how_long_the_run_is():
    words = ["scheduler=step", "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR"]
    words += ["~scheduler.step_size", "~scheduler.gamma"]
    by_epoch = rates_of(*words)
    expected = [RATE * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2 for epoch in range(EPOCHS) for _ in range(STEPS)]
    assert by_epoch == pytest.approx(expected)
    total = EPOCHS * STEPS
    by_step = rates_of(*words, "trainer.scheduler_interval=step")
    assert by_step == pytest.approx([RATE * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)])


@pytest.mark.filterwarnings("ignore")
def test_accumulated_batches_make_fewer_and_so_longer_steps():
    rates = rates_of("scheduler=cosine", "scheduler.warmup_epochs=0", accumulate_grad_batches=2)
    steps = EPOCHS * STEPS // 2
    shares = [0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    assert rates[::2] == pytest.approx([RATE * share for share in shares])
