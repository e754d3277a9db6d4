"""Allowed values of settings. The error for a wrong value names the key, the value, and what is expected."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from galaxy10.errors import Galaxy10Error


@dataclass(frozen=True)
class Field:
    """The allowed values of a setting.

    Attributes:
        allows: function that returns whether a value is allowed.
        expected: description of the allowed values, for messages.
        choices: names to suggest for a misspelt value.
    """

    allows: Callable[[Any], bool]
    expected: str
    choices: tuple[str, ...] = ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def integer(low: int, high: int | None = None) -> Field:
    """Return a field for whole numbers from low to high, both included; no upper limit if high is None."""
    expected = f"a whole number from {low}" + (f" to {high}" if high is not None else "")
    return Field(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low and (high is None or v <= high), expected
    )


def number(low: float, high: float | None = None, *, above: bool = False) -> Field:
    """Return a field for finite numbers from low (excluded if `above`) to high (included)."""
    expected = f"a number {'above' if above else 'from'} {low:g}" + (f" to {high:g}" if high is not None else "")

    def allows(v: Any) -> bool:
        return _is_number(v) and (v > low if above else v >= low) and (v < float("inf") if high is None else v <= high)

    return Field(allows, expected)


def choice(*names: str) -> Field:
    """Return a field for one of these names."""
    return Field(lambda v: v in names, " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names), names)


def boolean() -> Field:
    """Return a field for true or false."""
    return Field(lambda v: isinstance(v, bool), "true or false", ("true", "false"))


def text() -> Field:
    """Return a field for any text that is not empty; a number is allowed, because a folder's name may be one."""
    return Field(lambda v: (isinstance(v, str) and v != "") or _is_number(v), "text")


def pair(low: float, high: float | None = None) -> Field:
    """Return a field for two positive numbers [a, b] with low ≤ a ≤ b ≤ high."""
    top = f", both at most {high:g}" if high is not None else ""

    def allows(v: Any) -> bool:
        good = isinstance(v, list) and len(v) == 2 and all(_is_number(x) for x in v)
        return good and low <= v[0] <= v[1] and v[0] > 0 and (high is None or v[1] <= high)

    return Field(allows, f"two numbers [low,high], both above {low:g}{top}")


def name_list() -> Field:
    """Return a field for a list of at least two class names."""
    return Field(
        lambda v: isinstance(v, list) and len(v) > 1 and all(isinstance(x, str | int) for x in v),
        "a list of class names in label order, as in '[spiral,elliptical]'",
    )


def anything() -> Field:
    """Return a field that allows every value; the code that uses the value checks it."""
    return Field(lambda v: True, "anything")


def one_of(*fields: Field) -> Field:
    """Return a field for values that at least one of the fields allows."""
    return Field(
        lambda v: any(field.allows(v) for field in fields),
        ", or ".join(field.expected for field in fields),
        tuple(name for field in fields for name in field.choices),
    )


def optional(field: Field) -> Field:
    """Return a field that also allows null."""
    return Field(lambda v: v is None or field.allows(v), f"{field.expected}, or null", (*field.choices, "null"))


def iter_settings(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a nested configuration as (dotted key, value); lists and empty sections are values."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from iter_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def find_field(key: str, fields: dict[str, Field]) -> Field | None:
    """Return the field of a dotted key, or of the nearest `section.*` above it; None if the key is unknown."""
    parts = key.split(".")
    above = (".".join(parts[:depth]) + ".*" for depth in range(len(parts), 0, -1))
    return fields.get(key) or next((fields[name] for name in above if name in fields), None)


def check_fields(settings: dict[str, Any], fields: dict[str, Field]) -> None:
    """Check settings (dotted key → value) against fields.

    Raises:
        Galaxy10Error: a key is unknown or its value is not allowed; names the first such key.
    """
    for key, value in settings.items():
        field = find_field(key, fields)
        if field is None:
            raise Galaxy10Error(f"there is no setting {key}{did_you_mean(key, list(fields))}")
        if not field.allows(value):
            hint = did_you_mean(str(value), list(field.choices))
            raise Galaxy10Error(f"{key}={format_value(value)} is not allowed{hint}; expected {field.expected}")


def format_value(value: Any) -> str:
    """Format a value as it is typed on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ",".join(format_value(item) for item in value) + "]"
    return str(value)


def did_you_mean(typed: str, known: list[str], template: str = ": did you mean {}?") -> str:
    """Return the nearest known spelling as the end of a message; an empty string if none is near."""
    by_lower = {name.lower(): name for name in reversed(known)}
    nearest = get_close_matches(typed.lower(), list(by_lower), n=1, cutoff=0.55)
    return template.format(by_lower[nearest[0]]) if nearest else ""
