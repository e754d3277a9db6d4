"""Format settings as Hydra overrides that are parsed to the same values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from galaxy10.config.fields import format_value


def to_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings (dotted key → value) as overrides for train.py."""
    return [f"{key}={format_override(value)}" for key, value in settings.items()]


def format_override(value: Any) -> str:
    """Format a value so that Hydra parses it to the same value."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and not value.startswith("[") and not value.replace("_", "").replace("-", "").isalnum():
        return quote(value)
    return format_value(value)


def quote(value: str | Path) -> str:
    """Quote a string for Hydra's override grammar."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
