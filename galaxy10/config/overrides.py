"""Settings as they are typed: what Hydra's command line reads back as the same values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from galaxy10.config.fields import format_value


def to_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed for train.py."""
    return [f"{key}={format_override(value)}" for key, value in settings.items()]


def format_override(value: Any) -> str:
    """A value as Hydra's command line reads it back."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and not value.startswith("[") and not value.replace("_", "").replace("-", "").isalnum():
        return quote(value)
    return format_value(value)


def quote(value: str | Path) -> str:
    """A text as Hydra reads it whatever characters it has."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
