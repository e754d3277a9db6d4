"""Points of a search space: choose them, check them, and list those of a grid."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from galaxy10.config.fields import format_value
from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.space import Choice, Parameter


def choose(space: list[Parameter], value_of: Callable[[Parameter], Any]) -> dict[str, Any]:
    """Choose a point of a space: setting → value of every active parameter.

    Args:
        value_of: returns the value of a parameter.
    """
    chosen: dict[str, Any] = {}
    for parameter in space:
        if parameter.is_active(chosen):
            chosen[parameter.key] = value_of(parameter)
    return chosen


def to_params(space: list[Parameter], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a point from settings to Optuna's params: parameter name → value.

    Raises:
        Galaxy10Error: a setting is missing, not in the space, or outside of its range.
    """
    point: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for parameter in space:
        if not parameter.is_active(chosen):
            continue
        if parameter.key not in settings:
            raise Galaxy10Error(f"{parameter.key} is missing")
        value = settings[parameter.key]
        if not parameter.allows(value):
            raise Galaxy10Error(f"{parameter.key}={format_value(value)} is outside of sweep.space")
        point[parameter.name] = chosen[parameter.key] = value
    for key in settings:
        if key not in chosen:
            raise Galaxy10Error(f"{key} is not varied")
    return point


def covering_points(space: list[Parameter]) -> list[dict[str, Any]]:
    """Return a few points that together contain every choice and both ends of every range."""
    points: list[dict[str, Any]] = []
    for number in range(max([2, *(len(parameter.choices) for parameter in space)])):
        point = choose(space, partial(_covering_value, number))
        if point not in points:
            points.append(point)
    return points


def _covering_value(number: int, parameter: Parameter) -> Choice:
    if parameter.choices:
        return parameter.choices[number % len(parameter.choices)]
    end = (parameter.low, parameter.high)[number % 2]
    return int(end) if parameter.integer else float(end)


def all_points(space: list[Parameter]) -> list[dict[str, Any]]:
    """Return every point of a grid.

    Raises:
        Galaxy10Error: a parameter is continuous, or there are more than a million points.
    """
    grids = {parameter.name: parameter.grid() for parameter in space}
    size = 1
    for column in grids.values():
        size *= len(column)
    if size > 1_000_000:
        raise Galaxy10Error(
            f"sweep.sampler=grid would have up to {size:,} points; type sweep.sampler=tpe or fewer choices"
        )
    points: list[dict[str, Any]] = []
    seen: set[tuple[tuple[str, str], ...]] = set()
    for values in itertools.product(*grids.values()):
        at = dict(zip(grids, values, strict=True))
        point = choose(space, partial(_named_value, at))
        mark = tuple((key, repr(value)) for key, value in point.items())
        if mark not in seen:
            seen.add(mark)
            points.append(point)
    return points


def _named_value(values: Mapping[str, Choice], parameter: Parameter) -> Choice:
    return values[parameter.name]
