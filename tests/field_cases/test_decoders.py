"""Decoders: every depth, colour, layout and compression"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from galaxy10.data.galaxy_image import ImageReadError
from galaxy10.data.images import read_image

NONE, LZW, DEFLATE = 1, 5, 8
BANDS = {"grey": 1, "RGB": 3, "RGBA": 4}


def values(bits: int, bands: int) -> np.ndarray:
    """Return (24, 40, bands) of random values: nothing but the right decoder gets them right."""
    rng = np.random.default_rng(bits + bands)
    return rng.integers(0, 2**bits, (24, 40, bands)).astype(np.uint16 if bits > 8 else np.uint8)


def expected(array: np.ndarray) -> np.ndarray:
    """Return what (H, W, 1 | 3 | 4) looks like, (H, W, 3) uint8: transparency blends onto black."""
    eight = np.rint(array / (257 if array.dtype == np.uint16 else 1)).astype(int)
    colours = eight[..., :3] * eight[..., 3:] // 255 if array.shape[2] == 4 else eight
    return np.broadcast_to(colours, (*array.shape[:2], 3)).astype(np.uint8)


def write_tiff(
    path: Path, array: np.ndarray, *, planar=False, compression=NONE, predictor=1, order="<", more=()
) -> Path:
    """Write a TIFF byte by byte, in strips of seven lines: a second writer, independent of all libraries."""
    height, width, bands = array.shape
    planes = [array[..., band : band + 1] for band in range(bands)] if planar else [array]
    strips = [plane[top : top + 7] for plane in planes for top in range(0, height, 7)]
    if predictor == 2:
        strips = [np.diff(strip, axis=1, prepend=np.zeros_like(strip[:, :1])) for strip in strips]
    encoded = [encode(strip.astype(strip.dtype.newbyteorder(order)).tobytes(), compression) for strip in strips]
    tags = {
        256: [width], 257: [height], 258: [array.dtype.itemsize * 8] * bands, 259: [compression],
        262: [2 if bands > 1 else 1], 277: [bands], 278: [7], 279: [len(strip) for strip in encoded],
        284: [2 if planar else 1], 317: [predictor], **({338: [2]} if bands == 4 else {}), **dict(more),
    }  # fmt: skip
    tags[273] = list(8 + np.cumsum([0, *tags[279]])[:-1])
    body, lists, entries = b"".join(encoded), b"", b""
    body += b"\0" * (len(body) % 2)
    directory = 8 + len(body)
    after = directory + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, lists = struct.pack(f"{order}I", after + len(lists)), lists + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, directory)
    path.write_bytes(start + body + struct.pack(f"{order}H", len(tags)) + entries + struct.pack("I", 0) + lists)
    return path


def encode(data: bytes, compression: int) -> bytes:
    """Compress a strip; LZW is Pillow's, as a grey image of one line."""
    if compression == DEFLATE:
        return zlib.compress(data)
    if compression == NONE:
        return data
    buffer = io.BytesIO()
    Image.frombytes("L", (len(data), 1), data).save(buffer, "TIFF", compression="tiff_lzw")
    tags = Image.open(buffer).tag_v2
    return buffer.getvalue()[tags[273][0] : tags[273][0] + tags[279][0]]


