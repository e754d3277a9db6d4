"""From figures, tables and a template to one self-contained HTML file."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from PIL import Image

from galaxy10.files import replacing
from galaxy10.reports.style import DPI
from galaxy10.version import __version__

THUMBNAIL_PX = 192
MOST_PIXELS = 2200
CSS_PX_PER_IN = 74  # type of one size on the whole page, whatever a figure measures
HALF_PAGE_IN = 11  # wider figures get a row of their own, or their type would be too small to read
NOTHING = "–"


@dataclass(frozen=True)
class Drawing:
    """A figure with its file name (without .png), title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Picture:
    """A figure on a page: its file name, what a reader sees in it, and its pixels as a data URI."""

    name: str
    title: str
    caption: str
    uri: str
    width_px: int
    wide: bool


@dataclass(frozen=True)
class Card:
    """A galaxy on a page: pixels as a data URI, and lines of text below."""

    uri: str
    lines: tuple[str, ...]


def write_file(path: Path, content: bytes) -> Path:
    """Write a whole file or none; returns its path."""
    with replacing(path) as part:
        part.write_bytes(content)
    return path


def png(figure: Figure) -> bytes:
    """A figure as PNG; nothing that reaches over its edge is cut."""
    buffer = io.BytesIO()
    # A matrix of 37 classes is 20 inches wide; at full resolution it costs seconds and nobody sees the difference.
    dpi = min(DPI, MOST_PIXELS / max(figure.get_size_inches()))
    # A third of the default level's time for a few percent more bytes.
    options = {"compress_level": 2}
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.08, pil_kwargs=options)
    return buffer.getvalue()


def write_picture(drawing: Drawing, folder: Path) -> Picture:
    """Save a figure as folder/name.png and return it ready for the page."""
    content = png(drawing.figure)
    write_file(folder / f"{drawing.name}.png", content)
    width_in = float(drawing.figure.get_figwidth())
    return Picture(
        name=drawing.name,
        title=drawing.title,
        caption=drawing.caption,
        uri=data_uri(content, "image/png"),
        width_px=round(CSS_PX_PER_IN * width_in),
        wide=width_in > HALF_PAGE_IN,
    )


def cards(images: np.ndarray, texts: Sequence[Sequence[str]]) -> list[Card]:
    """Thumbnails with their lines of text.

    Args:
        images: (n, h, w, 3) uint8; those larger than THUMBNAIL_PX are made smaller.
        texts: n sequences of lines.
    """
    return [
        Card(data_uri(_jpeg(image), "image/jpeg"), tuple(lines)) for image, lines in zip(images, texts, strict=True)
    ]


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that a page can hold within itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _jpeg(image: np.ndarray) -> bytes:
    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def render(template: str, **context: Any) -> str:
    """Fill a template of galaxy10/evaluation/templates; every value is escaped for HTML."""
    return _environment().get_template(template).render(version=__version__, **context)


@cache
def _environment() -> Environment:
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
        "plain": plain,
        "plural": plural,
    }
    return environment


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number (None, NaN, text and booleans are not)."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, digits: int = 4) -> str:
    """A number with fixed digits; a dash where there is none."""
    return f"{value:.{digits}f}" if is_number(value) else NOTHING


def percent(value: Any, digits: int = 1) -> str:
    """A share of 1 as a percentage; a dash where there is none."""
    return f"{100 * value:.{digits}f} %" if is_number(value) else NOTHING


def count(value: Any) -> str:
    """A whole number with thousands separators; a dash where there is none."""
    return f"{int(value):,}" if is_number(value) else NOTHING


def duration(seconds: Any) -> str:
    """Seconds as a person says them: 42 s, 3 min 12 s, 2 h 5 min."""
    if not is_number(seconds):
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(number: int, one: str, many: str) -> str:
    """A count with its noun: 1 galaxy, 2 galaxies."""
    return f"{number:,} {one if number == 1 else many}"


def plain(value: Any) -> str:
    """Any value of a JSON file as one line of text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value) or NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or NOTHING
    return str(value)
