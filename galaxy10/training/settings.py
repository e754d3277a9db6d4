"""Allowed values of the settings of an experiment."""

import re
from collections.abc import Iterator
from typing import Any

from galaxy10.config.building import iter_targets
from galaxy10.config.fields import (
    Field,
    anything,
    boolean,
    check_fields,
    choice,
    find_field,
    integer,
    iter_settings,
    number,
    one_of,
    optional,
    text,
)
from galaxy10.config.groups import trainer_keys
from galaxy10.data import settings as data
from galaxy10.models import settings as models
from galaxy10.models.settings import complete_model
from galaxy10.training.loggers import settings as loggers

_DEVICES = one_of(integer(-1), choice("auto"), text(), Field(lambda v: isinstance(v, list), "a list of numbers"))
_LIMIT = optional(one_of(integer(0), number(0, 1)))
_STRATEGY = one_of(
    choice("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_static_graph", "fsdp", "single_device"),
    Field(lambda v: isinstance(v, str) and v.startswith("deepspeed"), "deepspeed…"),
)
_TIME = Field(
    lambda v: isinstance(v, str) and re.fullmatch(r"\d+:\d\d:\d\d:\d\d", v) is not None,
    "days:hours:minutes:seconds, e.g. 00:01:30:00",
)
_PRECISION = choice(
    "auto", "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "64", "bf16"
)


_SECTIONS = ("augment", "loss", "param_groups", "optimizer", "scheduler", "metrics", "callbacks", "logger", "debug")
_OWN: dict[str, Field] = {
    "seed": integer(0, 2**31 - 1),
    "run.root": text(),
    "run.dir": optional(text()),
    "run.test": boolean(),
    "run.report": boolean(),
    "run.overwrite": boolean(),
    "monitor": text(),
    **{name: anything() for name in _SECTIONS},
    "callbacks.early_stopping._target_": text(),
    "callbacks.early_stopping.monitor": text(),
    "callbacks.early_stopping.mode": optional(choice("min", "max")),
    "callbacks.early_stopping.patience": integer(0),
    "callbacks.early_stopping.min_delta": number(0),
    "callbacks.ema._target_": text(),
    "callbacks.ema.decay": number(0, 0.999999),
    "callbacks.ema.warmup": integer(1),
    **{
        f"callbacks.{name}.{key}": field
        for name in ("mixup", "cutmix")
        for key, field in {
            "_target_": text(),
            "seed": integer(0, 2**31 - 1),
            "alpha": number(0, above=True),
            "probability": number(0, 1),
        }.items()
    },
    "debug.name": text(),
    "experiment": anything(),
    "slurm.wait": boolean(),
    "slurm.cpus_per_task": optional(integer(1)),
    "trainer.max_epochs": integer(1, 1_000_000),
    "trainer.min_epochs": optional(integer(0)),
    "trainer.max_steps": one_of(integer(1), Field(lambda v: v == -1, "-1 (no limit)")),
    "trainer.min_steps": optional(integer(0)),
    "trainer.max_time": optional(_TIME),
    "trainer.strategy": _STRATEGY,
    "trainer.devices": _DEVICES,
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.num_nodes": integer(1),
    "trainer.compile": boolean(),
    "trainer.scheduler_interval": choice("epoch", "step"),
    "trainer.precision": one_of(_PRECISION, Field(lambda v: v in (16, 32, 64), "16, 32 or 64")),
    "trainer.fast_dev_run": one_of(boolean(), integer(0)),
    "trainer.limit_train_batches": _LIMIT,
    "trainer.limit_val_batches": _LIMIT,
    "trainer.limit_test_batches": _LIMIT,
    "trainer.val_check_interval": optional(one_of(integer(1), number(0, 1, above=True), _TIME)),
    "trainer.overfit_batches": one_of(integer(0), number(0, 1)),
    "trainer.check_val_every_n_epoch": optional(integer(1)),
    "trainer.accumulate_grad_batches": integer(1),
    "trainer.gradient_clip_val": optional(number(0)),
    "trainer.gradient_clip_algorithm": optional(choice("norm", "value")),
    "trainer.profiler": optional(choice("simple", "advanced", "pytorch")),
    "trainer.deterministic": optional(one_of(boolean(), choice("warn"))),
    "trainer.benchmark": optional(boolean()),
    "trainer.sync_batchnorm": boolean(),
    "trainer.barebones": Field(lambda v: v is False, "false (a run needs its checkpoints and metrics)"),
    "trainer.use_distributed_sampler": Field(lambda v: v is False, "false (the loader shards by itself)"),
    "trainer.*": anything(),
}

FIELDS: dict[str, Field] = {**data.FIELDS, **models.FIELDS, **loggers.FIELDS, **_OWN}


_OTHERS_CHECKED = ("galaxy10.", "torch.", "lightning.")  # classes whose arguments have the meaning given in FIELDS
_OF_ANY_KEY = ("callbacks", "logger", "metrics", "loss", "param_groups", "optimizer", "scheduler")


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Return a composed configuration with an empty dict for each absent section, and a complete `model` section."""
    full = {**config, **{name: config.get(name) or {} for name in _SECTIONS}}
    return {**full, "model": complete_model(config.get("model") or {})}


def complete_and_check(config: dict[str, Any]) -> dict[str, Any]:
    """Return a complete composed configuration after checking every value; see complete and check_values."""
    full = complete(config)
    check_values(full)
    return full


def check_values(config: dict[str, Any]) -> None:
    """Check every setting against its field.

    The arguments of classes outside this package are checked against their signatures (galaxy10.config.building).

    Raises:
        Galaxy10Error: a key is unknown or its value is not allowed; names the first such key.
    """
    owners = dict(iter_targets(config))
    for key, value in iter_settings(config):
        owner = next((owners[part]["_target_"] for part in _enclosing(key) if part in owners), None)
        field = find_field(key, FIELDS)
        section = key.partition(".")[0]
        if field is None and owner and (not owner.startswith("galaxy10.") or section in _OF_ANY_KEY):
            continue
        if field is not None and owner and not owner.startswith(_OTHERS_CHECKED) and not key.endswith("_target_"):
            continue
        check_fields({key: value}, FIELDS)


def _enclosing(key: str) -> Iterator[str]:
    """Yield the keys of the sections that contain a setting, the innermost first."""
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def known_keys() -> set[str]:
    """Return the dotted keys of all settings in FIELDS and of all arguments of Lightning's Trainer."""
    return set(FIELDS) | {f"trainer.{key}" for key in trainer_keys()}
