"""Interrupt what writes files between two renames, as a kill would."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def interrupted_at_rename(number: int) -> Iterator[None]:
    """Raise KeyboardInterrupt in place of the rename of this number, counted from 0."""
    rename, count = os.replace, 0

    def interrupted(source: Path, target: Path) -> None:
        nonlocal count
        if count == number:
            raise KeyboardInterrupt
        count += 1
        rename(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", interrupted)
        yield
