"""A survey of any size: memory that does not grow, shards of a list that make the whole, a merge that may be killed."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from galaxy10.catalogue import table_io
from galaxy10.catalogue.joining import join_parts
from galaxy10.catalogue.parts import PartMaker, fill
from galaxy10.catalogue.writer import Catalogue, merge_shards, shard_path
from galaxy10.data import array_files, path_lines, text_blocks
from galaxy10.data import inputs as input_module
from galaxy10.data.array_files import join_arrays, write_array
from galaxy10.data.inputs import Inputs, find_inputs, shard_of
from galaxy10.files import read_json
from galaxy10.prediction.options import PredictOptions
from tests.catalogue.renames import interrupted_at_rename
from tests.galaxies import galaxy

SHARDS = 10
POOLS: list[pa.MemoryPool] = []  # a pool must live as long as what it has allocated


def write_shards(folder: Path, rows: int) -> Path:
    """Shards of a catalogue of `rows` rows, a tenth as many failures and 32 bytes of features a row."""
    folder.mkdir()
    each = rows // SHARDS
    for index in range(SHARDS):
        numbers = np.arange(index * each, (index + 1) * each)
        table = pa.table(
            {
                "path": pa.array([f"{i}.png" for i in numbers], pa.string()),
                "row": numbers,
                "trained_on": numbers % 10 == 0,
                "quality": pa.array(np.where(numbers % 5, "ok", "empty")),
            }
        )
        pq.write_table(table, folder / "part")
        failures = [(f"gone{i}.png", int(i), "there is no file") for i in numbers[::10]]
        shard = shard_path(folder / "cat.parquet", index, SHARDS)
        plan = {"shard": [index, SHARDS], "file_sizes": f"{index:016x}"}
        join_parts(shard, plan, [folder / "part"], failures, {})
        write_array(folder / f"features{index}.npy", np.repeat(numbers[:, None], 4, axis=1))
    return folder / "cat.parquet"


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that Python and pyarrow have taken at once for some work."""
    pool = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(pool)
    POOLS.append(counted)
    pa.set_memory_pool(counted)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] + (counted.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(pool)


def test_a_merge_of_ten_times_the_rows_takes_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(table_io, "_ROW_GROUP", 1000)
    monkeypatch.setattr(array_files, "_BLOCK", 10_000)
    peaks = []
    for rows in (20_000, 200_000):
        output = write_shards(tmp_path / str(rows), rows)
        arrays = [output.with_name(f"features{index}.npy") for index in range(SHARDS)]

        def merge(output=output, arrays=arrays, rows=rows):
            record = merge_shards(output, overwrite=False)
            assert (record["catalogued"], record["failed"], record["trained_on"]) == (rows, rows // 10, rows // 10)
            assert record["quality"] == {"empty": rows // 5, "ok": rows * 4 // 5}
            join_arrays(output.with_name("features.npy"), arrays)

        peaks.append(peak_bytes(merge))
        assert np.array_equal(np.load(output.with_name("features.npy"))[:, 3], np.arange(rows))
    whole = peak_bytes(lambda: pq.read_table(output))
    print(peaks, whole)
    assert peaks[1] < 1.5 * peaks[0] + 500_000 < whole


def test_a_list_of_ten_times_the_lines_takes_the_same_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(path_lines, "_LARGE_BYTES", 0)
    monkeypatch.setattr(path_lines, "_LARGE_ROWS", 0)
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(input_module, "_WINDOW", 1000)
    for name in ("list.txt", "list.parquet"):
        peaks = []
        for number in (20_000, 200_000):
            paths = [f"cutouts/{i:07d}.png" for i in range(number)]
            if name == "list.txt":
                (tmp_path / name).write_text("\n".join(["path", *paths]))
            else:
                pq.write_table(pa.table({"path": paths}), tmp_path / name, row_group_size=10_000)
            del paths

            def plan(number=number, name=name):
                inputs = find_inputs([str(tmp_path / name)])
                inputs.digest()
                mine = shard_of(number, 64, (7, number // 2000))
                inputs.file_sizes(mine)
                assert inputs.lines(mine.start, mine.stop)["row"].to_pylist() == list(mine)

            peaks.append(peak_bytes(plan))
        print(peaks)
        assert peaks[1] < 1.5 * peaks[0] + 500_000 < 200_000 * 19, name


class NoNetwork:
    """Networks that compute nothing."""

    device, on_cpu = torch.device("cpu"), True
    engine = "torch"
    modules = ()

    def for_streams(self, number: int, threads: int) -> list["NoNetwork"]:
        return [NoNetwork() for _ in range(number)]

    def prepare(self, pixels: np.ndarray) -> tuple[list, int]:
        return [], 0

    def placeholder(self) -> tuple[list, int]:
        return [], 0


class Hashes(PartMaker):
    """Rows that say which pixels were read."""

    networks = NoNetwork()

    @staticmethod
    def forward(networks, prepared) -> None:
        return None

    def rows(self, batch, outputs) -> pa.Table:
        known = pa.table({"pixels": pa.array([i.pixel_hash for i in batch.images], pa.uint64()), "at": batch.ra})
        return self.with_quality(known, batch.images)

    def empty_table(self) -> pa.Table:
        columns = {"pixels": pa.array([], pa.uint64()), "at": pa.array([], pa.float64())}
        return self.with_quality(pa.table(columns), [])

    def record(self) -> dict:
        return {}


def catalogue_of(inputs: Inputs, output: Path, shard: tuple[int, int] | None = None) -> Catalogue:
    mine = shard_of(len(inputs), 4, shard or (0, 1))
    plan = {"inputs": inputs.digest(), "file_sizes": inputs.file_sizes(mine), "shard": list(shard) if shard else None}
    catalogue = Catalogue(shard_path(output, *shard) if shard else output, plan)
    with catalogue.writing(False) as record:
        if record is None:
            fill(catalogue, inputs, Hashes(PredictOptions(batch_size=4, workers=2)), mine)
    return catalogue


def test_shards_of_a_list_are_the_whole_line_by_line(tmp_path, monkeypatch):
    monkeypatch.setattr(path_lines, "_LARGE_BYTES", 0)
    monkeypatch.setattr(text_blocks, "_BLOCK_BYTES", 500)
    existing = [*range(3, 150, 7), 149]
    for i in existing:
        Image.fromarray(galaxy(i)).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,{i / 2},{'about 3' if i == 140 else i}" for i in range(150)]
    (tmp_path / "list.csv").write_text("\n".join(["path,ra,size", *rows]))
    inputs = find_inputs([str(tmp_path / "list.csv")])
    whole = catalogue_of(inputs, tmp_path / "whole.parquet")
    table = pq.read_table(whole.output)
    assert table["row"].to_pylist() == existing
    assert table["path"].to_pylist() == [f"{i}.png" for i in existing]
    assert table["at"].to_pylist() == table["ra"].to_pylist() == [i / 2 for i in existing]
    assert len(set(table["pixels"].to_pylist())) == len(existing)
    for i in range(7):
        catalogue_of(find_inputs([str(tmp_path / "list.csv")]), tmp_path / "cat.parquet", (i, 7))
    record = merge_shards(tmp_path / "cat.parquet", overwrite=False)
    assert (record["catalogued"], record["failed"]) == (len(existing), 150 - len(existing))
    for name in ("parquet", "failed.csv"):
        assert (tmp_path / f"cat.{name}").read_bytes() == (tmp_path / f"whole.{name}").read_bytes()
    assert record["plan"] == whole.plan  # so the command without --shard finds its catalogue made


def test_a_merge_that_was_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path):
    whole = write_shards(tmp_path / "whole", 100)
    merge_shards(whole, overwrite=False)
    for moment in range(3):  # failures, catalogue, record
        output = write_shards(tmp_path / f"killed{moment}", 100)
        with pytest.raises(KeyboardInterrupt), interrupted_at_rename(moment):
            merge_shards(output, overwrite=False)
        for name in (".cat.parquet.1-abc.part", ".cat.failed.csv.1-abc.part"):  # as SIGKILL leaves them
            output.with_name(name).write_bytes(b"PAR1")
        merge_shards(output, overwrite=True)
        for name in ("cat.parquet", "cat.failed.csv", "cat.json"):
            assert output.with_name(name).read_bytes() == whole.with_name(name).read_bytes()
        assert not list(output.parent.glob(".*.part"))
        assert len(read_json(output.with_suffix(".json"))["plan"]) == 2
