"""A catalogue's files are its own: no command removes, mixes or replaces those of another."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from galaxy10.catalogue.joining import join_parts
from galaxy10.catalogue.predict import predict
from galaxy10.catalogue.table_io import check_columns, write_tables
from galaxy10.catalogue.writer import Catalogue, IncompleteCatalogue, merge_shards, shard_path
from galaxy10.data.pack import pack
from galaxy10.errors import Galaxy10Error
from galaxy10.files import read_json
from galaxy10.prediction.options import PredictOptions

FAILURE = ("a.png", 0, "empty file (0 bytes)")


def lines(number: int = 2) -> pa.Table:
    """Some lines of a catalogue."""
    return pa.table({"path": [f"{i}.png" for i in range(number)], "row": np.arange(number)})


def write(catalogue: Catalogue, *failures: tuple[str, int, str], overwrite: bool = False) -> None:
    """Make a catalogue of one part."""
    with catalogue.writing(overwrite) as about:
        assert about is None
        catalogue.add(0, lines(), failures)
        catalogue.finish(1, {})


def test_a_second_command_that_overwrites_leaves_the_first_ones_parts(tmp_path):
    first, second = (Catalogue(tmp_path / "cat.parquet", {"coverage": c}) for c in (0.9, 0.8))
    with first.writing(False):
        first.add(0, lines(), [])
        second.check_name(overwrite=True)
        with pytest.raises(Galaxy10Error, match="another process is writing"), second.writing(overwrite=True):
            pass
        assert first.has(0)
        assert first.finish(1, {})["catalogued"] == 2
    write(second, overwrite=True)
    assert read_json(tmp_path / "cat.json")["plan"] == {"coverage": 0.8}


def test_what_another_has_finished_meanwhile_is_not_overwritten(tmp_path):
    first, same, other = (Catalogue(tmp_path / "cat.parquet", {"coverage": c}) for c in (0.9, 0.9, 0.8))
    for catalogue in (first, same, other):
        catalogue.check_name(overwrite=False)  # then each loads torch
    write(first)
    with same.writing(False) as about:
        assert about["catalogued"] == 2
    with (
        pytest.raises(Galaxy10Error, match=r"exists already \(different: coverage\)") as refused,
        other.writing(False),
    ):
        pass
    assert not isinstance(refused.value, IncompleteCatalogue)
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix != ".lock") == ["cat.json", "cat.parquet"]


def test_files_beside_an_output_are_not_taken_from_another(tmp_path):
    write(Catalogue(tmp_path / "cat.parquet", {}), FAILURE)
    for overwrite in (False, True):
        with pytest.raises(Galaxy10Error, match=r"cat\.json belongs to .*cat\.parquet.*such as .*cat_csv\.csv"):
            Catalogue(tmp_path / "cat.csv", {}).check_name(overwrite)
    with pytest.raises(Galaxy10Error, match=r"cat\.failed\.csv belongs to .*cat\.parquet.*cat_h5\.h5"):
        pack(tmp_path, tmp_path / "cat.h5")
    write(Catalogue(tmp_path / "cat.parquet", {}), FAILURE, overwrite=True)
    (tmp_path / "cat.parquet").unlink()
    write(Catalogue(tmp_path / "cat.csv", {}))  # the files' owner is gone
    # What was packed, and its list of failures.
    (tmp_path / "mine.h5").touch()
    (tmp_path / "mine.failed.csv").write_text("path,row,reason\n")
    with pytest.raises(Galaxy10Error, match=r"mine\.failed\.csv belongs to .*mine\.h5"):
        Catalogue(tmp_path / "mine.csv", {}).check_name(False)
    (tmp_path / "mine.failed.csv").unlink()
    write(Catalogue(tmp_path / "mine.csv", {}), FAILURE)
    Catalogue(tmp_path / "mine.csv", {}).check_name(True)
    # Somebody's own JSON file, and a catalogue that is just being made.
    (tmp_path / "own.json").write_text("[1, 2]")
    with pytest.raises(Galaxy10Error, match="belongs to no catalogue"):
        Catalogue(tmp_path / "own.csv", {}).check_name(True)
    (tmp_path / "both.parquet.parts").mkdir()
    with pytest.raises(Galaxy10Error, match=r"both\.parquet\.parts belongs to"):
        Catalogue(tmp_path / "both.fits", {}).check_name(True)


@pytest.mark.parametrize("name", ["cat.parquet", "c[1].parquet"])
def test_merge_finds_its_own_shards_and_no_others(name, tmp_path):
    for output, number in ((tmp_path / name, 2), (tmp_path / name.replace(".", ".v2."), 3)):
        for index in range(number):
            shard = shard_path(output, index, number)
            pq.write_table(lines(index + 1), tmp_path / "part")
            join_parts(shard, {"shard": [index, number]}, [tmp_path / "part"], [], {})
    assert merge_shards(tmp_path / name, overwrite=False)["catalogued"] == 3
    assert merge_shards(tmp_path / name, overwrite=False)["output"] == name


def test_whole_numbers_with_gaps_keep_their_digits_in_fits(tmp_path):
    low, high = np.iinfo(np.int64).min, np.iinfo(np.uint64).max
    table = pa.table(
        {
            "objid": [1237648720693755918, None],
            "small": pa.array([None, 200], pa.uint8()),
            "signed": pa.array([-1, 3], pa.int8()),
            "lowest": pa.array([low, None], pa.int64()),
            "highest": pa.array([None, high], pa.uint64()),
            "none": pa.array([None, None], pa.int32()),
            "flag": [True, None],
        }
    )
    pq.write_table(table, tmp_path / "part")
    assert write_tables(tmp_path / "cat.fits", ".fits", [tmp_path / "part"]) == 2
    read = Table.read(tmp_path / "cat.fits")
    assert read["objid"].tolist() == [1237648720693755918, None]
    assert read["small"].tolist() == [None, 200]
    assert read["signed"].tolist() == [-1, 3]
    assert read["lowest"][0] == str(low)
    assert read["highest"][1] == str(high)
    assert read["none"].tolist() == [None, None]
    assert read["flag"][0] == 1


def test_names_that_fits_cannot_hold_are_refused_before_any_prediction(tmp_path, monkeypatch):
    for name in ("größe", "two\nlines", "x" * 69):
        with pytest.raises(Galaxy10Error, match=r"FITS cannot hold the column.*\.parquet"):
            check_columns(".fits", ["path", name])
        check_columns(".csv", [name])
    with pytest.raises(Galaxy10Error, match=r"1,000 columns"):
        check_columns(".fits", [f"c{i}" for i in range(1000)])
    monkeypatch.setattr("galaxy10.catalogue.predict.check_runs", lambda runs, options: None)
    (tmp_path / "list.csv").write_text("path,größe\na.png,1\n")
    with pytest.raises(Galaxy10Error, match="größe"):
        predict([tmp_path], [str(tmp_path / "list.csv")], tmp_path / "cat.fits", PredictOptions(shard="0/2"))
