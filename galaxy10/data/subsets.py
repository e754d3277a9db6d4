"""The names of subsets, as people write them."""

SUBSETS = ("train", "val", "test")
_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_OF = {spelling: subset for subset, spellings in _NAMES.items() for spelling in spellings}


def subset_named(name: str) -> str | None:
    """Return the subset of a name in any case; None if it names none.

    >>> subset_named("Validation")
    'val'
    """
    return _OF.get(name.strip().lower())
