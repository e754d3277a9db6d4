"""Collect what galaxy10 says about each case, for the page that `python -m tests.field_cases` prints."""

import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

FIELD_CASES = "GALAXY10_FIELD_CASES"  # the file that collects a line of JSON for each case


@pytest.fixture
def says(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], None]:
    """Keep what galaxy10 says about this test's case: a message, or the result that it gives."""

    def keep(message: str) -> None:
        if FIELD_CASES in os.environ:
            line = {
                "kind": inspect.getdoc(request.module),
                "case": inspect.getdoc(request.function),
                "which": getattr(getattr(request.node, "callspec", None), "id", ""),
                "says": message.strip().replace(str(tmp_path), "…"),
            }
            with open(os.environ[FIELD_CASES], "a") as file:
                file.write(json.dumps(line) + "\n")

    return keep
