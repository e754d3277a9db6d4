"""Fonts for texts in any script: those installed that have the letters which the default font lacks."""

import logging
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

logger = logging.getLogger(__name__)

DEFAULT_FONT = "DejaVu Sans"  # comes with matplotlib, so a figure looks the same on every machine
# Bitmaps in colour, boxes with numbers, and matplotlib's fonts for formulas, whose letters lie at wrong numbers.
_UNUSABLE = re.compile(r"Color Emoji|Last ?Resort|^STIX(Size|NonUnicode)|^cm(b|ex|mi|r|ss|sy|tt)10$")
# The beginning of a character's Unicode name, and a package of Debian and Ubuntu whose font has it.
_PACKAGES = (
    (("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH"), "fonts-noto-cjk"),
    (("ARABIC", "HEBREW", "DEVANAGARI", "BENGALI", "THAI", "TAMIL", "GEORGIAN", "ARMENIAN"), "fonts-noto-core"),
)
_OTHER_PACKAGE = "fonts-symbola"
_told: set[str] = set()


def use_installed_fonts(figure: Figure) -> None:
    """Let the texts of a figure fall back to installed fonts for letters that the default font lacks.

    Letters that no font has are drawn as boxes; a note names a package to install, once for each letter.
    """
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and not text.get_text().isascii()]
    lacking = (
        frozenset("".join(text.get_text() for text in texts)) - _letters(_default_path()) - set("\n\t\u200d\ufe0f")
    )
    if not lacking:
        return
    families, missing = fallback_families(lacking)
    for text in texts:
        text.set_fontfamily([DEFAULT_FONT, *families])
    if new := sorted(set(missing) - _told):
        _told.update(new)
        logger.warning(
            f"note: no installed font has {''.join(new[:12])}{'…' if len(new) > 12 else ''}, so figures show boxes; "
            f"install one, such as {' and '.join(_packages(new))} of Debian and Ubuntu"
        )


@cache
def fallback_families(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return families of installed fonts that have letters, and the letters that none has."""
    missing, families = set(letters), list[str]()
    for entry in sorted(_installed(), key=lambda entry: (entry.name, entry.fname)):
        try:
            found = missing & _letters(entry.fname)
        except (OSError, RuntimeError):  # a format that matplotlib cannot read
            continue
        if found:
            missing -= found
            families.append(entry.name)
        if not missing:
            break
    return tuple(families), frozenset(missing)


def _installed() -> list[font_manager.FontEntry]:
    """Return upright fonts of normal weight, with those that were installed after matplotlib listed them."""
    manager = font_manager.fontManager
    listed = {entry.fname for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in listed:
            try:
                manager.addfont(path)
            except (OSError, RuntimeError, ValueError):
                continue
    usable = [entry for entry in manager.ttflist if not _UNUSABLE.search(entry.name)]
    return [entry for entry in usable if entry.style == "normal" and entry.weight in (400, "normal", "regular")]


@cache
def _letters(path: str) -> frozenset[str]:
    return frozenset(map(chr, font_manager.get_font(path).get_charmap()))


def _default_path() -> str:
    return str(font_manager.findfont(DEFAULT_FONT))


def _packages(letters: Sequence[str]) -> list[str]:
    names = [unicodedata.name(letter, "") for letter in letters]
    found = [next((p for words, p in _PACKAGES if name.startswith(words)), _OTHER_PACKAGE) for name in names]
    return list(dict.fromkeys(found))


def width_in_letters(text: str) -> int:
    """Return the width of a text in Latin letters: wide letters (Chinese, emoji) count as two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
