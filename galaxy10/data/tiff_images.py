"""Read TIFF images of more than 8 bits, which Pillow shortens to 8 bits or reads plane by plane as noise."""

import io
import logging
import struct
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from galaxy10.data.galaxy_image import GalaxyImage, ImageReadError, as_image, check_size
from galaxy10.errors import first_line

if TYPE_CHECKING:
    from tifffile import TiffPage

_MOST_PAGES = 64
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
_LZW, _MIN_IS_WHITE, _SEPARATE = 5, 0, 2
_GREY_OR_RGB = (0, 1, 2)
_ALPHA, _PREMULTIPLIED = 2, 1
_DECLARED = ("imagej", "ome", "shaped")  # these say that pages are the channels of one image


def read_deep_tiff(path: str | Path, stretch: str) -> GalaxyImage | None:
    """Read a TIFF image of more than 8 bits per value; return None for one of 8 bits or fewer.

    Raises:
        ImageReadError: the file is broken, holds several images, or is coded in a way that cannot be decoded.
    """
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is damaged is said once, below
    try:
        with TiffFile(path) as file:
            every = list(islice(file.pages, _MOST_PAGES + 1))  # a damaged list of pages may not end
            if len(every) > _MOST_PAGES:
                raise ImageReadError(f"a TIFF file of more than {_MOST_PAGES} images; save the one to read by itself")
            pages = [page for page in every if not int(getattr(page, "subfiletype", 0)) & _REDUCED_OR_MASK]
            declared = len(file.series) == 1 and file.series[0].kind in _DECLARED
            if len(pages) > 1 and not declared:
                raise ImageReadError(f"a TIFF file of {len(pages)} images; save the one to read by itself")
            page = file.pages.first
            check_size(page.imagewidth, page.imagelength)
            if len(pages) == 1 and page.bitspersample <= 8:
                return None
            values = np.squeeze(file.series[0].asarray()) if len(pages) > 1 else _page(page)
            bits = _significant_bits(page)
    except ImageReadError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise ImageReadError(f"broken TIFF file: {first_line(error)}") from error
    except Exception as error:  # its decoders may raise anything
        if "imagecodecs" in str(error) or isinstance(error, ModuleNotFoundError):
            compression = getattr(page.compression, "name", page.compression)
            raise ImageReadError(
                f"a TIFF file of {page.bitspersample} bits with {compression} compression; save it "
                "uncompressed, or type pip install imagecodecs"
            ) from error
        raise ImageReadError(f"broken TIFF file: {first_line(error)}") from error
    return as_image(values, stretch, bits=bits)


def _page(page: "TiffPage") -> np.ndarray:
    """Return the pixels of a page, (H, W) or (H, W, 3 | 4)."""
    if page.photometric not in _GREY_OR_RGB:
        kind = getattr(page.photometric, "name", page.photometric)
        raise ImageReadError(f"a TIFF file of {page.bitspersample} bits and kind {kind}; save it in grey or RGB")
    values = _decoded_lzw(page) if page.compression == _LZW else page.asarray()
    values = values.reshape(page.shape)
    if page.samplesperpixel > 1 and page.planarconfig == _SEPARATE:
        values = np.moveaxis(values, 0, -1)
    if page.photometric == _MIN_IS_WHITE and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    colours = 3 if page.photometric == 2 else 1
    if page.samplesperpixel <= colours:
        return values
    extra = page.extrasamples[:1]
    alpha, values = values[..., colours : colours + 1], values[..., :colours]
    if extra != (_ALPHA,):  # premultiplied colours are on black already
        return values
    return np.concatenate([np.broadcast_to(values, (*values.shape[:2], 3)), alpha], axis=2)


def _significant_bits(page: "TiffPage") -> int | None:
    """Return the bits of values that have fewer than 16, or than the tag MaxSampleValue says; None without it."""
    if page.bitspersample < 16:
        return page.bitspersample
    tag = page.tags.get("MaxSampleValue")
    highest = int(np.max(tag.value)) if tag is not None else 0
    return highest.bit_length() if highest & (highest + 1) == 0 and highest else None


def _decoded_lzw(page: "TiffPage") -> np.ndarray:
    """Decode a page whose strips or tiles are LZW; tifffile needs the package imagecodecs for it."""
    file, out = page.parent.filehandle, np.zeros(page.shaped, page.dtype)
    page.compression = 1  # the segments are decompressed here
    for index, (offset, length) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        size = int(np.prod(page.decode(None, index)[2])) * out.itemsize
        file.seek(offset)
        segment, (sample, depth, top, left, _), _ = page.decode(_lzw(file.read(length), size), index)
        _, _, height, width, _ = out.shape
        assert segment is not None  # it is for segments without data only
        part = segment[:, : height - top, : width - left]
        out[sample, depth : depth + part.shape[0], top : top + part.shape[1], left : left + part.shape[2]] = part
    return out


def _lzw(encoded: bytes, size: int) -> bytes:
    """Decompress LZW data to `size` bytes, as a TIFF of one line of grey values that Pillow reads."""
    tags = ((256, size), (257, 1), (258, 8), (259, _LZW), (262, 1), (273, 0), (277, 1), (278, 1), (279, len(encoded)))
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in tags)
    whole = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + encoded
    with Image.open(io.BytesIO(whole)) as line:
        return line.tobytes()
