"""The search space of a study: settings of train.py with their choices or ranges, and conditions between them.

A space is nested like the configuration that it varies (conf/sweep/*.yaml). This file does not import Optuna, so that
an invalid space is refused fast.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from galaxy10.config.fields import did_you_mean, find_field, format_value
from galaxy10.errors import Galaxy10Error
from galaxy10.training.settings import FIELDS

Choice = str | int | float | bool | None
_KEYWORDS = ("low", "high", "log", "step", "choices", "when", "by")
_SECTIONS = frozenset(key.partition(".")[0] for key in FIELDS)
_CLOSED_SECTIONS = ("augment", "trainer", "run")  # without settings of a user's own classes
# Other settings of these sections change the evaluated galaxies or the output: trials would not be comparable.
_FIXED_SECTIONS = ("run", "sweep", "logger", "hydra", "debug", "callbacks")
_VARIABLE_DATA = ("batch_size", "balance")


@dataclass(frozen=True)
class Parameter:
    """A dimension of a search space: a list of choices, or a range from low to high, both included.

    Attributes:
        name: the key, with [choice] if `by` defines a range per choice.
        key: the setting of train.py.
        step: distance of the values; None: 1 for integers, else continuous.
        integer: whether values are integers.
        when: other settings of the space, and their choices for which this parameter is active.
    """

    name: str
    key: str
    choices: tuple[Choice, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    integer: bool = False
    when: dict[str, tuple[Choice, ...]] = field(default_factory=dict)

    def is_active(self, chosen: Mapping[str, Any]) -> bool:
        """Return whether the parameter is varied, given the settings (key → value) chosen so far."""
        return all(key in chosen and chosen[key] in allowed for key, allowed in self.when.items())

    def allows(self, value: Any) -> bool:
        """Return whether a value is one of the choices or lies in the range."""
        if self.choices:
            return any(
                value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.integer or value == int(value))

    def grid(self) -> list[Choice]:
        """Return all values.

        Raises:
            Galaxy10Error: the range is continuous or logarithmic.
        """
        if self.choices:
            return list(self.choices)
        if self.log or (self.step is None and not self.integer):
            raise Galaxy10Error(
                f"sweep.sampler=grid needs choices or a step everywhere, and sweep.space.{self.key} has neither; "
                f"type e.g. 'sweep.space.{self.key}={{choices:[{self.low:g},{self.high:g}]}}', or sweep.sampler=tpe"
            )
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        values = [self.low + i * step for i in range(count)]
        if self.integer:
            return [int(value) for value in values]
        # Remove rounding errors: 0.1 + 6 * 0.1 is above 0.7.
        return [min(max(float(f"{value:.12g}"), self.low), self.high) for value in values]


def read_space(tree: Any, groups: Mapping[str, list[str]]) -> list[Parameter]:
    """Read the parameters of a `sweep.space` section; those that others depend on come first.

    Args:
        tree: nested like the configuration; a leaf has low and high (log, step) or choices, and optionally when; a node
            with `by: KEY` has one leaf for each choice of KEY.
        groups: configuration groups and their choices.

    Raises:
        Galaxy10Error: the section is not valid.
    """
    if not isinstance(tree, dict) or not tree:
        raise Galaxy10Error("sweep.space is empty; add e.g. '+sweep.space.model.dropout={low:0,high:0.5}'")
    parameters = list(_read(tree, "", groups))
    if not parameters:
        raise Galaxy10Error("sweep.space is empty; add e.g. '+sweep.space.model.dropout={low:0,high:0.5}'")
    return _parents_first(parameters)


def _read(tree: dict[str, Any], prefix: str, groups: Mapping[str, list[str]]) -> Iterator[Parameter]:
    for word, node in tree.items():
        key = f"{prefix}{word}"
        if not isinstance(node, dict):
            hint = did_you_mean(str(word), list(_KEYWORDS))
            raise Galaxy10Error(
                f"sweep.space.{key}={format_value(node)} is not a range{hint}; "
                "expected {low: …, high: …} or {choices: […]}"
            )
        spec = {name: node[name] for name in _KEYWORDS if name in node}
        rest = {name: value for name, value in node.items() if name not in _KEYWORDS}
        if "by" in spec:
            yield from _read_branches(key, spec, rest, groups)
            continue
        if spec and rest and key not in groups:
            wrong = next(iter(rest))
            hint = did_you_mean(str(wrong), list(_KEYWORDS))
            raise Galaxy10Error(f"sweep.space.{key} has no keyword {wrong}{hint}; expected {', '.join(_KEYWORDS)}")
        if spec:
            yield _parameter(key, key, spec, groups)
        yield from _read(rest, f"{key}.", groups)


def _read_branches(
    key: str, spec: dict[str, Any], branches: dict[str, Any], groups: Mapping[str, list[str]]
) -> Iterator[Parameter]:
    others = [word for word in spec if word != "by"]
    if others or not isinstance(spec["by"], str) or not branches:
        raise Galaxy10Error(f"sweep.space.{key}: with by, expected {{by: KEY, CHOICE: {{low: …, high: …}}, …}}")
    for choice, node in branches.items():
        if not isinstance(node, dict) or set(node) - set(_KEYWORDS):
            raise Galaxy10Error(f"sweep.space.{key}.{choice}={format_value(node)}; expected {{low: …, high: …}}")
        parent = spec["by"]
        yield _parameter(
            f"{key}[{choice}]", key, {**node, "when": {**(node.get("when") or {}), parent: choice}}, groups
        )


def _parameter(name: str, key: str, spec: dict[str, Any], groups: Mapping[str, list[str]]) -> Parameter:
    where = f"sweep.space.{name.replace('[', '.').rstrip(']')}"
    check_key(key, where, groups)
    when = _conditions(where, spec.get("when"))
    if "choices" in spec:
        if set(spec) & {"low", "high", "log", "step"}:
            raise Galaxy10Error(f"{where} has both choices and a range; leave one of them out")
        return Parameter(name, key, _choices(where, key, spec["choices"], groups), when=when)
    if key in groups:
        raise Galaxy10Error(f"{where} is a group, which has choices and no range; choices: {', '.join(groups[key])}")
    return _range(name, key, where, spec, when)


def _range(name: str, key: str, where: str, spec: dict[str, Any], when: dict[str, tuple[Choice, ...]]) -> Parameter:
    low, high, log, step = (spec.get(word) for word in ("low", "high", "log", "step"))
    for word, value in (("low", low), ("high", high), *((("step", step),) if step is not None else ())):
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            raise Galaxy10Error(f"{where}.{word}={format_value(value)} is not allowed; expected a number")
    assert low is not None
    assert high is not None
    if log not in (None, True, False):
        raise Galaxy10Error(f"{where}.log={format_value(log)} is not allowed; expected true or false")
    if low > high:
        raise Galaxy10Error(f"{where}: low={low} is above high={high}; swap them")
    if low == high:
        raise Galaxy10Error(f"{where}: low and high are both {low}; for a fixed value type {key}={low}")
    if log and low <= 0:
        raise Galaxy10Error(
            f"{where}: log=true needs low above 0, found low={low}; type e.g. {where}.low={high / 1e4:g}"
        )
    if log and step is not None:
        raise Galaxy10Error(f"{where}: log=true and step do not go together; leave out one of them")
    if step is not None and not 0 < step <= high - low:
        raise Galaxy10Error(f"{where}.step={step} is not allowed; expected a number above 0, at most high-low")
    rule = find_field(key, FIELDS)
    for word, value in (("low", low), ("high", high)):
        if rule is not None and not rule.allows(value):
            raise Galaxy10Error(
                f"{where}.{word}={format_value(value)} is not allowed for {key}; expected {rule.expected}"
            )
    whole = all(isinstance(value, int) for value in (low, high, step or 1)) and not (rule and rule.allows(low + 0.5))
    if not whole and rule is not None and not rule.allows(float(low + (high - low) / 3)):
        raise Galaxy10Error(f"{where} contains values that are not allowed for {key}; expected {rule.expected}")
    return Parameter(name, key, low=low, high=high, log=bool(log), step=step, integer=whole, when=when)


def check_key(key: str, where: str, groups: Mapping[str, list[str]]) -> None:
    """Check that a setting exists and may be varied.

    Raises:
        Galaxy10Error: the setting does not exist, or must be the same in all trials.
    """
    group, _, name = key.partition(".")
    if group in _FIXED_SECTIONS or (group == "data" and name not in _VARIABLE_DATA):
        raise Galaxy10Error(
            f"{where}: {key} must be the same in all trials, which are evaluated on the same galaxies in the same way; "
            f"type {key}=… to set it for all"
        )
    # The name of a group alone is a choice of the group. A key inside a section may belong to a user's own class:
    # composing a trial shows whether it exists.
    if key not in groups and (name == "" or group not in _SECTIONS) and key != "seed":
        known = [field for field in FIELDS if not field.endswith("*")]
        raise Galaxy10Error(f"{where}: there is no setting {key}{did_you_mean(key, [*known, *groups])}")
    if group in _CLOSED_SECTIONS and find_field(key, FIELDS) is None:
        known = [field for field in FIELDS if field.startswith(f"{group}.")]
        raise Galaxy10Error(f"{where}: there is no setting {key}{did_you_mean(key, known)}")


def _choices(where: str, key: str, given: Any, groups: Mapping[str, list[str]]) -> tuple[Choice, ...]:
    if not isinstance(given, list) or not given:
        raise Galaxy10Error(f"{where}.choices={format_value(given)} is not allowed; expected a list, as in [a,b]")
    choices = tuple(format_value(value) if isinstance(value, list | dict) else value for value in given)
    for choice in choices:
        if key in groups:
            if choice not in groups[key]:
                hint = did_you_mean(str(choice), groups[key])
                raise Galaxy10Error(f"{where}: there is no {key}={choice}{hint} (choices: {', '.join(groups[key])})")
            continue
        rule = find_field(key, FIELDS)
        if rule is not None and not rule.allows(as_read(choice)):
            hint = did_you_mean(str(choice), list(rule.choices))
            raise Galaxy10Error(f"{where}: {key}={format_value(choice)} is not allowed{hint}; expected {rule.expected}")
    if len(set(map(repr, choices))) < len(choices):
        raise Galaxy10Error(f"{where}.choices contains a value twice; remove one")
    return choices


def as_read(choice: Choice) -> Any:
    """Return a choice as train.py reads it: a list is stored as text."""
    return yaml.safe_load(choice) if isinstance(choice, str) and choice.startswith("[") else choice


def _conditions(where: str, when: Any) -> dict[str, tuple[Choice, ...]]:
    if when is None:
        return {}
    if not isinstance(when, dict):
        raise Galaxy10Error(
            f"{where}.when={format_value(when)} is not allowed; expected {{KEY: CHOICE}}, e.g. {{optimizer: sgd}}"
        )
    return {key: tuple(value) if isinstance(value, list) else (value,) for key, value in when.items()}


def _parents_first(parameters: list[Parameter]) -> list[Parameter]:
    by_key: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        by_key.setdefault(parameter.key, []).append(parameter)
    for parameter in parameters:
        for parent, allowed in parameter.when.items():
            if parent not in by_key:
                hint = did_you_mean(parent, list(by_key))
                raise Galaxy10Error(
                    f"sweep.space.{parameter.key} depends on {parent}, which is not in sweep.space{hint}"
                )
            choices = [choice for p in by_key[parent] for choice in p.choices]
            for choice in allowed:
                if choice not in choices:
                    hint = did_you_mean(str(choice), [str(c) for c in choices])
                    raise Galaxy10Error(
                        f"sweep.space.{parameter.key} depends on {parent}={format_value(choice)}, "
                        f"which is not one of its choices{hint}"
                    )
    ordered: list[Parameter] = []
    waiting = list(parameters)
    while waiting:
        done = {parameter.key for parameter in ordered} - {parameter.key for parameter in waiting}
        ready = [parameter for parameter in waiting if set(parameter.when) <= done]
        if not ready:
            raise Galaxy10Error(f"sweep.space: {', '.join(p.key for p in waiting)} depend on each other in a circle")
        ordered += ready
        waiting = [parameter for parameter in waiting if parameter not in ready]
    return ordered
