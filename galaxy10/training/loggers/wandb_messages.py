"""The messages that a run sends to its W&B process over a pipe: frames of a kind and a body."""

import io
import pickle
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

ROWS, CALL, END = b"r", b"c", b"e"  # new rows in the tables; a call of W&B's run; the exit code
_HEADER = struct.Struct(">cQ")


def frame(kind: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a message."""
    return _HEADER.pack(kind, len(body)) + body


def read_frames(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, body) until the stream ends; an incomplete last message is dropped."""
    while len(header := stream.read(_HEADER.size)) == _HEADER.size:
        kind, length = _HEADER.unpack(header)
        body = stream.read(length)
        if len(body) < length:
            return
        yield kind, body


def pack_call(path: tuple[str, ...], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bytes:
    """Return the message body for a call `run.<path>(*arguments, **keywords)`.

    Raises:
        Exception: an argument cannot be pickled.
    """
    inner = io.BytesIO()
    _Pickler(inner, protocol=5).dump((arguments, keywords))
    return pickle.dumps((path, inner.getvalue()))


def unpack_path(body: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the path of the call and its packed arguments, for `unpack_arguments`, which may fail."""
    call: tuple[tuple[str, ...], bytes] = pickle.loads(body)
    return call


def unpack_arguments(content: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments of a call."""
    arguments: tuple[tuple[Any, ...], dict[str, Any]] = pickle.loads(content)
    return arguments


class _Pickler(pickle.Pickler):
    """A pickler that converts tensors to numbers and arrays, so that the other process need not import torch."""

    def reducer_override(self, value: Any) -> Any:
        """Replace a tensor; leave everything else to pickle."""
        import torch

        if not isinstance(value, torch.Tensor):
            return NotImplemented
        tensor = value.detach().cpu()
        if tensor.ndim == 0:
            number = tensor.item()
            return type(number), (number,)
        import numpy as np

        return np.asarray, ((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy(),)
