"""Texts of files whose encoding is not declared."""


def decode_text(value: object) -> str:
    """Return a text or bytes as text: UTF-8, else latin-1, in which every byte is a character.

    >>> decode_text("Irrégulière".encode("latin-1"))
    'Irrégulière'
    """
    if isinstance(value, str):
        # h5py and Python hand over bytes that are not UTF-8 as lone surrogates.
        value = value.encode("utf-8", "surrogateescape") if not value.isprintable() else value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.decode("latin-1")
    return str(value)
