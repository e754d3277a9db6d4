"""FITS files: several images, units, numbers at the edge"""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galaxy10.data.fits_images import nanomaggies_per_pixel
from galaxy10.data.folders import read_folders, read_table
from galaxy10.data.galaxy_image import ImageReadError, as_image
from galaxy10.data.images import read_image
from galaxy10.data.inputs import find_inputs
from galaxy10.data.pack import pack
from galaxy10.errors import Galaxy10Error
from galaxy10.simulation.render import legacy_rgb
from tests.galaxies import sky

BANDS = sky(3)


def write(path: Path, *images: tuple[str, np.ndarray], **header: object) -> Path:
    """Write images under their extension names; the first is in the primary unit if it has no name."""
    units = [fits.PrimaryHDU(images[0][1]) if not images[0][0] else fits.PrimaryHDU()]
    units += [fits.ImageHDU(values, name=name) for name, values in images if name]
    units[-1].header.update(header)
    fits.HDUList(units).writeto(path)
    return path


def shown(flux: np.ndarray) -> np.ndarray:
    """Flux (3, H, W) in nanomaggies as the viewer shows it; FITS counts rows from below."""
    return np.rint(legacy_rgb(flux)).astype(np.uint8).transpose(1, 2, 0)[::-1]


GREY = as_image(BANDS[1], is_flux=True).pixels


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("ERR", "SCI"), "the second"),
        (("SCI", "ERR", "DQ"), "the first"),
        (("", "WHT"), "the first"),
        (("G", "R", "Z"), "colours"),
        (("DES_z", "DES_r", "DES_g"), "colours"),
        (("IMAGE_G", "IMAGE_R", "IMAGE_I", "IMAGE_Z", "IVAR_G"), "colours"),
    ],
    ids=["ERR, SCI", "SCI, ERR, DQ", "primary, WHT", "G, R, Z", "DES_z, DES_r, DES_g", "with IMAGE_I and IVAR_G"],
)
def test_names_decide(tmp_path, says, names, expected):
    """FITS with several images: by SCI, or by the bands' names, whatever their order"""
    values = {"G": BANDS[0], "R": BANDS[1], "Z": BANDS[2]}
    images = [
        (name, values.get(name[-1:].upper(), BANDS[1]) * (100 if name in ("ERR", "WHT", "DQ") else 1)) for name in names
    ]
    image = read_image(write(tmp_path / "a.fits", *images))
    grey = (image.pixels == image.pixels[..., :1]).all()
    assert grey == (expected != "colours")
    if expected == "colours":
        assert np.array_equal(image.pixels, shown(BANDS))
    else:
        assert image.quality == "ok"
    says(f"read: {expected}")


def test_several_without_names_are_refused(tmp_path, says):
    """FITS with several images and no telling names: by predict, pack and folders of class names"""
    for kind in ("spiral", "smooth"):
        (tmp_path / kind).mkdir()
        write(tmp_path / kind / "a.fits", ("", BANDS[0]), ("A", BANDS[1]), ("B", BANDS[2]))
    with pytest.raises(ImageReadError) as refused:
        find_inputs([str(tmp_path / "smooth")]).read(0)
    says(str(refused.value))
    assert "3 images in the FITS file: 0 PRIMARY 48×48, 1 A 48×48, 2 B 48×48" in str(refused.value)
    for command in (lambda: pack(tmp_path, tmp_path / "p.h5"), lambda: read_folders(tmp_path)):
        with pytest.raises(Galaxy10Error, match="0 PRIMARY 48×48, 1 A 48×48"):
            command()
    (tmp_path / "list.csv").write_text("path,label\nspiral/a.fits,a\nsmooth/a.fits,b\n")
    for images in (
        read_folders(tmp_path, hdu=["0", "A", 2])[0],
        read_table(tmp_path / "list.csv", hdu="0,A,B")[0],
    ):
        assert all(np.array_equal(image, shown(BANDS)) for image in images)
    assert np.array_equal(find_inputs([str(tmp_path / "list.csv")], hdu="0,1,2").read(0).pixels, shown(BANDS))
    assert pack(tmp_path, tmp_path / "p.h5", hdu="B")["failed"] == 0


def test_an_image_that_is_not_there(tmp_path, says):
    """--hdu with a name that the file does not have, and with two names"""
    path = write(tmp_path / "a.fits", ("ERR", BANDS[0]), ("WHT", BANDS[1]))
    with pytest.raises(ImageReadError, match="no image SCI in the FITS file: 1 ERR 48×48, 2 WHT 48×48") as refused:
        read_image(path, hdu=("SCI",))
    says(str(refused.value))
    with pytest.raises(ImageReadError, match="no science image in the FITS file, only 1 ERR"):
        read_image(path)
    assert read_image(path, hdu=("2",)).pixels.shape == (48, 48, 3)
    with pytest.raises(Galaxy10Error, match="--hdu g,r is not allowed"):
        find_inputs([str(path)], hdu="g,r")


@pytest.mark.parametrize("bands", ["zrg", "griz", "g,r,z"])
def test_a_cube_that_names_its_bands(tmp_path, says, bands):
    """a cube whose header BANDS gives another order, or a fourth band"""
    values = {"g": BANDS[0], "r": BANDS[1], "i": BANDS[1] * 9, "z": BANDS[2]}
    cube = np.stack([values[band] for band in bands.replace(",", "")])
    image = read_image(write(tmp_path / "a.fits", ("CUBE", cube), BANDS=bands))
    assert np.array_equal(image.pixels, shown(BANDS))
    says("read: g, r, z")


def test_the_unit_is_read(tmp_path, says):
    """BUNIT in a FITS header: counts, janskys, MJy/sr"""
    image = read_image(write(tmp_path / "counts.fits", ("SCI", BANDS[1] * 5e4 + 1000), BUNIT="ADU"))
    assert image.quality == "ok"
    says(image.assumed)
    assert image.assumed == "the unit is ADU, not nanomaggies: stretched with asinh"
    for unit, factor in (("uJy", 3.631), ("nanomaggies", 1.0), ("MJy/sr", 3.631e-12 / (0.262 / 206264.806) ** 2)):
        path = write(tmp_path / f"{factor}.fits", ("SCI", BANDS[1].astype(np.float64) * factor), BUNIT=unit)
        assert np.abs(read_image(path).pixels.astype(int) - GREY[::-1]).max() <= 1, unit
    assert nanomaggies_per_pixel("Jy") == pytest.approx(1e9 / 3631)
    assert nanomaggies_per_pixel("ELECTRONS/S") is None
    with pytest.raises(ImageReadError, match="mag/arcsec2; expected flux"):
        read_image(write(tmp_path / "mag.fits", ("SCI", BANDS[1] + 22), BUNIT="mag/arcsec2"))


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_numbers_at_the_edge(tmp_path, says, scale):
    """float64 FITS of 1e300 and 1e-300"""
    path = write(tmp_path / "a.fits", ("SCI", BANDS[1].astype(np.float64) * scale))
    for stretch in ("asinh", "linear"):
        far, near = (
            read_image(path, stretch),
            read_image(write(tmp_path / f"{stretch}.fits", ("SCI", BANDS[1])), stretch),
        )
        assert np.abs(far.pixels.astype(int) - near.pixels).max() <= 1
    image = read_image(path)
    assert (image.quality, image.remedy) == (("saturated", "asinh") if scale > 1 else ("empty", "asinh"))
    says(f"read; quality {image.quality}, ok with --stretch {image.remedy}")
