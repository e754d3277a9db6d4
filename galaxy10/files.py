"""Writing so that a kill or a full disk at any moment leaves the old file or the new one, never half of one."""

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from galaxy10.errors import Galaxy10Error, first_line


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; synced and renamed onto `path` at the end, removed after an error.

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written; `path` is then as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, before the work whose result goes there.

    Raises:
        Galaxy10Error: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> Galaxy10Error:
    """What to tell the user when `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Galaxy10Error(
            f"no space left for {path}; what was there is untouched: free some space, then give the same command again"
        )
    return Galaxy10Error(f"{path} cannot be written ({first_line(error)}); choose a folder that can")


def strict(value: Any) -> Any:
    """The same nested value with null where JSON has no number: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(strict(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no readable file."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
