"""Properties that hold for any input, tried on a few in `make test` and on many in `make test-long`."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_SAME = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("few", max_examples=25, **_SAME)
settings.register_profile("many", max_examples=200, **_SAME)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "few"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests, so that `make test-long` can try them again."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("properties")
