"""Atomic writes: after a kill or with a full disk, a file has its old or its new content, never half of it."""

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeGuard

from galaxy10.errors import Galaxy10Error, first_line

_TRIAL_BYTES = 64 * 1024


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on exit, sync the temporary file and rename it to `path`.

    After an error, the temporary file is removed and `path` is unchanged.

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    # A process number is unique in its container only.
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # a link of this name would be followed to another file
        yield part
        atomic_rename(part, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of killed processes below a folder that only this process writes."""
    for part in folder.rglob(".*.part"):
        with suppress(OSError):
            part.unlink()


def remove_leftovers_of(path: Path) -> None:
    """Delete the temporary files of killed processes beside a file that only this process writes."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        with suppress(OSError):
            part.unlink()


def atomic_rename(part: Path, path: Path) -> None:
    """Sync a complete file, then give it its name in the same folder.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def make_directory(path: Path) -> None:
    """Create a directory and its parents.

    Raises:
        Galaxy10Error: the directory cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def is_disk_error(error: BaseException) -> TypeGuard[OSError]:
    """Return whether an error is a full or read-only disk, which is no bug wherever it is met."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def can_write(folder: Path) -> bool:
    """Return whether a file of 64 KiB can be written in a folder; a full disk may still have room for smaller ones."""
    try:
        with TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(_TRIAL_BYTES)) == _TRIAL_BYTES
    except OSError:
        return False


def write_error(path: Path, error: OSError) -> Galaxy10Error:
    """Return the error to raise when `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Galaxy10Error(
            f"no space left for {path} (its old content is unchanged); free some space, then run the same command again"
        )
    if error.errno == errno.ENOLCK:
        return Galaxy10Error(f"{path} cannot be written: its file system has no locks; choose a folder on a local disk")
    return Galaxy10Error(f"{path} cannot be written ({first_line(error)}); choose a folder that can")


def json_safe(value: Any) -> Any:
    """Return a copy of a nested value with None in place of NaN and ±inf, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and ±inf become null.

    Raises:
        Galaxy10Error: the disk is full or the folder cannot be written.
    """
    with atomic_write(path) as part:
        part.write_text(json.dumps(json_safe(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty dict if the file is missing, unreadable or holds something else."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
