"""Images of all kinds go in, a catalogue comes out: complete, honest, and the same however often it was interrupted."""

import json
import signal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from PIL import Image

from tests.conftest import ended
from tests.galaxies import BAD, galaxy, write_folder


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "images", 20)


def test_every_good_image_is_catalogued_and_every_bad_one_is_listed_with_its_reason(
    run, folder, galaxy10, here, tmp_path
):
    done = galaxy10("predict", run, folder, "-o", "out/cat.parquet")
    assert done.code == 3, done.err
    assert done.out.strip().splitlines()[-1] == "out/cat.parquet"
    assert "images/s" in done.err
    table = pd.read_parquet(tmp_path / "out/cat.parquet")
    names = [path.rpartition("/")[2] for path in table["path"]]
    assert names == sorted(p.name for p in folder.iterdir() if p.name not in {*BAD, "notes.txt"})
    failed = pd.read_csv(tmp_path / "out/cat.failed.csv").set_index("path")["reason"]
    failed.index = [path.rpartition("/")[2] for path in failed.index]
    assert set(failed.index) == BAD
    reasons = {
        "bad_empty.jpg": "empty file",
        "bad_text.jpg": "not an image",
        "bad_truncated.jpg": "truncated",
        "bad_tiny.png": "1×1 px",
        "bad_link.jpg": "dangling link",
    }
    for name, reason in reasons.items():
        assert reason in failed[name]
    probabilities = table[["p_spiral", "p_in_between", "p_edge_on"]].to_numpy()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    classes = np.array(["Spiral", "In-between", "Edge-on"])
    assert (probabilities.argmax(axis=1) == table["predicted"]).all()
    assert (classes[table["predicted"]] == table["predicted_name"]).all()
    calibration = json.loads((run / "calibration.json").read_text())["modes"]["views=2"]
    scores = np.sort(np.concatenate(calibration["conformal_scores"]))
    threshold = scores[int(np.ceil(13 * 0.9)) - 1]  # of twelve validation galaxies
    sets = [set(found) for found in table["prediction_set"]]
    held = [(1 - p.astype(float) <= threshold + 1e-6) | (p == p.max()) for p in probabilities]
    assert sets == [set(classes[inside]) for inside in held]
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(axis=1)
    assert np.allclose(table["entropy"], entropy, atol=1e-5)
    assert table["mutual_information"].isna().all()  # one network, looked at once: nothing to disagree
    assert (table["ood_score"] >= 0).all()
    assert table["ood_percentile"].between(0, 100).all()
    filled = dict(zip(names, table["filled"], strict=True))
    assert filled.pop("good_one_band.fits") == pytest.approx(50 / 2000)
    assert set(filled.values()) == {0}
    assert not list((tmp_path / "out").glob("*.parts"))
    again = here("galaxy10", "predict", run, folder, "-o", "out/cat.parquet")
    assert (again.code, again.out, again.err) == (3, done.out, "")  # done already: said again, not made again


def test_a_catalogue_of_the_runs_own_file_has_the_runs_own_numbers(run, galaxy10, tmp_path):
    done = galaxy10("predict", run, run.parent / "g.h5", "-o", "cat.csv", "--no-temperature")
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "cat.csv").set_index("row")
    assert {"ra", "dec", "ans"} < set(table.columns)
    test = pd.read_parquet(run / "predictions/test.parquet").set_index("row")
    columns = [c for c in test if c.startswith("p_")]
    assert np.allclose(table.loc[test.index, columns], test[columns], atol=1e-5)
    assert (table.loc[test.index, "ans"] == test["label"]).all()


@pytest.mark.long
@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(run, start, galaxy10, here, tmp_path):
    write_folder(tmp_path / "images", 100)
    words = ("predict", run, "images", "--batch-size", "4", "--mc-dropout", "2", "--no-temperature", "-o")
    whole = galaxy10(*words, "whole.parquet")
    assert whole.code == 3, whole.err
    parts = tmp_path / "cat.parquet.parts"
    for number, moment in ((1, "before"), (1, "after"), (2, "after"), (2, "before"), (1, "after")):
        killed = ended(
            start(Path(__file__).with_name("killed.py"), number, moment, *words, "cat.parquet", cwd=tmp_path)
        )
        assert killed.code == -signal.SIGKILL, killed.err
    assert 0 < len(list(parts.glob("part-*.parquet"))) < 7
    other = here("galaxy10", *words, "cat.parquet", "--coverage", ".8")
    assert other.code == 2
    assert "different: coverage" in other.message
    done = galaxy10(*words, "cat.parquet")
    assert done.code == 3, done.err
    assert "resuming" in done.err
    for name in ("parquet", "failed.csv"):
        assert (tmp_path / f"cat.{name}").read_bytes() == (tmp_path / f"whole.{name}").read_bytes()
    assert not parts.exists()


