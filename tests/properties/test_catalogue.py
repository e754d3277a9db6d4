"""Any table in any number of parts or shards is the whole again, in every format."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from galaxy10.catalogue.joining import join_parts
from galaxy10.catalogue.table_io import write_tables
from galaxy10.catalogue.writer import merge_shards, shard_path
from galaxy10.data.inputs import shard_of
from galaxy10.data.sidecars import failed_path, read_failures

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6)
cuts = st.lists(st.integers(0, 30), max_size=4)


@st.composite
def tables(draw):
    number = draw(st.integers(1, 30))

    def column(values, kind):
        return pa.array(draw(st.lists(st.none() | values, min_size=number, max_size=number)), kind)

    return pa.table(
        {
            "path": pa.array(draw(st.lists(texts, min_size=number, max_size=number)), pa.string()),
            "row": pa.array(np.arange(number)),
            "objid": column(st.integers(-(2**63) + 1, 2**63 - 1), pa.int64()),
            "z": column(st.floats(allow_nan=False, width=32), pa.float32()),
            "name": column(texts, pa.string()),
            "flag": column(st.booleans(), pa.bool_()),
        }
    )


def parts_of(table, places, folder):
    ends = [0, *sorted(min(place, len(table)) for place in places), len(table)]
    paths = []
    for number, (start, stop) in enumerate(pairwise(ends)):
        paths.append(folder / f"part-{number}.parquet")
        pq.write_table(table.slice(start, stop - start), paths[-1])
    return paths


@given(tables(), cuts, st.sampled_from([".parquet", ".csv", ".fits"]))
def test_parts_of_any_length_are_joined_exactly(table, places, suffix):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = folder / f"cat{suffix}"
        assert write_tables(written, suffix, parts_of(table, places, folder)) == len(table)
        if suffix == ".parquet":
            assert pq.read_table(written).equals(table)
        elif suffix == ".csv":
            read = pd.read_csv(written, keep_default_na=False, na_values=[], dtype=str)
            assert read["path"].tolist() == table["path"].to_pylist()
            assert [int(x) if x else None for x in read["objid"]] == table["objid"].to_pylist()
        else:
            read = Table.read(written)
            assert [None if x is np.ma.masked else int(x) for x in read["objid"]] == table["objid"].to_pylist()
            assert len(read) == len(table)


@given(tables(), cuts, st.lists(st.tuples(texts, st.integers(0, 99), texts), max_size=5))
def test_shards_are_merged_exactly_with_their_failures(table, places, failures):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output, parts = folder / "cat.parquet", parts_of(table, places, folder)
        for index, part in enumerate(parts):
            own = failures[index :: len(parts)]
            join_parts(shard_path(output, index, len(parts)), {"shard": [index, len(parts)]}, [part], own, {})
        record = merge_shards(output, overwrite=False)
        assert pq.read_table(output).equals(table)
        assert (record["catalogued"], record["failed"]) == (len(table), len(failures))
        assert sorted(read_failures(failed_path(output))) == sorted(failures)
        assert merge_shards(output, overwrite=False) == record


@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 50))
def test_shards_of_any_number_cover_every_image_once(total, batch, number):
    found = [image for index in range(number) for image in shard_of(total, batch, (index, number))]
    assert found == list(range(total))
