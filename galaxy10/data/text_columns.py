"""The type of a text table's column, learned from one block of lines after the other."""

from typing import Any

import pandas as pd

from galaxy10.data.text_tables import decimal_commas, decimal_numbers, has_leading_zeros, is_number

_TEXT = "string"


class ColumnType:
    """The type of a column, as pandas would find it in all lines at once.

    Args:
        words_are_missing: whether words such as NA are missing values among texts, too: paths and groups.
    """

    def __init__(self, words_are_missing: bool):
        self._words_are_missing = words_are_missing
        self._type: str | None = None  # of pandas; None: all values so far are missing
        self._empty = "Int64"  # of a column without values
        self._leading_zeros = False
        self._all_decimal, self._any_comma = True, False

    def see(self, values: pd.Series, texts: pd.Series | None, separator: str) -> None:
        """Learn from a block.

        Args:
            values: as pandas reads them, in nullable types.
            texts: the same as texts; None: no number begins with zeros, and commas separate.
        """
        if texts is not None:
            self._leading_zeros |= is_number(values) and has_leading_zeros(texts)
            if separator != ",":
                number, comma = decimal_commas(texts)
                self._all_decimal &= number
                self._any_comma |= comma
        if values.isna().all():
            self._empty = str(values.dtype) if is_number(values) else self._empty
            return
        kind = str(values.dtype) if is_number(values) else _TEXT
        self._type = kind if self._type in (None, kind) else _common(str(self._type), kind)

    def is_settled(self, separator: str) -> bool:
        """Return whether no further block can change the type."""
        return self._type == _TEXT and (separator == "," or self._words_are_missing or not self._all_decimal)

    def needs_texts(self) -> bool:
        """Return whether `values` uses the texts."""
        return self._leading_zeros or self._type == _TEXT

    def values(self, values: pd.Series, texts: pd.Series | None) -> pd.Series:
        """Return a block's values in this type.

        Args:
            values: as pandas reads them, in nullable types.
            texts: the same as texts, if needs_texts().
        """
        if texts is None:
            kind: Any = self._type or self._empty
            found: pd.Series = values.astype(kind)
            return found
        if self._type != _TEXT:
            return texts.str.rstrip()
        if self._words_are_missing:
            return texts.mask(values.isna())
        return decimal_numbers(texts) if self._all_decimal and self._any_comma else texts


def _common(first: str, second: str) -> str:
    """Return the type that holds the values of two different ones without loss, as texts if need be."""
    return "Float64" if {first, second} == {"Int64", "Float64"} else _TEXT
