"""Render figures, tables and a template to one self-contained HTML file."""

import base64
import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from galaxy10.files import atomic_write
from galaxy10.reports.style import DPI
from galaxy10.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

THUMBNAIL_PX = 192
MOST_PIXELS = 2200
CSS_PX_PER_IN = 74  # the same for all figures, so that their text has one size on the page
HALF_PAGE_IN = 11  # wider figures get a row of their own; their text would be too small to read otherwise
NO_VALUE = "–"


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (without .png), title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class PageFigure:
    """A figure on a page: file name, title, caption and PNG as a data URI."""

    name: str
    title: str
    caption: str
    uri: str
    width_px: int
    wide: bool


@dataclass(frozen=True)
class Card:
    """An image of a galaxy on a page: JPEG as a data URI, and the lines of text below."""

    uri: str
    lines: tuple[str, ...]


def write_file(path: Path, content: bytes) -> Path:
    """Write a file atomically and return the path."""
    with atomic_write(path) as part:
        part.write_bytes(content)
    return path


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, with everything that extends beyond its edges."""
    buffer = io.BytesIO()
    # A matrix of 37 classes is 20 inches wide; at full resolution it costs seconds and nobody sees the difference.
    dpi = min(DPI, MOST_PIXELS / max(figure.get_size_inches()))
    # A third of the default level's time for a few percent more bytes.
    options = {"compress_level": 2}
    with warnings.catch_warnings():
        # use_installed_fonts has said so once; matplotlib says it for every letter at every drawing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, pil_kwargs=options)
    return buffer.getvalue()


def write_figure(drawing: Drawing, folder: Path) -> PageFigure:
    """Save a figure as folder/name.png and return it for a page."""
    content = png(drawing.figure)
    write_file(folder / f"{drawing.name}.png", content)
    width_in = float(drawing.figure.get_figwidth())
    return PageFigure(
        name=drawing.name,
        title=drawing.title,
        caption=drawing.caption,
        uri=data_uri(content, "image/png"),
        width_px=round(CSS_PX_PER_IN * width_in),
        wide=width_in > HALF_PAGE_IN,
    )


def cards(images: np.ndarray, texts: Sequence[Sequence[str]]) -> list[Card]:
    """Return thumbnails with their lines of text.

    Args:
        images: (n, h, w, 3) uint8; larger ones are scaled down to THUMBNAIL_PX.
        texts: n sequences of lines.
    """
    return [
        Card(data_uri(_jpeg(image), "image/jpeg"), tuple(lines)) for image, lines in zip(images, texts, strict=True)
    ]


def data_uri(content: bytes, kind: str) -> str:
    """Encode bytes of a media type as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _jpeg(image: np.ndarray) -> bytes:
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def render(template: str, **context: Any) -> str:
    """Fill a template of galaxy10/reports/templates; every value is escaped for HTML."""
    return _environment().get_template(template).render(version=__version__, **context)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader  # a quarter of a second, which training does not wait for

    environment = Environment(
        loader=PackageLoader("galaxy10.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "count": count,
        "duration": duration,
        "as_text": as_text,
        "plural": plural,
    }
    return environment


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number (None, NaN, text and booleans are not)."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 4) -> str:
    """Format a number with fixed digits; anything else as a dash."""
    return f"{value:.{digits}f}" if is_number(value) else NO_VALUE


def percent(value: Any, digits: int = 1) -> str:
    """Format a fraction (0–1) as a percentage; anything that is no number as a dash."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else NO_VALUE


def count(value: Any) -> str:
    """Format an integer with thousands separators; anything that is no number as a dash."""
    return f"{int(value):,}" if is_number(value) else NO_VALUE


def duration(seconds: Any) -> str:
    """Format seconds, such as 42 s, 3 min 12 s or 2 h 5 min; anything that is no number as a dash."""
    if not is_number(seconds):
        return NO_VALUE
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(number: int, one: str, many: str) -> str:
    """Return a count with its noun: 1 galaxy, 2 galaxies."""
    return f"{number:,} {one if number == 1 else many}"


def as_text(value: Any) -> str:
    """Format any value of a JSON file as one line of text; None and NaN as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(as_text(item) for item in value) or NO_VALUE
    if isinstance(value, dict):
        return ", ".join(f"{key}: {as_text(item)}" for key, item in value.items()) or NO_VALUE
    return str(value)
