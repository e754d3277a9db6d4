"""Format settings as Hydra overrides that are parsed to the same values."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from galaxy10.config.fields import format_value

# What neither a shell nor Hydra reads as syntax or as a number, in any locale.
_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[A-Za-z0-9_./+-]*")
_WORDS = ("null", "true", "false", "nan", "inf")


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


def typed_setting(key: str, value: str | Path) -> str:
    """Return `key=value` as typed in a shell so that Hydra reads the value as text: with quotes where it needs them."""
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return f"{key}={text}"
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)  # backslashes are special to Hydra before a quote only
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return shlex.quote(f'{key}="{escaped}"')
