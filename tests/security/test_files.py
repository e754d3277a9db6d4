"""Images, HDF5 files and tables from anybody are data: no program runs, nothing grows without bound, nothing waits."""

import gzip
import io
import os
import struct
import zlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from galaxy10 import foreign_files
from galaxy10.data import image_limits
from galaxy10.data.hdf5 import open_source
from galaxy10.data.images import ImageReadError, as_image, read_image
from galaxy10.data.input_files import HDF5Images
from galaxy10.data.inputs import find_inputs
from galaxy10.data.path_tables import read_path_table
from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write
from galaxy10.foreign_files import load_arrays
from tests.galaxies import galaxy, write_galaxies

HUGE = 100_000  # px


def png_of(width, height):
    """A PNG that says to be of this size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**5))) + chunk(b"IEND", b"")
    )


def tiff_of(width, height):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((16, 16, 3), np.uint16), photometric="rgb")
    content = buffer.getvalue()
    for tag, old, new in ((256, 16, width), (257, 16, height)):
        entry = struct.pack("<HH", tag, 3), struct.pack("<HH", tag, 4)
        place = next(at for kind in entry if (at := content.find(kind)) >= 0)
        assert content[place + 8 : place + 10] == struct.pack("<H", old)
        content = content[: place + 2] + struct.pack("<HII", 4, 1, new) + content[place + 12 :]
    return content


def fits_of(**cards):
    header = fits.Header({"SIMPLE": True, "BITPIX": -64, "NAXIS": 2, **cards})
    return header.tostring().encode()


def compressed_fits(width, height):
    buffer = io.BytesIO()
    fits.CompImageHDU(np.zeros((64, 64), np.int16), compression_type="RICE_1").writeto(buffer)
    content = buffer.getvalue()
    for number, side in ((1, width), (2, height)):
        old, new = (f"ZNAXIS{number} = {value:20d}".encode() for value in (64, side))
        assert content.count(old) == 1
        content = content.replace(old, new)
    return content


BOMBS = {
    "a.png": lambda: png_of(HUGE, HUGE),
    "b.png": lambda: png_of(9_000, 9_000),  # which Pillow would only warn about
    "a.tif": lambda: tiff_of(HUGE, HUGE),
    "a.fits.fz": lambda: compressed_fits(HUGE, HUGE),
    "a.fits.gz": lambda: gzip.compress(fits_of(NAXIS1=HUGE, NAXIS2=HUGE) + bytes(2880)),
    "b.fits.gz": lambda: gzip.compress(b"SIMPLE  =                    T" + b" " * 9_000_000, 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_would_fill_the_memory_is_refused(name, tmp_path, monkeypatch):
    if name == "b.fits.gz":
        monkeypatch.setattr(image_limits, "_UNPACKED_BYTES", 8_000_000)
    (tmp_path / name).write_bytes(BOMBS[name]())
    with pytest.raises(ImageReadError, match="more pixels than any cutout"):
        read_image(tmp_path / name)


def test_limits_hold_for_arrays_and_honest_files_too(tmp_path):
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (9_000, 9_000, 3))  # a hole, not 243 MB
    with pytest.raises(ImageReadError, match="more pixels"):
        read_image(tmp_path / "a.npy")
    with pytest.raises(ImageReadError, match="more pixels"):
        as_image(np.broadcast_to(np.uint8(1), (9_000, 9_000, 3)))
    (tmp_path / "a.fits").write_bytes(fits_of(NAXIS1=HUGE, NAXIS2=HUGE))  # not as long as it says
    with pytest.raises(ImageReadError, match="more pixels"):
        read_image(tmp_path / "a.fits")


def test_formats_that_run_other_programs_are_not_read(tmp_path):
    assert not {"EPS", "PDF", "WMF", "GRIB", "BUFR"} & set(image_limits.pillow_formats())
    Image.fromarray(galaxy()).save(tmp_path / "a.png", "EPS")
    with pytest.raises(ImageReadError, match="not an image of a known format"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device"])
def test_nothing_waits_for_a_pipe(kind, tmp_path):
    path = tmp_path / "a.png"
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "fifo" if "link" in kind else path)
        if "link" in kind:
            path.symlink_to(tmp_path / "fifo")
    with pytest.raises(ImageReadError, match="not a file"):
        read_image(path)
    (tmp_path / "list.csv").write_text("path\na.png\n")
    with pytest.raises(ImageReadError, match="not a file"):
        find_inputs([str(tmp_path / "list.csv")]).read(0)


def test_a_table_names_images_only(tmp_path):
    """Any path may stand in a table; what is no image is not read, and no part of it is shown."""
    (tmp_path / "secret.txt").write_text("password: hunter2")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/link.png").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "below/list.csv").write_text(f"path\n../secret.txt\n{tmp_path}/secret.txt\nlink.png\n/etc/passwd\n")
    inputs = find_inputs([str(tmp_path / "below/list.csv")])
    for row in range(4):
        with pytest.raises(ImageReadError) as refused:
            inputs.read(row)
        assert str(refused.value) == "not an image of a known format"


def write_forged(path, change):
    write_galaxies(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def many_images(file):
    del file["images"], file["ans"]
    file.create_dataset("images", (10**12, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))
    file.create_dataset("ans", (10**12,), np.uint8, chunks=(1000,))


def large_images(file):
    del file["images"]
    file.create_dataset("images", (36, HUGE, HUGE, 3), np.uint8, chunks=(1, 32, 32, 3))


def long_values(file):
    file.create_dataset("group", (36,), "S1000000000", chunks=(1,))


def other_bytes(file):
    del file["images"]
    file.create_dataset("images", (36, 32, 32, 3), np.uint8, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (many_images, "1,000,000,000,000 images in a file of"),
        (large_images, "more pixels than any cutout"),
        (long_values, "each value of `group` takes 1,000,000,000 bytes"),
        (other_bytes, r"are bytes of another file \(/etc/passwd\)"),
    ],
)
def test_hdf5_shapes_that_no_file_holds_are_refused(change, said, tmp_path):
    path = write_forged(tmp_path / "g.h5", change)
    for read in (lambda: open_source(path), lambda: HDF5Images(path, "auto")):
        with pytest.raises(Galaxy10Error, match=said) as refused:
            read()
        assert "\n" not in str(refused.value)


def test_a_virtual_data_set_is_as_long_as_its_sources(tmp_path):
    write_galaxies(tmp_path / "g.h5", per_class=3000, size=(8, 8))
    layout = h5py.VirtualLayout((9000, 8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource(tmp_path / "g.h5", "images", (9000, 8, 8, 3))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
        file["ans"] = h5py.ExternalLink(str(tmp_path / "g.h5"), "ans")
    assert (tmp_path / "v.h5").stat().st_size < 9000
    assert open_source(tmp_path / "v.h5").num_images == 9000


def test_a_parquet_table_has_no_more_rows_than_bytes(tmp_path):
    rows = 3_000_000
    paths = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["a.png"]))
    pq.write_table(pa.table({"path": paths}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    with pytest.raises(Galaxy10Error, match="3,000,000 rows in a file of"):
        read_path_table(tmp_path / "a.parquet", None)


def test_arrays_of_a_run_directory_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_files, "_ARRAY_BYTES", 2**20)
    np.savez_compressed(tmp_path / "batch.npz", images=np.zeros(2**21, np.uint8))
    with pytest.raises(ValueError, match="more than 1 GiB"):
        load_arrays(tmp_path / "batch.npz")
    np.savez(tmp_path / "hostile.npz", images=np.array([os.system], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_arrays(tmp_path / "hostile.npz")


def test_a_damaged_header_makes_no_file_a_table(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =                    T" + b"\xff" * 5000)
    with pytest.raises(ImageReadError, match="broken"):  # an image, listed as such
        find_inputs([str(tmp_path / "a.fits")]).read(0)


def test_a_file_is_not_written_through_a_link_that_somebody_has_left(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / f".report.html.{os.getpid()}.part").symlink_to(tmp_path / "mine.txt")
    (tmp_path / "report.html").symlink_to(tmp_path / "mine.txt")
    with atomic_write(tmp_path / "report.html") as part:
        part.write_text("page")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "report.html").is_symlink()
