"""Points of a search space: chosen, checked, named, and all of them where they can be counted."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from galaxy10.config.fields import show
from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.space import Choice, Parameter


def choose(space: list[Parameter], take: Callable[[Parameter], Any]) -> dict[str, Any]:
    """One point of a space: setting → value, for the parameters that are active.

    Args:
        take: gives a parameter's value.
    """
    chosen: dict[str, Any] = {}
    for parameter in space:
        if parameter.is_active(chosen):
            chosen[parameter.key] = take(parameter)
    return chosen


def named(space: list[Parameter], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A point of the space under the parameters' names; what lies outside of the space or is missing is refused.

    Raises:
        Galaxy10Error: says which setting.
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
            raise Galaxy10Error(f"{parameter.key}={show(value)} is outside of sweep.space")
        point[parameter.name] = chosen[parameter.key] = value
    for key in settings:
        if key not in chosen:
            raise Galaxy10Error(f"{key} is not varied")
    return point


def covering(space: list[Parameter]) -> list[dict[str, Any]]:
    """A few points that between them hold every choice and both ends of every range, to try a space on."""
    points: list[dict[str, Any]] = []
    for turn in range(max([2, *(len(parameter.choices) for parameter in space)])):
        point = choose(space, partial(_at_turn, turn))
        if point not in points:
            points.append(point)
    return points


def _at_turn(turn: int, parameter: Parameter) -> Choice:
    if parameter.choices:
        return parameter.choices[turn % len(parameter.choices)]
    end = (parameter.low, parameter.high)[turn % 2]
    return int(end) if parameter.whole else float(end)


def all_points(space: list[Parameter]) -> list[dict[str, Any]]:
    """Every point of a grid.

    Raises:
        Galaxy10Error: a parameter has no finite list of values; more than a million points.
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
