"""The ten classes of Galaxy10 DECaLS, and the column names made from class names."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

# Names and counts: Henry Leung's Galaxy10 DECaLS record, doi:10.5281/zenodo.10845026.
GALAXY10_CLASSES = (
    "Disturbed",
    "Merging",
    "Round Smooth",
    "In-between Round Smooth",
    "Cigar Shaped Smooth",
    "Barred Spiral",
    "Unbarred Tight Spiral",
    "Unbarred Loose Spiral",
    "Edge-on without Bulge",
    "Edge-on with Bulge",
)
GALAXY10_COUNTS = (1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873)
GALAXY10_COUNTS_NO_DUPLICATES = (1081, 1853, 2640, 2021, 333, 2040, 1823, 2600, 1419, 1865)


def class_key(name: str) -> str:
    """Return what two spellings of one class name share: letters and digits without case, blanks, hyphens, underscores.

    A name of nothing else is its own key.

    >>> class_key("Edge-on") == class_key("edge_on")
    True
    """
    plain = re.sub(r"[\s_\-\u2010-\u2015\u2212]+", "", unicodedata.normalize("NFKC", name).casefold())
    return plain or name


def slug(name: str) -> str:
    """Return a class name as part of a column name: lower case, every other character an underscore.

    >>> slug("In-between Round Smooth")
    'in_between_round_smooth'
    """
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def slugs(class_names: Sequence[str]) -> list[str]:
    """Return a distinct slug for each class; where several have the same slug, the class number is appended.

    >>> slugs(["a b", "a_b", "a_b_1", "c"])
    ['a_b_0', 'a_b_1_', 'a_b_1', 'c']
    """
    plain = [slug(name) for name in class_names]
    count = Counter(plain)
    taken = {s for s in plain if count[s] == 1}
    distinct = []
    for number, s in enumerate(plain):
        name = s if count[s] == 1 else f"{s}_{number}"
        while count[s] > 1 and name in taken:
            name += "_"
        taken.add(name)
        distinct.append(name)
    return distinct
