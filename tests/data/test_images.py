"""An image file is read correctly, or refused with the reason."""

import gzip
import io

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from galaxy10.data.galaxy_image import ImageReadError, as_image
from galaxy10.data.images import read_image
from galaxy10.data.stretch import STRETCHES, apply_stretch
from galaxy10.simulation.render import legacy_rgb
from tests.galaxies import galaxy


@pytest.fixture
def save(tmp_path):
    """Save a Pillow image under a name and read it back."""

    def write(image: Image.Image, name: str):
        image.save(tmp_path / name)
        return read_image(tmp_path / name)

    return write


def test_images_of_every_depth_and_colour_show_the_same_galaxy(save):
    colour = galaxy(1)
    grey = colour[..., 1]
    assert np.array_equal(save(Image.fromarray(colour), "rgb.png").pixels, colour)
    for image, name in (
        (Image.fromarray(grey), "grey.png"),
        (Image.fromarray(grey.astype(np.uint16) * 257), "16bit.png"),
        (Image.fromarray(grey.astype(np.uint16) * 257), "16bit.tif"),
        (Image.fromarray((grey / 255).astype(np.float32)), "float.tif"),
        (Image.fromarray(np.dstack([grey, np.full_like(grey, 255)])), "alpha.png"),
    ):
        assert np.array_equal(save(image, name).pixels, np.repeat(grey[..., None], 3, axis=2)), name
    half = np.dstack([colour, np.full((32, 32), 51, np.uint8)])
    assert np.array_equal(save(Image.fromarray(half), "transparent.png").pixels, (colour * np.uint16(51) // 255))
    assert save(Image.fromarray(colour).convert("P"), "palette.gif").pixels.shape == (32, 32, 3)
    assert save(Image.fromarray(colour).convert("CMYK"), "cmyk.jpg").pixels.shape == (32, 32, 3)


def test_colour_tiffs_of_more_than_eight_bits_are_read(tmp_path):
    colour = galaxy(1)
    planar = {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}
    for name, values, options in (
        ("16bit", colour.astype(np.uint16) * 257, {"photometric": "rgb"}),
        ("float", (colour / 255).astype(np.float32), {"photometric": "rgb"}),
        ("planar", (colour / 255).astype(np.float32).transpose(2, 0, 1), planar),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, **options)
        assert np.array_equal(read_image(tmp_path / f"{name}.tif").pixels, colour), name
    whole = (tmp_path / "float.tif").read_bytes()
    for size in (9, 100, len(whole) - 1000):
        (tmp_path / "cut.tif").write_bytes(whole[:size])
        with pytest.raises(ImageReadError, match="broken TIFF file"):
            read_image(tmp_path / "cut.tif")


def test_the_content_decides_what_a_file_is(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(galaxy()).save(buffer, "PNG")
    (tmp_path / "png.jpg").write_bytes(buffer.getvalue())
    assert np.array_equal(read_image(tmp_path / "png.jpg").pixels, galaxy())
    np.save(tmp_path / "a.npy", galaxy().transpose(2, 0, 1))
    assert np.array_equal(read_image(tmp_path / "a.npy").pixels, galaxy())


def test_fits_is_stretched_as_the_viewer_does_and_gaps_are_filled(tmp_path):
    rng = np.random.default_rng(0)
    light = rng.normal(0.05, 0.02, (3, 40, 30)).astype(np.float32)
    fits.writeto(tmp_path / "three.fits", light)
    expected = np.rint(legacy_rgb(light)).transpose(1, 2, 0)[::-1]  # FITS counts rows from below
    image = read_image(tmp_path / "three.fits")
    assert np.array_equal(image.pixels, expected)
    assert image.filled == 0
    holes = light[1].copy()
    holes[:4] = np.nan
    holes[4, 0] = np.inf
    fits.writeto(tmp_path / "one.fits", holes)
    with (tmp_path / "one.fits").open("rb") as file:
        (tmp_path / "one.fits.gz").write_bytes(gzip.compress(file.read()))
    image = read_image(tmp_path / "one.fits")
    assert image.filled == pytest.approx(121 / 1200)
    assert (image.pixels == image.pixels[..., :1]).all()
    assert np.ptp(image.pixels[-4:]) == 0
    assert np.array_equal(read_image(tmp_path / "one.fits.gz").pixels, image.pixels)
    fits.CompImageHDU(light[0]).writeto(tmp_path / "packed.fits")
    assert read_image(tmp_path / "packed.fits").pixels.shape == (40, 30, 3)


def test_stretches_do_not_care_for_units_where_they_say_so():
    light = np.random.default_rng(0).normal(0, 1, (3, 40, 40)).astype(np.float32)
    light[:, 15:25, 15:25] += 50
    for stretch in ("asinh", "linear"):
        first, second = apply_stretch(light, stretch), apply_stretch(light * 1e5 + 3e4, stretch)
        assert np.abs(first.astype(int) - second).max() <= 1
        assert first[20, 20].min() > 180
        assert np.median(first[:10]) < 70
    assert set(STRETCHES) == {"auto", "legacy", "asinh", "linear", "unit"}


def test_a_file_that_is_no_image_is_refused_with_the_reason(tmp_path):
    fits.writeto(tmp_path / "nan.fits", np.full((20, 20), np.nan, np.float32))
    fits.writeto(tmp_path / "four.fits", np.zeros((4, 20, 20), np.float32))
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])]).writeto(tmp_path / "table.fits")
    (tmp_path / "half.fits").write_bytes((tmp_path / "four.fits").read_bytes()[:4000])
    np.save(tmp_path / "flux.npy", np.linspace(-1, 90, 400).reshape(20, 20))
    np.save(tmp_path / "cube.npy", np.zeros((5, 20, 20, 3)))
    Image.fromarray(galaxy(0, (15, 40))).save(tmp_path / "low.png")
    (tmp_path / "file.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name, reason in {
        "nan.fits": "no finite pixel",
        "four.fits": r"shape \(4, 20, 20\)",
        "table.fits": "without an image",
        "half.fits": "broken FITS",
        "flux.npy": "--stretch",
        "cube.npy": "shape",
        "low.png": "40×15 px",
        "file.h5": "HDF5",
        "gone.png": "no such file",
        "": "a folder",
    }.items():
        with pytest.raises(ImageReadError, match=reason):
            read_image(tmp_path / name)
    with pytest.raises(ImageReadError, match="--stretch"):
        as_image(np.full((20, 20), 90.0))  # as galaxy10.load(…).predict gives it


def test_an_image_larger_than_memory_is_refused(tmp_path, monkeypatch):
    Image.fromarray(galaxy()).save(tmp_path / "huge.png")
    with monkeypatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ImageReadError, match="more pixels"):
            read_image(tmp_path / "huge.png")
    monkeypatch.setattr("galaxy10.data.galaxy_image.MAX_PIXELS", 1023)
    tifffile.imwrite(tmp_path / "huge.tif", galaxy().astype(np.uint16), photometric="rgb")
    fits.writeto(tmp_path / "huge.fits", galaxy()[..., 0].astype(np.float32))
    np.save(tmp_path / "huge.npy", galaxy())
    for name in ("huge.png", "huge.tif", "huge.fits", "huge.npy"):
        with pytest.raises(ImageReadError, match="32×32 px: more pixels than any cutout has"):
            read_image(tmp_path / name)
