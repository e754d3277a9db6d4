"""A large table of paths is read block by block, and is the same table as one that is read at once."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galaxy10.data import lines, parquet_blocks, path_lines, text_blocks
from galaxy10.data.file_sizes import add_digests
from galaxy10.data.inputs import find_inputs
from galaxy10.data.lines import LazyTable
from galaxy10.data.path_lines import open_path_table
from galaxy10.data.path_tables import read_path_table
from galaxy10.errors import Galaxy10Error


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Tables of a few lines are large here, and blocks hold a few lines."""
    monkeypatch.setattr(path_lines, "_LARGE_BYTES", 0)
    monkeypatch.setattr(path_lines, "_LARGE_ROWS", 0)
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(parquet_blocks, "_ROWS", 3)
    monkeypatch.setattr(lines, "_KEPT", 2)


def assert_same(file, in_blocks=True, column=None):
    """The table in blocks, whole and in any window, is the one that is read at once."""
    whole, names = read_path_table(file, column)
    table, new_names = open_path_table(file, column)
    assert isinstance(table, LazyTable) == in_blocks
    assert new_names == names
    if in_blocks:
        assert len(table.blocks.starts) > 3
    assert len(table) == len(whole)
    for first, number in ((0, None), (len(whole) - 2, 2), (1, 5), (0, 0), (4, 1)):
        window, expected = table.slice(first, number), whole.slice(first, number)
        assert window.column_names == expected.column_names
        assert window.to_pylist() == expected.to_pylist()
        for name in window.column_names:
            assert window[name].type == expected[name].type or pa.types.is_large_string(expected[name].type)


COLUMNS = {
    "a path alone": lambda i: f"cutouts/{i:05d}.png",
    "identifiers that begin with zeros only at the end": lambda i: 100 + i if i < 30 else f"{i:06d}",
    "numbers that become fractions": lambda i: i if i < 30 else i + 0.5,
    "numbers that become texts": lambda i: i if i < 35 else "seven",
    "missing numbers": lambda i: "" if i % 3 else i,
    "nothing": lambda i: "",
    "words for missing ones among numbers": lambda i: "NA" if i % 2 else i,
    "words among texts": lambda i: "NA" if i % 2 else "spiral",
    "words before texts": lambda i: "None" if i < 30 else "spiral",
    "truths": lambda i: i % 2 == 0,
    "truths before numbers": lambda i: i % 2 == 0 if i < 30 else i,
    "digits of 64 bits": lambda i: 1237648720693755918 + i,
    "quoted": lambda i: f'"{i} ""arcsec"""',
    "blanks": lambda i: f" {i} x ",
}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_texts_have_the_types_and_values_of_the_whole(separator, tmp_path):
    for place, value in enumerate(COLUMNS.values()):
        rows = [separator.join([f"{i}.png", str(value(i)), "1,5" if separator == ";" else "2.5"]) for i in range(40)]
        if place % 2:
            rows.insert(7, "")  # a blank line
        text = "\n".join([separator.join(["path", "x", "z"]), *rows]) + "\n" * (place % 3)
        file = tmp_path / f"{place}.csv"
        file.write_text(text)
        assert_same(file)


def test_decimal_commas_are_numbers_unless_one_line_says_otherwise(tmp_path):
    for number, last in enumerate(["39,5", "39", "about 39"]):
        rows = [f"{i}.png;{i},5;{i}" for i in range(39)] + [f"39.png;{last};39"]
        (tmp_path / f"{number}.csv").write_text("\n".join(["path;size;n", *rows]))
        assert_same(tmp_path / f"{number}.csv")


