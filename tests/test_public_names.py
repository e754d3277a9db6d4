"""What each package exports can be imported, and nothing of it before it is used."""

from importlib import import_module

import pytest

PACKAGES = (
    "catalogue",
    "data",
    "evaluation",
    "metrics",
    "models",
    "prediction",
    "training.callbacks",
    "training.loggers",
)


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_there(name):
    package = import_module(f"galaxy10.{name}")
    assert package.__all__
    for public in package.__all__:
        assert getattr(package, public).__name__ == public
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES[:6])
def test_a_name_has_no_other_meaning_as_a_file(name):
    package = import_module(f"galaxy10.{name}")
    for public in package.__all__:
        with pytest.raises(ModuleNotFoundError):
            import_module(f"galaxy10.{name}.{public}")
