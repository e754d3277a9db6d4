"""Damaged files"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from PIL import Image

from galaxy10.data.galaxy_image import ImageReadError
from galaxy10.data.hdf5 import open_source
from galaxy10.data.images import read_image
from galaxy10.data.inputs import find_inputs
from galaxy10.errors import Galaxy10Error
from tests.field_cases.test_decoders import DEFLATE, values, write_png, write_tiff
from tests.field_cases.test_fits import BANDS, write
from tests.galaxies import write_galaxies

HEADER = 1500  # bytes, where most damage matters
LIST = pd.DataFrame({"path": ["a.png"] * 6, "label": [*"ababab"], "ra": ["1,5"] * 6})

WRITERS = {
    "a.tif": lambda path: write_tiff(path, values(16, 3), planar=True, compression=DEFLATE),
    "a.png": lambda path: write_png(path, values(16, 3)),
    "b.png": lambda path: write_png(path, values(8, 4)),
    "a.fits": lambda path: write(path, ("G", BANDS[0]), ("R", BANDS[1]), ("Z", BANDS[2]), BUNIT="uJy"),
    "a.npy": lambda path: np.save(path, values(8, 3)),
    "a.gif": lambda path: Image.fromarray(values(8, 3)).save(path),
    "a.jpg": lambda path: Image.fromarray(values(8, 3)).save(path),
    "t.csv": lambda path: LIST.to_csv(path, sep=";", index=False),
    "t.parquet": lambda path: LIST.to_parquet(path),
    "t.fits": lambda path: Table.from_pandas(LIST).write(path),
    "t.ecsv": lambda path: Table.from_pandas(LIST).write(path),
    "t.vot": lambda path: Table.from_pandas(LIST).write(path, format="votable"),
    "g.h5": lambda path: write_galaxies(path, per_class=4, size=(16, 16), chunks=(6, 8, 8, 1), coordinates=True),
}


def read(path: Path) -> None:
    """Read a file as commands do."""
    if path.suffix == ".h5":
        open_source(path)
        find_inputs([str(path)]).read(11)
    elif path.name.startswith("t"):
        inputs = find_inputs([str(path)])
        if len(inputs) == 1:  # taken for an image
            inputs.read(0)
    else:
        read_image(path)


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_wrong_bytes_and_cut_files(tmp_path, says, name):
    """25 copies with wrong bytes or cut off: no error but in one line"""
    path, rng, messages = tmp_path / name, np.random.default_rng(17), []
    WRITERS[name](path)
    good = path.read_bytes()
    for number in range(25):
        damaged = bytearray(good)
        for place in rng.integers(0, min(len(good), HEADER) if number % 3 else len(good), rng.integers(1, 20)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(good))] if number % 5 == 0 else damaged)
        try:
            read(path)
        except (ImageReadError, Galaxy10Error) as error:
            messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)
    says(f"{len(messages)} refused, the others read")