def test_encodings_comments_packing_and_paths_of_digits(tmp_path):
    rows = [f"{i:04d},größe {i}" for i in range(40)]
    for encoding in ("utf-8", "utf-8-sig", "latin-1"):
        (tmp_path / "a.csv").write_text("\r\n".join(["file,name", *rows]), encoding=encoding)
        assert_same(tmp_path / "a.csv", column="file")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress("\n".join(["path,name", *rows]).encode()))
    assert_same(tmp_path / "b.csv.gz")
    (tmp_path / "c.dat").write_text("\n".join(["# a survey", "# path ra", *(f"{i}.png  {i}.5" for i in range(40))]))
    assert_same(tmp_path / "c.dat")
    (tmp_path / "d.csv").write_text(
        "\n".join(["path,group", *(f"{i},{'NA' if i % 2 else i}" for i in range(39)), "x,y"])
    )
    assert_same(tmp_path / "d.csv")


def test_lines_with_fewer_cells_than_the_header_and_blank_lines_before_it(tmp_path):
    for name, text in (("short", "path,a,b\n"), ("blank", "\n\npath,a\n")):
        file = tmp_path / f"{name}.csv"
        file.write_text(text + "".join(f"cutouts/{i:03d}.png,{i}\n" for i in range(60)))
        assert_same(file)


def test_cells_with_line_breaks_are_read_at_once(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(["path,note", *(f'{i}.png,"two\nlines"' for i in range(20))]))
    assert_same(tmp_path / "a.csv", in_blocks=False)
    (tmp_path / "b.csv").write_bytes(
        b"path,n\n" + b"".join(b"%d.png,%d%b" % (i, i, b"\n\r"[i % 2 :][:1]) for i in range(20))
    )
    assert_same(tmp_path / "b.csv", in_blocks=False)


def test_a_text_without_the_column_of_paths_is_refused_by_its_first_lines(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(["file,n", *(f"{i}.png,{i}" for i in range(20)), '"']))
    with pytest.raises(
        Galaxy10Error, match="has no column path; it has file, n: rename a column, or type --path-column"
    ):
        open_path_table(tmp_path / "a.csv", None)


def test_parquet_files_have_the_types_and_values_of_the_whole(tmp_path):
    number = 20
    table = pa.table(
        {
            "z": pa.array([None if i % 4 else i / 2 for i in range(number)], pa.float32()),
            "path": [f"{i}.png" for i in range(number)],
            "predicted": pa.array(np.arange(number), pa.int16()),
            "name": pa.array([f"n{i % 3}" for i in range(number)]),
            "raw": pa.array([b"caf\xe9"] * number, pa.binary()),
            "flag": pa.array([None, True] * (number // 2)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    assert_same(tmp_path / "a.parquet")
    pd.DataFrame({"path": [f"{i}" for i in range(number)], "x": np.arange(number)}).set_index("x").to_parquet(
        tmp_path / "b.parquet"
    )
    assert open_path_table(tmp_path / "b.parquet", None)[0].schema.names == ["path", "row"]
    with pytest.raises(Galaxy10Error, match="has no column file; it has path: rename a column, or type --path-column"):
        open_path_table(tmp_path / "b.parquet", "file")


def test_a_list_that_changes_while_it_is_read_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text(
        "\n".join(["path,n", *(f"{i:0400}.png,{i}" for i in range(40))])
    )  # more than Python reads at once
    table, _ = open_path_table(tmp_path / "a.csv", None)
    (tmp_path / "a.csv").write_text("path,n\n0.png,1\n")
    with pytest.raises(Galaxy10Error, match=r"a\.csv .*changed"):
        table.slice(30, 5)


def test_each_shard_looks_for_its_own_files_only_and_all_of_them_make_the_whole(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(["path", *(f"{i}.png" for i in range(40))]))
    (tmp_path / "extra.png").write_bytes(b"12345")
    inputs = find_inputs([str(tmp_path / "a.csv"), str(tmp_path / "extra.png")])
    assert len(inputs) == 41
    whole, digest = inputs.file_sizes(range(41)), inputs.digest()
    shards = [range(0, 16), range(16, 32), range(32, 41)]
    before = [inputs.file_sizes(shard) for shard in shards]
    assert add_digests(before[::-1]) == whole
    (tmp_path / "20.png").write_bytes(b"123")
    after = [inputs.file_sizes(shard) for shard in shards]
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, False, True]
    assert inputs.digest() == digest
    assert inputs.file_sizes(range(41)) != whole
