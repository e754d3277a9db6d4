"""Arrays that were written to a file of any kind are read as they were."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tifffile
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from galaxy10.data.hdf5 import open_source
from galaxy10.data.images import as_image, read_image
from galaxy10.data.inputs import find_inputs
from galaxy10.data.pack import pack
from galaxy10.data.path_tables import read_path_table
from galaxy10.data.readers import Reader
from galaxy10.data.store import open_store
from tests.properties import attempt

sides = st.integers(16, 40)
colours = st.tuples(sides, sides, st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape, fill=st.just(7)))
WRITERS = {
    "a.png": lambda path, pixels: Image.fromarray(pixels).save(path),
    "a.bmp": lambda path, pixels: Image.fromarray(pixels).save(path),
    "a.webp": lambda path, pixels: Image.fromarray(pixels).save(path, lossless=True),
    "a.tif": lambda path, pixels: Image.fromarray(pixels).save(path, compression="tiff_lzw"),
    "b.tif": lambda path, pixels: tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib"),
    "a.npy": lambda path, pixels: np.save(path, pixels),
    "a.fits": lambda path, pixels: fits.writeto(path, pixels.transpose(2, 0, 1)[:, ::-1].copy()),
    "a.fits.gz": lambda path, pixels: fits.writeto(path, pixels.transpose(2, 0, 1)[:, ::-1].copy()),
}


@given(colours, st.sampled_from(sorted(WRITERS)))
def test_an_image_of_8_bits_is_read_bit_for_bit(pixels, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        WRITERS[name](path, pixels)
        read = read_image(path)
        assert np.array_equal(read.pixels, pixels)
        assert read.filled == 0


@given(
    arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64, bool, complex]),
        array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=20),
    ),
    st.sampled_from(["auto", "legacy", "asinh", "linear", "unit"]),
    st.booleans(),
)
def test_any_array_becomes_an_image_or_is_refused_in_one_line(values, stretch, is_flux):
    image, refused = attempt(as_image, values, stretch, is_flux)
    if refused:
        return
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape[2] == 3
    assert 0 <= image.filled <= 1


@st.composite
def surveys(draw):
    """Images (N, H, W, 3) uint8, labels and positions of at least two classes."""
    number = draw(st.integers(2, 12))
    side = draw(st.integers(8, 20))
    images = draw(arrays(np.uint8, (number, side, side, 3), fill=st.just(0)))
    labels = draw(st.lists(st.integers(0, 2**40), min_size=number, max_size=number).filter(lambda x: len(set(x)) > 1))
    ra = draw(st.lists(st.floats(0.5, 359), min_size=number, max_size=number))
    return images, np.array(labels), np.array(ra)


@given(surveys(), st.sampled_from([None, "gzip", "lzf"]))
def test_an_hdf5_file_and_its_store_hold_what_was_written(survey, compression):
    images, labels, ra = survey
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, compression=compression, chunks=True if compression else None)
            file["ans"], file["ra"], file["dec"] = labels, ra, -ra / 4
        source = open_source(path)
        store = open_store(source, Path(folder))
        assert np.array_equal(store.images, images)
        assert np.array_equal(source.label_ids, labels)
        assert np.array_equal(source.table["ra"], ra)
        assert np.array_equal(source.table["dec"], -ra / 4)


@given(surveys(), st.booleans())
def test_what_a_reader_returns_is_in_its_file(survey, as_iterator):
    images, labels, ra = survey
    given = iter(images) if as_iterator else images
    table = {"ra": ra, "dec": ra / 4, "note": ["é\n" for _ in ra]}
    with tempfile.TemporaryDirectory() as folder:
        kept, failures = Reader.from_config(lambda path: (given, labels, None, table)).write(
            Path(folder), part := Path(folder) / "r.h5"
        )
        assert (kept.tolist(), failures) == (list(range(len(images))), [])
        source = open_source(part)
        with h5py.File(part) as file:
            assert np.array_equal(file["images"][:], images)
            assert file["note"].asstr()[0] == "é\n"
        assert np.array_equal(source.label_ids, labels)
        assert np.array_equal(source.table["ra"], ra)


@given(st.lists(st.tuples(colours, st.sampled_from("abc")), min_size=2, max_size=6), st.data())
def test_packed_images_are_those_of_the_folder(members, data):
    side = data.draw(st.integers(16, 24))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = {}
        for number, (pixels, label) in enumerate(members):
            cut = np.resize(pixels, (side, side, 3))
            (folder / "set" / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(cut).save(folder / "set" / label / f"{number}.png")
            expected[f"{label}/{number}.png"] = cut
        _, refused = attempt(pack, folder / "set", folder / "p.h5")
        assert bool(refused) == (len({label for _, label in members}) < 2)
        if refused:
            return
        source = open_source(folder / "p.h5")
        with h5py.File(folder / "p.h5") as file:
            for pixels, path, label in zip(file["images"], file["path"].asstr(), source.table["label"], strict=True):
                short = "/".join(Path(path).parts[-2:])
                assert np.array_equal(pixels, expected.pop(short))
                assert source.names[label] == short[0]
        assert not expected


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=10).map(str.strip).filter(bool)


@given(
    st.lists(st.tuples(words, words, st.integers(-(2**62), 2**62)), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|", "parquet"]),
)
def test_a_table_of_paths_keeps_its_words_and_numbers(lines, kind):
    table = pd.DataFrame(lines, columns=["path", "label", "objid"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.csv"
        if kind == "parquet":
            table.to_parquet(file)
        else:
            table.to_csv(file, index=False, sep=kind)
        read, names = read_path_table(file, None, "label")
    assert read["objid"].to_pylist() == table["objid"].tolist()
    assert list(map(str, read[names["label"]].to_pylist())) == table["label"].tolist()
    assert [path for path in read["path"].to_pylist() if path] == [
        path for path in table["path"] if path.lower() not in MISSING
    ]


MISSING = {"", "nan", "na", "n/a", "null", "none", "<na>", "#n/a", "#na", "-nan", "1.#ind", "1.#qnan", "-1.#ind"}
MISSING |= {"-1.#qnan", "#n/a n/a"}


@given(st.binary(max_size=200), st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.parquet", "a.fits", "a.png", "a.h5"]))
def test_any_bytes_are_read_or_refused(content, name):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        inputs, refused = attempt(find_inputs, [str(Path(folder) / name)])
        for index in range(0 if refused else min(len(inputs), 3)):
            attempt(inputs.read, index)