def write_png(path: Path, array: np.ndarray) -> Path:
    """Write a PNG byte by byte."""
    height, width, bands = array.shape
    depth, colour = array.dtype.itemsize * 8, {1: 0, 3: 2, 4: 6, 2: 4}[bands]
    lines = b"".join(b"\0" + line.astype(array.dtype.newbyteorder(">")).tobytes() for line in array)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    packed = (struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x)) for name, x in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return path


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE], ids=["none", "LZW", "deflate"])
@pytest.mark.parametrize("planar", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", BANDS)
def test_tiff(tmp_path, says, kind, bits, planar, compression):
    """TIFF"""
    array = values(bits, BANDS[kind])
    for predictor, order in ((1, "<"), (2, "<"), (1, ">")):
        if predictor == 2 and compression == NONE:
            continue
        path = write_tiff(
            tmp_path / "a.tif", array, planar=planar, compression=compression, predictor=predictor, order=order
        )
        assert np.array_equal(read_image(path).pixels, expected(array)), (predictor, order)
        if compression != LZW:
            again = tifffile.imread(path)
            again = np.moveaxis(again, 0, -1) if planar and kind != "grey" else again
            assert np.array_equal(again.reshape(array.shape), array)
    says("read, pixel by pixel")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", BANDS)
def test_png(tmp_path, says, kind, bits):
    """PNG"""
    array = values(bits, BANDS[kind])
    path = write_png(tmp_path / "a.png", array)
    assert np.array_equal(read_image(path).pixels, expected(array))
    if bits == 8:
        assert np.array_equal(np.asarray(Image.open(path)).reshape(array.shape), array)
    says("read, pixel by pixel")


def test_palettes_and_other_formats(tmp_path, says):
    """palettes (PNG, GIF, TIFF), grey with 16-bit transparency, WebP, BMP, JPEG, FITS, NumPy, tiles, floats"""
    colours = values(8, 3)
    palette = Image.fromarray(colours).quantize(64)
    exact = np.asarray(palette.convert("RGB"))
    for name, options in (("p.png", {}), ("p.gif", {}), ("p.tif", {"compression": "tiff_lzw"}), ("q.tif", {})):
        palette.save(tmp_path / name, **options)
        assert np.array_equal(read_image(tmp_path / name).pixels, exact), name
    grey_and_alpha = values(16, 2)
    write_png(tmp_path / "la.png", grey_and_alpha)
    assert np.array_equal(read_image(tmp_path / "la.png").pixels, expected(grey_and_alpha[..., [0, 0, 0, 1]]))
    Image.fromarray(colours).save(tmp_path / "t.png", transparency=tuple(map(int, colours[3, 4])))
    assert (read_image(tmp_path / "t.png").pixels[3, 4] == 0).all()
    assert np.array_equal(read_image(tmp_path / "t.png").pixels[4], colours[4])
    for name, options in (("a.webp", {"lossless": True}), ("a.bmp", {})):
        Image.fromarray(colours).save(tmp_path / name, **options)
        assert np.array_equal(read_image(tmp_path / name).pixels, colours), name
    smooth = np.add.outer(np.arange(24) * 4, np.arange(40) * 3)[..., None] + np.array([0, 20, 40])
    for mode in ("RGB", "L", "CMYK"):
        Image.fromarray(smooth.astype(np.uint8)).convert(mode).save(tmp_path / "a.jpg", quality=98, subsampling=0)
        written = smooth if mode != "L" else smooth @ np.array([[0.299], [0.587], [0.114]])
        assert np.abs(read_image(tmp_path / "a.jpg").pixels.astype(int) - written).max() <= 5, mode
    fits.writeto(tmp_path / "a.fits", colours.transpose(2, 0, 1))
    raw = np.frombuffer((tmp_path / "a.fits").read_bytes()[2880 : 2880 + colours.size], np.uint8)
    assert np.array_equal(read_image(tmp_path / "a.fits").pixels, raw.reshape(3, 24, 40).transpose(1, 2, 0)[::-1])
    np.save(tmp_path / "a.npy", colours)
    assert np.array_equal(read_image(tmp_path / "a.npy").pixels, colours)
    for dtype in (np.uint16, np.float32, np.float64):
        deep = values(16, 3) if dtype == np.uint16 else (colours / 255).astype(dtype)
        tifffile.imwrite(tmp_path / "tiles.tif", deep, photometric="rgb", tile=(16, 16), compression="zlib")
        assert np.array_equal(
            read_image(tmp_path / "tiles.tif").pixels, expected(deep) if dtype == np.uint16 else colours
        )
    says("read, pixel by pixel")


def test_inverted_premultiplied_and_two_bit_tiffs(tmp_path):
    array = values(16, 1)
    inverted = write_tiff(tmp_path / "w.tif", 65535 - array, more=((262, [0]),))
    assert np.array_equal(read_image(inverted).pixels, expected(array))
    colours = values(16, 4)
    on_black = write_tiff(tmp_path / "b.tif", colours, more=((338, [1]),))
    assert np.array_equal(read_image(on_black).pixels, expected(colours[..., :3]))
    tifffile.imwrite(tmp_path / "one.tif", values(8, 1)[..., 0] > 99, photometric="minisblack")
    assert set(np.unique(read_image(tmp_path / "one.tif").pixels)) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG grey", "PNG RGB", "TIFF grey", "TIFF RGB"])
def test_twelve_bits_in_sixteen(tmp_path, says, kind):
    """12 bits in a 16-bit file: no value above 4095"""
    array = values(12, BANDS[kind.split()[1]])
    write = write_png if kind.startswith("PNG") else write_tiff
    image = read_image(write(tmp_path / "a", array))
    assert np.abs(image.pixels - np.broadcast_to(array / 4095 * 255, (24, 40, 3))).max() <= 0.51
    assert image.assumed == "no 16-bit value is above 4095: scaled from 0–4095"
    says(image.assumed)
    eight = read_image(write(tmp_path / "b", values(8, 3).astype(np.uint16)))
    assert np.array_equal(eight.pixels, values(8, 3))


def test_a_tag_that_says_the_bits(tmp_path):
    array = (values(12, 3) // 5).astype(np.uint16)  # dark: no value tells
    image = read_image(write_tiff(tmp_path / "a.tif", array, more=((281, [4095] * 3),)))
    assert np.abs(image.pixels - array / 4095 * 255).max() <= 0.51
    assert image.assumed == ""
    ten = read_image(write_tiff(tmp_path / "b.tif", array // 4, more=((281, [1023] * 3),)))
    assert np.abs(ten.pixels - (array // 4) / 1023 * 255).max() <= 0.51


def test_several_images_in_one_file(tmp_path, says):
    """TIFF, GIF or WebP of several images: the first is not taken for the galaxy"""
    pages = [values(8, 3), values(8, 3)[::-1]]
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb", metadata=None)
    first, *others = map(Image.fromarray, pages)
    for name in ("two.gif", "two.webp"):
        first.save(tmp_path / name, save_all=True, append_images=others)
    for name in ("two.tif", "two.gif", "two.webp"):
        with pytest.raises(ImageReadError, match="of 2 images; save the one to read by itself") as refused:
            read_image(tmp_path / name)
    says(str(refused.value))
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:  # with a thumbnail
        file.write(pages[0], photometric="rgb", metadata=None, subifds=0)
        file.write(pages[1][::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
    assert np.array_equal(read_image(tmp_path / "pyramid.tif").pixels, pages[0])
    stack = (values(8, 3) / 255).astype(np.float32).transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "channels.tif", stack, imagej=True, metadata={"axes": "CYX"})
    assert np.array_equal(read_image(tmp_path / "channels.tif").pixels, values(8, 3))


def test_a_compression_without_its_decoder(tmp_path, says):
    """16-bit RGB TIFF in a compression that nothing here decodes"""
    path = write_tiff(tmp_path / "a.tif", values(16, 3), more=((259, [50000]),))
    with pytest.raises(
        ImageReadError, match="ZSTD compression; save it uncompressed, or type pip install imagecodecs"
    ) as no:
        read_image(path)
    says(str(no.value))
