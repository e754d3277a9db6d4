"""What each setting may be. A value outside is refused with the key, what it was, and what is expected."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from galaxy10.errors import Galaxy10Error

SOLVED_AT_ONCE = ("pca_logreg",)


@dataclass(frozen=True)
class Field:
    """allows: whether a value will do; expected: what to type, for the message; choices: names to guess from."""

    allows: Callable[[Any], bool]
    expected: str
    choices: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def integer(low: int, high: int | None = None) -> Field:
    """A whole number from low to high, both included."""
    expected = f"a whole number from {low}" + (f" to {high}" if high is not None else "")
    return Field(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low and (high is None or v <= high), expected
    )


def number(low: float, high: float | None = None, *, above: bool = False) -> Field:
    """A number from low (or above it) to high."""
    expected = f"a number {'above' if above else 'from'} {low:g}" + (f" to {high:g}" if high is not None else "")

    def allows(v: Any) -> bool:
        return _is_number(v) and (v > low if above else v >= low) and (v < float("inf") if high is None else v <= high)

    return Field(allows, expected)


def choice(*names: str) -> Field:
    """One of some names."""
    return Field(lambda v: v in names, " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names), names)


def boolean() -> Field:
    """true or false."""
    return Field(lambda v: isinstance(v, bool), "true or false", ("true", "false"))


def text() -> Field:
    """Any text; a bare number counts, as folders may be called so."""
    return Field(lambda v: (isinstance(v, str) and v != "") or _is_number(v), "text")


def pair(low: float, high: float | None = None) -> Field:
    """Two numbers [a, b], low ≤ a ≤ b ≤ high, above zero."""
    top = f", both at most {high:g}" if high is not None else ""

    def allows(v: Any) -> bool:
        good = isinstance(v, list) and len(v) == 2 and all(_is_number(x) for x in v)
        return good and low <= v[0] <= v[1] and v[0] > 0 and (high is None or v[1] <= high)

    return Field(allows, f"two numbers [low,high], both above {low:g}{top}")


def names() -> Field:
    """A list of at least two different names."""
    return Field(
        lambda v: isinstance(v, list) and len(v) > 1 and all(isinstance(x, str | int) for x in v),
        "a list of class names in label order, as in '[spiral,elliptical]'",
    )


def anything() -> Field:
    """No expectation: whoever receives it checks it."""
    return Field(lambda v: True, "anything")


def one_of(*rules: Field) -> Field:
    """Whatever one of the rules allows."""
    return Field(
        lambda v: any(rule.allows(v) for rule in rules),
        ", or ".join(rule.expected for rule in rules),
        tuple(name for rule in rules for name in rule.choices),
    )


def optional(rule: Field) -> Field:
    """The same, or null."""
    return Field(lambda v: v is None or rule.allows(v), f"{rule.expected}, or null", (*rule.choices, "null"))


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

FIELDS: dict[str, Field] = {
    "seed": integer(0, 2**31 - 1),
    "run.root": text(),
    "run.dir": optional(text()),
    "run.test": boolean(),
    "run.report": boolean(),
    "run.overwrite": boolean(),
    "data.name": choice("galaxy10", "hdf5", "simulated"),
    "data.path": optional(text()),
    "data.dir": text(),
    "data.variant": optional(choice("full", "no_duplicates")),
    "data.class_names": optional(names()),
    "data.store_dir": optional(text()),
    "data.protocol": choice("default", "baseline_80_20", "baseline_90_10"),
    "data.split_seed": integer(0, 2**31 - 1),
    "data.num_folds": optional(integer(3, 100)),
    "data.fold": optional(integer(0)),
    "data.duplicates": choice("drop", "first", "keep"),
    "data.blanks": choice("drop", "keep"),
    "data.balance": choice("none", "soft", "dihedral", "weighted"),
    "data.batch_size": integer(2, 100_000),
    "data.eval_batch_size": integer(1, 100_000),
    "data.cache_on_device": one_of(boolean(), choice("auto")),
    "data.num_images": integer(30, 10_000_000),
    "data.image_px": integer(16, 1024),
    "data.simulation_seed": integer(0, 2**31 - 1),
    "augment.name": text(),
    "augment.dihedral": choice("none", "horizontal_flip", "all"),
    "augment.crop_area": pair(0, 1),
    "augment.crop_aspect": pair(0),
    "augment.rotation_deg": number(0, 180),
    "augment.zoom": pair(0),
    "augment.shift": number(0, 0.5),
    "augment.noise": number(0, 100),
    "model._target_": text(),
    "model.name": text(),
    "model.backbone": optional(text()),
    "model.image_size": one_of(integer(16, 4096), choice("auto")),
    "model.default_image_size": optional(integer(16)),
    "model.min_image_size": integer(1),
    "model.pretrained": boolean(),
    "model.weights": optional(text()),
    "model.freeze": choice("none", "backbone"),
    "model.dropout": number(0, 0.99),
    "model.label_smoothing": number(0, 0.99),
    "model.tta_views": Field(lambda v: v in (1, 2, 4, 8) and not isinstance(v, bool), "1, 2, 4 or 8"),
    "model.learning_rate": number(0, above=True),
    "model.num_components": integer(1, 10_000),
    "model.scree_components": integer(1, 10_000),
    "model.components_from": choice("train", "each_subset"),
    "model.standardize": boolean(),
    "model.C": number(0, above=True),
    "model.max_iterations": integer(1),
    "optimizer._target_": optional(text()),
    "optimizer._partial_": boolean(),
    "optimizer.optimizer_class": text(),
    "optimizer.lr": number(0, above=True),
    "optimizer.weight_decay": number(0),
    "optimizer.momentum": number(0, 0.9999),
    "optimizer.nesterov": boolean(),
    "optimizer.fused": boolean(),
    "optimizer.decay_norms_and_biases": boolean(),
    "optimizer.*": anything(),
    "scheduler._target_": optional(text()),
    "scheduler._partial_": boolean(),
    "scheduler.step_size": integer(1),
    "scheduler.gamma": number(0, 1, above=True),
    "scheduler.warmup_epochs": number(0),
    "scheduler.min_lr_ratio": number(0, 1),
    "scheduler.pct_start": number(0, 0.99, above=True),
    "scheduler.div_factor": number(1),
    "callbacks.early_stopping": optional(anything()),
    "callbacks.early_stopping.monitor": text(),
    "callbacks.early_stopping.mode": optional(choice("min", "max")),
    "callbacks.early_stopping.patience": integer(0),
    "callbacks.early_stopping.min_delta": number(0),
    "logger.name": choice("csv", "wandb", "tensorboard"),
    "logger.mode": choice("auto", "online", "offline", "disabled"),
    "logger.project": text(),
    "logger.entity": optional(text()),
    "logger.group": optional(text()),
    "logger.tags": Field(
        lambda v: isinstance(v, list) and all(isinstance(x, str | int) for x in v), "a list, as in '[bars,test]'"
    ),
    "logger.run_name": optional(text()),
    "logger.checkpoint": boolean(),
    "logger.upload_timeout_s": number(0, 86_400),
    "debug.name": text(),
    "experiment": anything(),
    "slurm.wait": boolean(),
    "slurm.cpus_per_task": optional(integer(1)),
    "trainer.max_epochs": integer(1, 1_000_000),
    "trainer.min_epochs": optional(integer(0)),
    "trainer.max_steps": integer(-1),
    "trainer.min_steps": optional(integer(0)),
    "trainer.max_time": optional(_TIME),
    "trainer.strategy": _STRATEGY,
    "trainer.devices": _DEVICES,
    "trainer.accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.num_nodes": integer(1),
    "trainer.compile": boolean(),
    "trainer.precision": one_of(_PRECISION, Field(lambda v: v in (16, 32, 64), "16, 32 or 64")),
    "trainer.fast_dev_run": one_of(boolean(), integer(0)),
    "trainer.limit_train_batches": _LIMIT,
    "trainer.limit_val_batches": _LIMIT,
    "trainer.limit_test_batches": _LIMIT,
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


def leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings of a nested configuration as (dotted key, value); lists and empty sections are values."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def field_of(key: str, rules: dict[str, Field] | None = None) -> Field | None:
    """The rule of a dotted key, of train.py's if no other table is given; None where the key is unknown."""
    rules = FIELDS if rules is None else rules
    return rules.get(key) or rules.get(f"{key.split('.')[0]}.*")


def check_values(config: dict[str, Any]) -> None:
    """Every setting against its rule.

    Raises:
        Galaxy10Error: the first key that does not fit, in one line.
    """
    check_fields(dict(leaves(config)), FIELDS)


def check_fields(settings: dict[str, Any], rules: dict[str, Field]) -> None:
    """Settings (dotted key → value) against a table of rules.

    Raises:
        Galaxy10Error: the first key that does not fit, in one line.
    """
    for key, value in settings.items():
        rule = field_of(key, rules)
        if rule is None:
            raise Galaxy10Error(f"there is no setting {key}{did_you_mean(key, list(rules))}")
        if not rule.allows(value):
            hint = did_you_mean(str(value), list(rule.choices))
            raise Galaxy10Error(f"{key}={show(value)} is not allowed{hint}; expected {rule.expected}")


def show(value: Any) -> str:
    """A value as it would be typed on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(show(item) for item in value) + "]"
    return str(value)


def did_you_mean(typed: str, known: list[str], template: str = ": did you mean {}?") -> str:
    """The nearest right spelling as the tail of a message, or nothing."""
    nearest = get_close_matches(typed.lower(), known, n=1, cutoff=0.55)
    return template.format(nearest[0]) if nearest else ""
