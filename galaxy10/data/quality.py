"""Whether the pixels of an image show anything: saturated and empty images, which networks classify without a word."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

OK, SATURATED, EMPTY = "ok", "saturated", "empty"
QUALITIES = (OK, SATURATED, EMPTY)
MAX_SHARE = 0.2  # of pixels at one end; 0.14 at most in images of Galaxy10 DECaLS and the SDSS
_PERCENT = f"{MAX_SHARE * 100:.0f} %"
MIN_RANGE = 3  # grey levels between the darkest and the brightest value
SEEN_IMAGES = 256  # training images that are looked at when a run begins


def image_quality(pixels: np.ndarray) -> str:
    """Return the quality of an image (H, W, 3) uint8.

    `saturated`: a channel is at 255 in more than 20 % of the pixels. `empty`: more than 20 % of the pixels are
    black in all channels, or the image has fewer than 3 grey levels between its darkest and its brightest value.
    """
    red, green, blue = np.moveaxis(pixels, 2, 0)
    brightest = np.maximum(np.maximum(red, green), blue)  # much faster than max(axis=2)
    if int(brightest.max()) - int(pixels.min()) < MIN_RANGE:
        return SATURATED if brightest.min() == 255 else EMPTY
    if np.count_nonzero(brightest == 255) > MAX_SHARE * brightest.size:
        return SATURATED
    return EMPTY if np.count_nonzero(brightest == 0) > MAX_SHARE * brightest.size else OK


class ReadingNotes:
    """A tally of what is to be said about the images of a survey, once and with the numbers of images."""

    def __init__(self) -> None:
        self.qualities: Counter[str] = Counter()
        self._remedies: Counter[str] = Counter()
        self._assumed: Counter[str] = Counter()

    def add(self, image: Any) -> None:
        """Count a GalaxyImage."""
        self.qualities[image.quality] += 1
        if image.remedy:
            self._remedies[image.remedy] += 1
        if image.assumed:
            self._assumed[image.assumed] += 1

    @property
    def remedy(self) -> str:
        """Return the stretch with which most saturated or empty images would be ok; empty if there is none."""
        return max(self._remedies, key=self._remedies.__getitem__, default="")

    def assumptions(self) -> list[str]:
        """Return one line per assumption."""
        return [f"{number:,} image{'s' * (number > 1)}: {what}" for what, number in sorted(self._assumed.items())]

    def lines(self) -> list[str]:
        """Return one line per assumption, and one about saturated and empty images."""
        return [*self.assumptions(), *filter(None, [quality_line(self.qualities, self.remedy)])]


def stored_line(table: pd.DataFrame) -> str:
    """Return a line about the saturated and empty images of a store; an empty text if there are none.

    table: quality and blank; blank images have a line of their own.
    """
    if "quality" not in table:  # a store of an older version
        return ""
    return quality_line(Counter(table.loc[~table["blank"], "quality"]))


class TrainingImages:
    """A tally of saturated and empty images among the first training images of a run, as networks see them."""

    def __init__(self) -> None:
        self._spoilt: Counter[str] = Counter()
        self._seen = 0

    @property
    def complete(self) -> bool:
        """Return whether enough images were seen; the tally can be left alone then."""
        return self._seen >= SEEN_IMAGES

    def add(self, pixels: np.ndarray, stored: Sequence[str] | None = None) -> str:
        """Count a batch; return a line when more than 20 % of the images seen are spoilt, once, else an empty text.

        Args:
            pixels: (B, S, S, 3) uint8.
            stored: the quality of each image before augmentation; images that were not ok do not count as spoilt.
                None: not known, and the line does not speak of augmentation.
        """
        qualities = [image_quality(image) for image in pixels]
        before = stored or [OK] * len(qualities)
        self._spoilt.update(new for new, old in zip(qualities, before, strict=True) if new != OK and old == OK)
        self._seen += len(qualities)
        if self._spoilt.total() <= MAX_SHARE * self._seen:
            return ""
        numbers = " and ".join(f"{number:,} {name}" for name, number in sorted(self._spoilt.items()))
        first = f"of the first {self._seen:,} training images"
        what = f"(more than {_PERCENT} of the pixels white or black, or fewer than {MIN_RANGE} grey levels)"
        self._seen = SEEN_IMAGES
        if stored is None:
            return f"{first}, {numbers} {what}: check what the data module makes of them"
        return f"{first}, augmentation makes {numbers} {what}: check augment.noise, augment.before and augment.after"


def quality_line(qualities: Mapping[str, int], remedy: str = "") -> str:
    """Return a line about saturated and empty images; an empty text if there are none.

    Args:
        qualities: the number of images of each quality.
        remedy: the stretch with which they would be ok.
    """
    bad = {name: qualities.get(name, 0) for name in (SATURATED, EMPTY) if qualities.get(name)}
    if not bad:
        return ""
    found = " and ".join(f"{number:,} {name}" for name, number in bad.items())
    advice = f"if they are raw flux, stretch them with {remedy} (--stretch {remedy})" if remedy else "look at them"
    return (
        f"of {sum(qualities.values()):,} images {found} (more than {_PERCENT} of the pixels white or black, or "
        f"fewer than {MIN_RANGE} grey levels): {advice}"
    )
