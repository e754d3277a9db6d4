"""Read images with Pillow, and PNGs of 16-bit colours, which it shortens to 8 bits, in two halves."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from galaxy10.data.galaxy_image import GalaxyImage, ImageReadError, as_image, check_size
from galaxy10.data.image_limits import pillow_formats
from galaxy10.errors import first_line

_PNG = b"\x89PNG\r\n\x1a\n"
_GREY = 0  # a colour type of PNG
PNG_HEADER = 26  # bytes, up to the colour type
_RAWMODES_OF_BYTES = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L"), "LA;16B": ("RGBA",)}
_FIRST_IS_MEANT = ("MPO", "TIFF")  # a camera's JPEG with its preview; tiff_images has counted the pages


def read_with_pillow(path: str | Path, stretch: str, head: bytes) -> GalaxyImage:
    """Read an image of any format of Pillow.

    Args:
        head: the first bytes of the file, up to the colour type of a PNG.

    Raises:
        ImageReadError: the file is broken, of an unknown format, holds several images, or is too small or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images; the largest raise an error
            with Image.open(path, formats=pillow_formats()) as image:
                check_size(image.width, image.height)
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format not in _FIRST_IS_MEANT:
                    raise ImageReadError(f"a {image.format} file of {frames} images; save the one to read by itself")
                if _is_deep_png(head):
                    return as_image(_deep_png(path), stretch)
                image.load()
                return as_image(pillow_to_array(image), stretch)
    except UnidentifiedImageError:
        raise ImageReadError("not an image of a known format") from None
    except Image.DecompressionBombError:
        raise ImageReadError("more pixels than any cutout has; cut the galaxy out first") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # raised by Pillow's plugins
        if isinstance(error, OSError) and error.errno is not None:  # raised by the system
            raise
        raise ImageReadError(f"broken: {first_line(error)}") from error


def _is_deep_png(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a PNG of 16-bit colours or of grey with 16-bit transparency."""
    return head.startswith(_PNG) and len(head) >= PNG_HEADER and head[24] == 16 and head[25] != _GREY


def _deep_png(path: str | Path) -> np.ndarray:
    """Return the pixels of a PNG of 16-bit colours, (H, W, 3 | 4) uint16: Pillow unpacks high and low bytes apart."""
    with Image.open(path) as image:
        rawmodes = _RAWMODES_OF_BYTES[str(image.tile[0][3])]
    halves = []
    for rawmode in rawmodes:
        with Image.open(path) as image:
            image.tile = [tile._replace(args=rawmode) for tile in image.tile]
            halves.append(np.asarray(image).astype(np.uint16))
    if len(halves) == 1:  # grey and transparency: their four bytes, as if they were a pixel
        grey, alpha = halves[0][..., 0] << 8 | halves[0][..., 1], halves[0][..., 2] << 8 | halves[0][..., 3]
        return np.stack([grey, grey, grey, alpha], axis=2)
    pixels: np.ndarray = halves[0] << 8 | halves[1]
    return pixels


def pillow_to_array(image: Image.Image) -> np.ndarray:
    """Return a Pillow image of any mode as an array for `as_image`."""
    if image.mode in ("1", "L", "RGB") and "transparency" in image.info:  # one colour of a PNG
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("L", "RGB", "RGBA", "F"):
        return np.asarray(image)
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":  # 16-bit PNGs in older versions of Pillow
        values = np.asarray(image)
        return values.astype(np.uint16) if image.format == "PNG" else values
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "PA", "LA", "La", "RGBa"):
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