@pytest.mark.long
@pytest.mark.slow
def test_the_other_engine_writes_the_same_catalogue_but_for_rounding(run, galaxy10, tmp_path):
    write_folder(tmp_path / "images", 20)
    words = ("predict", run, "images", "--batch-size", "8", "-o")
    assert galaxy10(*words, "torch.parquet").code == 3  # some images are damaged
    done = galaxy10(*words, "onnx.parquet", "--engine", "onnx")
    assert done.code == 3, done.err
    one, other = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("torch", "onnx"))
    pd.testing.assert_frame_equal(one, other, check_exact=False, atol=1e-4)
    assert json.loads((tmp_path / "onnx.json").read_text())["engine"] == "onnx"
    changed = galaxy10(*words, "onnx.parquet")
    assert changed.code == 2
    assert "engine" in changed.message

    for shard in ([], ["--shard", "0/2"], ["--shard", "1/2"]):
        assert galaxy10(*words, "int8.parquet", "--engine", "onnx-int8", *shard).code in (0, 3)
    agreement = json.loads((tmp_path / "int8.json").read_text())["int8_agreement"]
    assert 0.5 < agreement <= 1
    eight_bits = pd.read_parquet(tmp_path / "int8.parquet")
    columns = [name for name in one.columns if name.startswith("p_")]
    difference = np.abs(eight_bits[columns].to_numpy() - one[columns].to_numpy())
    assert 1e-5 < difference.max() < 0.2  # less exact, and not something else
    shards = [pd.read_parquet(tmp_path / f"int8.{i}-of-2.parquet") for i in (0, 1)]
    pd.testing.assert_frame_equal(pd.concat(shards, ignore_index=True), eight_bits)


@pytest.mark.long
@pytest.mark.slow
def test_shards_joined_are_the_whole(run, folder, galaxy10, here, tmp_path):
    words = ("predict", run, folder, "--batch-size", "4", "--mc-dropout", "3", "--no-temperature", "-o")
    assert galaxy10(*words, "whole.fits").code == 3
    for i in (0, 2):
        assert galaxy10(*words, "cat.fits", "--shard", f"{i}/3").code in (0, 3)
    early = here("galaxy10", "merge", "cat.fits")
    assert early.code == 2
    assert "shards 1 of 3" in early.message
    assert galaxy10(*words, "cat.fits", "--shard", "1/3").code in (0, 3)
    assert (tmp_path / "cat.1-of-3.parquet").exists()
    merged = here("galaxy10", "merge", "cat.fits")
    assert (merged.code, merged.out.strip()) == (3, "cat.fits"), merged.err
    for name in ("fits", "failed.csv"):
        assert (tmp_path / f"cat.{name}").read_bytes() == (tmp_path / f"whole.{name}").read_bytes()
    table = Table.read(tmp_path / "cat.fits")
    assert len(table) == 24
    assert (table["mutual_information"] >= 0).all()
    assert (table["mutual_information"] > 0).any()
    assert here("galaxy10", *words, "cat.fits", "--shard", "3/3").code == 2


