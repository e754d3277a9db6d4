"""Settings as they are typed: what Hydra's command line reads back as the same values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from galaxy10.config.fields import show


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed for train.py."""
    return [f"{key}={typed(value)}" for key, value in settings.items()]


def typed(value: Any) -> str:
    """A value as Hydra's command line reads it back."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and not value.startswith("[") and not value.replace("_", "").replace("-", "").isalnum():
        return quoted(value)
    return show(value)


def quoted(value: str | Path) -> str:
    """A text as Hydra reads it whatever characters it has."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
