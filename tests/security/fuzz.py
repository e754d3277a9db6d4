"""Hand damaged files to the readers, in a process of its own: `python -m tests.security.fuzz FOLDER KIND FIRST LAST`.

Prints a line before each file, and one more with the error if a reader raises anything but a refusal.
"""

import io
import random
import resource
import struct
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from galaxy10.data.hdf5 import open_source
from galaxy10.data.images import ImageReadError
from galaxy10.data.inputs import find_inputs
from galaxy10.data.path_tables import read_path_table
from galaxy10.data.store import open_store
from galaxy10.errors import Galaxy10Error
from galaxy10.foreign_files import load_arrays, read_yaml_mapping
from tests.galaxies import galaxy, write_galaxies

MEMORY_BYTES = 2**30  # beside what is in use after the undamaged file
PIXELS = galaxy(3)
LINES = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["a", "é"], "ra": ["10:00:00", "1.5"], "objid": [1, 2**60]})


def pillow(path: Path, image: Image.Image | None = None, **options: object) -> None:
    """Write a galaxy with Pillow."""
    (image or Image.fromarray(PIXELS)).save(path, **options)


def palette(path: Path) -> None:
    """Write a galaxy of 16 colours."""
    pillow(path, Image.fromarray(PIXELS).quantize(16))


def flux(path: Path) -> None:
    """Write three bands of flux."""
    fits.writeto(path, PIXELS.transpose(2, 0, 1).astype(np.float32))


def tile_compressed(path: Path) -> None:
    """Write a FITS image of compressed tiles."""
    data = PIXELS[..., 0].astype(np.int16)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="RICE_1")]).writeto(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.png": pillow,
    "p.png": palette,
    "i.png": lambda path: pillow(path, Image.fromarray(PIXELS[..., 0] * np.uint16(200))),
    "a.jpg": pillow,
    "a.gif": palette,
    "a.webp": pillow,
    "a.bmp": pillow,
    "lzw.tif": lambda path: pillow(path, compression="tiff_lzw"),
    "deep.tif": lambda path: tifffile.imwrite(path, PIXELS * np.uint16(200), photometric="rgb", compression="zlib"),
    "planes.tif": lambda path: tifffile.imwrite(
        path, (PIXELS * np.uint16(200)).transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    ),
    "a.fits": flux,
    "a.fits.gz": flux,
    "a.fits.fz": tile_compressed,
    "a.npy": lambda path: np.save(path, PIXELS),
    "plain.h5": lambda path: write_galaxies(path, per_class=3, size=(16, 16), names=["a", "b", "c"], coordinates=True),
    "chunks.h5": lambda path: write_galaxies(path, per_class=3, size=(16, 16), chunks=(2, 16, 16, 1), coordinates=True),
    "a.csv": lambda path: LINES.to_csv(path, index=False),
    "a.tsv": lambda path: LINES.to_csv(path, index=False, sep="\t", encoding="latin-1"),
    "a.parquet": lambda path: LINES.to_parquet(path),
    "table.fits": lambda path: Table.from_pandas(LINES.astype({"label": str})[["path", "objid"]]).write(path),
    "a.npz": lambda path: np.savez_compressed(path, images=PIXELS[None], rows=np.arange(1)),
    "a.yaml": lambda path: path.write_text("a: {b: [1, 2.5, null], c: &x [y]}\nd: *x\ne: 'f'\n"),
}
RAISES_ANYTHING = ("a.npz",)  # its caller notes any exception (runs.record.read_run)


def read(path: Path) -> None:
    """Read a file as commands do."""
    if path.suffix == ".npz":
        load_arrays(path)
    elif path.suffix == ".yaml":
        read_yaml_mapping(path)
    elif path.suffix == ".h5":
        inputs = find_inputs([str(path)])
        for index in range(min(len(inputs), 4)):
            inputs.read(index)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            open_store(open_source(path), Path(folder))
    elif path.name in ("a.csv", "a.tsv", "a.parquet", "table.fits"):
        find_inputs([str(path)])
        read_path_table(path, None, "label" if path.suffix != ".fits" else None)
    else:
        find_inputs([str(path)]).read(0)


NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a copy with a few bytes, numbers or digits changed, or with a part cut out, doubled or overwritten."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = min(int(len(changed) * rng.random() ** rng.choice((1, 1, 4))), len(changed) - 1)  # headers more often
        kind = rng.randrange(7)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place] = rng.randrange(256)
        elif kind == 2:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) & (2 ** (8 * size) - 1)
            changed[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            digits = [i for i, byte in enumerate(changed[:6000]) if 48 <= byte <= 57]
            if digits:
                changed[rng.choice(digits)] = rng.randrange(48, 58)
        elif kind == 4:
            del changed[place : place + rng.choice((1, 4, 100, len(changed)))]
        elif kind == 5:
            changed[place:place] = changed[place : place + rng.choice((1, 8, 200))]
        else:
            changed[place : place + 16] = bytes([rng.choice((0, 32, 255))]) * 16
        if not changed:
            return b""
    return bytes(changed)


def with_checksums(content: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums, so that the damage gets past them."""
    out, place = io.BytesIO(), 8
    out.write(content[:8])
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        body = content[place + 4 : place + 8 + length]
        out.write(content[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return out.getvalue() + content[place:]


def main(folder: Path, kind: str, first: int, last: int) -> None:
    """Read `kind` as it is, and then damaged in the ways first … last - 1."""
    whole = folder / kind
    WRITERS[kind](whole)
    content = whole.read_bytes()
    read(whole)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
    for number in range(first, last):
        rng = random.Random(f"{kind} {number}")
        changed = damaged(content, rng)
        whole.write_bytes(with_checksums(changed) if kind.endswith("png") and rng.random() < 0.8 else changed)
        print(number, flush=True)
        try:
            read(whole)
        except (Galaxy10Error, ImageReadError) as error:
            if "MemoryError" in str(error) or "llocate" in str(error) or "\n" in str(error):
                print(f"BAD {number}: {error!r}", flush=True)
        except ValueError as error:
            if not kind.endswith((".npz", ".yaml")):
                print(f"BAD {number}: {error!r} {traceback.format_exc(limit=-2)!r}", flush=True)
        except Exception as error:
            if kind not in RAISES_ANYTHING or isinstance(error, MemoryError):
                print(f"BAD {number}: {error!r} {traceback.format_exc(limit=-2)!r}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