def test_a_tables_columns_come_along_and_its_paths_count_from_its_folder(run, galaxy10, here, tmp_path):
    (tmp_path / "survey").mkdir()
    for seed in range(3):
        Image.fromarray(galaxy(seed)).save(tmp_path / "survey" / f"{seed}.png")
    table = pd.DataFrame({"file_loc": ["2.png", "0.png", "", "9.png"], "objid": [7, 8, 9, 10], "row": list("abcd")})
    table.to_csv(tmp_path / "survey/list.csv", index=False)
    wrong = here("galaxy10", "predict", run, "survey/list.csv", "-o", "cat.parquet")
    assert wrong.code == 2
    assert "no column path" in wrong.message
    assert "file_loc, objid, row" in wrong.message
    words = ("--path-column", "file_loc", "--no-temperature")
    done = galaxy10("predict", run, "survey/list.csv", "survey/1.png", "-o", "cat.parquet", *words)
    assert done.code == 3, done.err
    found = pd.read_parquet(tmp_path / "cat.parquet")
    assert found["path"].tolist() == ["2.png", "0.png", "survey/1.png"]
    assert found["row"].tolist() == [0, 1, 0]
    assert found["objid"].tolist()[:2] == [7, 8]
    assert found["input_row"].tolist()[:2] == ["a", "b"]
    assert np.isnan(found["objid"][2])
    failed = pd.read_csv(tmp_path / "cat.failed.csv")
    assert failed["row"].tolist() == [2, 3]
    assert failed["reason"].tolist() == ["the table has no path in this line", "no such file"]


@pytest.mark.long
def test_hdf5_files_without_labels_are_read_whole_chunks_at_a_time(run, galaxy10, tmp_path):
    images = np.stack([galaxy(seed) for seed in range(50)])
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(40, 16, 16, 1), compression="gzip")
        file["objid"] = np.arange(50) + 1000
    for seed in range(50):
        Image.fromarray(galaxy(seed)).save(tmp_path / f"{seed:02d}.png")
    assert galaxy10("predict", run, "new.h5", "-o", "file.parquet", "--batch-size", "16").code == 0
    assert galaxy10("predict", run, "??.png", "-o", "files.parquet", "--batch-size", "16").code == 0
    file, files = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("file", "files"))
    assert file["objid"].tolist() == list(range(1000, 1050))
    columns = ["predicted", "predicted_name", "p_spiral", "entropy", "prediction_set", "ood_score"]
    pd.testing.assert_frame_equal(file[columns], files[columns])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "images", "-o", "cat.txt"], ".parquet, .csv, .fits"),
        (["RUN", "-o", "cat.csv"], "no input follows the run"),
        (["images", "-o", "cat.csv"], "is no run directory"),
        (["RUN", "nowhere", "-o", "cat.csv"], "nowhere does not exist"),
        (["RUN", "empty", "-o", "cat.csv"], "no image in empty"),
        (["RUN", "images", "-o", "cat.csv", "--coverage", "90"], "share from 0 to 1"),
        (["RUN", "images", "-o", "cat.csv", "--stretch", "legcy"], "did you mean legacy"),
        (["RUN", "images", "-o", "cat.csv", "--shard", "4/4"], "i from 0 to n − 1"),
        (["RUN", "images", "-o", "cat.csv", "--mc-dropout", "1"], "at least 2"),
        (["RUN", "images", "-o", "cat.csv", "--mc-dropout", "5"], "calibrate RUN --tta-views 2 --mc-dropout 5"),
        (["RUN", "images", "-o", "cat.csv", "--engine", "onx"], "did you mean onnx"),
        (["RUN", "images", "-o", "cat.csv", "--engine", "onnx", "--device", "cuda"], "leave out --device cuda"),
        (["RUN", "images", "-o", "cat.csv", "--engine", "onnx", "--mc-dropout", "5"], "leave out --mc-dropout"),
        (["RUN", "images", "-o", "old.csv"], "old.csv exists already"),
        (["RUN", "images", "-o", "new.csv", "--engine", "onnx-int9"], "did you mean onnx-int8"),
        (["RUN", "images", "-o", "new.csv", "--batch-size", "many"], "--batch-size many is not allowed; give a number"),
        (
            ["RUN", "images", "-o", "new.csv", "--batch-size", "auto", "--shard", "0/2"],
            "give a number, such as the one",
        ),
    ],
)
def test_what_cannot_work_is_said_in_one_line(run, words, said, here, tmp_path):
    (tmp_path / "RUN").symlink_to(run)
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "old.csv").write_text("mine")
    Image.fromarray(galaxy()).save(tmp_path / "images/g.png")
    done = here("galaxy10", "predict", *words)
    assert done.code == 2, done.err
    assert said in done.message
    assert (tmp_path / "old.csv").read_text() == "mine"
