"""A reader of one's own: what it returns is written once, and then goes on as any other file."""

import functools
import logging
import os

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galaxy10.data import GalaxyData, read_folders
from galaxy10.data.hdf5 import open_source
from galaxy10.data.source import check_source
from galaxy10.errors import Galaxy10Error
from tests.conftest import ROOT
from tests.outside.conftest import HERE

READ = {"_target_": "outsider.data.read"}


@pytest.fixture
def table(tmp_path):
    """A table of 60 galaxies of three classes, seen in 20 nights."""
    kinds = np.array(["edge-on", "spiral", "elliptical"])[np.arange(60) % 3]
    places = {"ra": np.linspace(10, 200, 60), "dec": np.linspace(-5, 30, 60)}
    nights = [f"night {number % 20}" for number in range(60)]
    frame = pd.DataFrame({"seed": range(60), "kind": kinds, **places, "night": nights})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def set_up(path, reader=None, **settings):
    data = GalaxyData("hdf5", path=path, reader=reader, **settings)
    data.prepare_data()
    data.setup()
    return data


def test_images_labels_names_and_groups_arrive(table):
    from outsider.data import NAMES, draw

    data = set_up(table, READ)
    assert data.class_names == tuple(NAMES)
    assert np.array_equal(data.store.images[7], draw(1, np.random.default_rng(7)))
    assert data.store.table["label"].tolist() == [0, 1, 2] * 20
    assert data.store.table["ra"].tolist() == pd.read_csv(table)["ra"].tolist()
    subset = data.split.table["subset"].to_numpy()
    assert all(len({*subset[night::20]}) == 1 for night in range(20))
    assert {"train", "val", "test"} == {*subset}
    assert data.source.path.parent == table.parent
    assert set_up(table, READ, store_dir=table.parent / "fast").source.path.parent == table.parent / "fast"


def test_it_is_read_once_and_again_when_something_has_changed(table, monkeypatch):
    first = set_up(table, READ)
    written = first.source.path.stat().st_mtime_ns
    monkeypatch.setattr("galaxy10.data.readers.Reader.read", None)
    again = set_up(table, READ)
    assert again.source.path.stat().st_mtime_ns == written
    monkeypatch.undo()
    monkeypatch.syspath_prepend(HERE)
    brighter = set_up(table, {**READ, "brighter": 100})  # another argument: another file
    assert brighter.source.path != first.source.path
    assert brighter.store.images.min() >= 100
    pd.read_csv(table).head(45).to_csv(table, index=False)  # another input: the same file anew
    changed = set_up(table, READ)
    assert changed.source.path == first.source.path
    assert len(changed.store) == 45


def test_a_changed_reader_reads_again(table, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = (HERE / "outsider/data.py").read_text()
    (tmp_path / "edited.py").write_text(code)
    before = set_up(table, {"_target_": "edited.read"})
    assert check_source(before.settings) is not None
    (tmp_path / "edited.py").write_text(code.replace("rng.integers(0, 60", "rng.integers(0, 61"))
    assert check_source(before.settings) is None  # still to be read
    (tmp_path / "edited.py").write_text(code + "\nNOTHING = 1\n")
    again = set_up(table, {"_target_": "edited.read"})
    assert again.store.path == before.store.path  # the same images: the same store
    assert check_source(before.settings) is not None


def test_functions_partials_and_arrays_will_do(table, tmp_path):
    from outsider.data import draw, read, read_array

    assert set_up(table, functools.partial(read, brighter=9)).store.images.min() >= 9
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 2
    images = np.stack([draw(label, rng) for label in labels])
    np.savez(tmp_path / "a.npz", images=images, kinds=np.array(["spiral", "bar"])[labels])
    data = set_up(tmp_path / "a.npz", read_array)
    assert data.class_names == ("bar", "spiral")
    assert np.array_equal(data.store.images, images)
    assert data.store.table["label"].tolist() == (1 - labels).tolist()


def test_what_cannot_be_read_is_left_out_and_listed(table, caplog, monkeypatch):
    from outsider.data import read

    caplog.set_level("INFO", logger="galaxy10")
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)

    def careful(path):
        images, labels, names, columns = read(path)
        broken = {5: None, 7: OSError("no such plate")}
        images = (broken.get(number, image) for number, image in enumerate(images))
        return images, labels, names, {**columns, "path": [f"{number}.fits" for number in range(60)]}

    data = set_up(table, careful)
    assert len(data.store) == 58
    assert data.store.table["label"].tolist()[4:7] == [1, 0, 2]
    failed = pd.read_csv(data.source.path.with_suffix(".failed.csv"))
    assert failed.to_numpy().tolist() == [["5.fits", 5, "not readable"], ["7.fits", 7, "no such plate"]]
    assert "note: 2 images could not be read and are left out" in caplog.text


GOOD = (np.zeros((4, 16, 16, 3), np.uint8), [0, 1, 0, 1], ["a", "b"])
NONSENSE = {
    "not a tuple": (np.zeros(3), r"returns ndarray; expected \(images, labels, class names\[, table\]\)"),
    "two values": (GOOD[:2], r"returns 2 values; expected"),
    "grey": ((np.zeros((4, 16, 16), np.uint8), *GOOD[1:]), r"images of shape \(4, 16, 16\); expected \(N, H, W, 3\)"),
    "floats": ((np.zeros((4, 16, 16, 3)), *GOOD[1:]), r"image 0 is float64; expected \(H, W, 3\) uint8"),
    "floats one by one": ((iter(np.zeros((4, 16, 16, 3))), *GOOD[1:]), r"image 0 is float64"),
    "no images": (("x.h5", *GOOD[1:]), r"images of type str"),
    "labels too few": ((GOOD[0], [0, 1], GOOD[2]), r"returns 4 images and 2 labels"),
    "images too few": ((iter(GOOD[0][:3]), *GOOD[1:]), r"returns 3 images and 4 labels"),
    "images too many": ((iter(GOOD[0]), [0, 1, 0], GOOD[2]), r"returns more than 3 images and 3 labels"),
    "no rows": ((GOOD[0][:0], [], GOOD[2]), r"returns no labels"),
    "votes for others": ((GOOD[0], np.eye(4), GOOD[2]), r"votes for 4 classes, but 2 class names \(a, b\)"),
    "a cube": ((GOOD[0], np.ones((4, 2, 2)), GOOD[2]), r"labels of shape \(4, 2, 2\); expected \(N,\)"),
    "ragged labels": ((GOOD[0], [[0], [0, 1]], GOOD[2]), r"returns labels that are no array"),
    "float labels": ((GOOD[0], [0.0, 1.0, 0.0, 1.0], GOOD[2]), r"labels of type float64"),
    "a negative label": ((GOOD[0], [0, 1, 0, -1], GOOD[2]), r"image 3 has label -1"),
    "a label too high": ((GOOD[0], [0, 1, 0, 2], GOOD[2]), r"label 2, but only 2 class names \(a, b\)"),
    "an unknown name": ((GOOD[0], ["a", "b", "a", "c"], GOOD[2]), r"the label 'c', which is not among its class names"),
    "one name for two": ((*GOOD[:2], ["a", "a"]), r"a class name twice \(a, a\)"),
    "names that are none": ((*GOOD[:2], "ab"), r"class names 'ab'; expected a list"),
    "one class": ((GOOD[0], [0, 0, 0, 0], GOOD[2]), r"of 4 images 4 can be used, of 1 class"),
    "sizes differ": (([GOOD[0][0], np.zeros((16, 20, 3), np.uint8)], [0, 1], None), r"image 1 is 16×20 px.*16×16"),
    "tiny": ((np.zeros((4, 4, 4, 3), np.uint8), *GOOD[1:]), r"image 0 is 4×4 px; at least 8"),
    "a short table": ((*GOOD, {"ra": [1.0]}), r"a table of 1 lines and 4 labels"),
    "a torn table": ((*GOOD, {"ra": [1.0], "dec": [1.0, 2.0]}), r"columns do not fit together"),
    "no table": ((*GOOD, [1, 2, 3, 4]), r"a table of type list"),
    "places as words": (
        (*GOOD, {"ra": ["1h"] * 4}),
        r"none of the 4 values of ra .* can be read as degrees or sexagesimal",
    ),
    "our own column": ((*GOOD, {"ans": [1] * 4}), r"a column ans, a name that the file uses"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_in_one_line_that_names_the_reader(case, tmp_path):
    returned, said = NONSENSE[case]

    def nonsense(path):
        return returned

    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(Galaxy10Error, match=said) as refused:
        set_up(tmp_path / "x.bin", nonsense)
    assert "test_readers" in str(refused.value)
    assert "nonsense" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("*.h5*"))
    assert not list(tmp_path.glob(".*.part"))


def test_a_reader_that_fails_is_named_with_its_line(table):
    def fails(path):
        return {}["colour"]

    def fails_later(path):
        def images():
            yield np.zeros((16, 16, 3), np.uint8)
            (path / "none").stat()

        return images(), [0, 1], None

    with pytest.raises(
        Galaxy10Error, match=r"fails on .*mine\.csv: KeyError: 'colour' \(.*test_readers\.py, line \d+\)"
    ):
        set_up(table, fails)
    with pytest.raises(Galaxy10Error, match=r"fails_later fails on .*: NotADirectoryError.*test_readers\.py, line"):
        set_up(table, fails_later)


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ({"_target_": "outsider.data.raed"}, r"data\.reader\._target_=outsider\.data\.raed"),
        ({"_target_": "nowhere.read"}, r"no module nowhere; .*PYTHONPATH.*pip install -e"),
        ({"brighter": 3}, r"names no function; add \+\+data\.reader\._target_=mypkg\.read"),
        ({**READ, "brightr": 3}, r"outsider\.data\.read takes no brightr: did you mean brighter\?"),
    ],
)
def test_a_reader_that_cannot_be_called_is_refused_before_anything_is_read(reader, said, table):
    with pytest.raises(Galaxy10Error, match=said):
        check_source(GalaxyData("hdf5", path=table, reader=reader).settings)
    with pytest.raises(Galaxy10Error, match=r"data\.path=none\.csv does not exist"):
        check_source(GalaxyData("hdf5", path="none.csv", reader=READ).settings)


def test_a_folder_per_class_is_read_as_it_is(tmp_path):
    from outsider.data import draw

    rng = np.random.default_rng(0)
    for label, name in enumerate(("spiral", "bar", "ring")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(draw(label, rng)).save(tmp_path / "mine" / name / f"{number}.png")
    data = set_up(tmp_path / "mine")
    assert data.class_names == ("bar", "ring", "spiral")
    assert len(data.store) == 18
    assert (data.source.height, data.source.width) == (32, 32)
    with h5py.File(data.source.path) as file:
        assert file["path"].asstr()[0] == str(tmp_path / "mine/bar/0.png")
    small = set_up(tmp_path / "mine", functools.partial(read_folders, size=16))
    assert (small.source.height, small.source.path) != (32, data.source.path)
    os.remove(tmp_path / "mine/bar/5.png")
    assert len(set_up(tmp_path / "mine").store) == 17
    (tmp_path / "mine/ring/0.png").write_bytes(b"no image")
    assert len(set_up(tmp_path / "mine").store) == 16
    listed = pd.DataFrame({"path": sorted(map(str, (tmp_path / "mine").glob("*/*.png")))})
    listed["label"] = [path.split("/")[-2] for path in listed["path"]]
    listed.to_csv(tmp_path / "list.csv", index=False)
    assert set_up(tmp_path / "list.csv").store.content == set_up(tmp_path / "mine").store.content
    inside = GalaxyData(path=tmp_path / "mine", store_dir=tmp_path / "mine" / "stores")
    with pytest.raises(Galaxy10Error, match=r"would be converted into that folder .*set data\.store_dir to another"):
        inside.prepare_data()
    (tmp_path / "mine/ring/back").symlink_to(tmp_path / "mine")
    (tmp_path / "mine/ring/gone.png").symlink_to(tmp_path / "nowhere.png")
    assert len(set_up(tmp_path / "mine").store) == 16
    with pytest.raises(Galaxy10Error, match="has 0 folders with images in them; make one folder per class"):
        check_source(GalaxyData(path=tmp_path / "mine" / "bar").settings)


@pytest.mark.long
@pytest.mark.slow
def test_memory_is_that_of_a_few_images(tmp_path):
    import subprocess
    import sys

    (tmp_path / "huge.py").write_text(
        "import numpy as np\n"
        "def read(path):\n"
        "    images = (np.full((256, 256, 3), n % 251, np.uint8) for n in range(6000))\n"
        "    return images, [n % 3 for n in range(6000)], None\n"
    )
    program = (
        "from pathlib import Path; import sys; sys.path.insert(0, '.')\n"
        "from galaxy10.data.readers import Reader, convert\n"
        "path = convert(Reader.from_config({'_target_': 'huge.read'}), Path('huge.py'), Path('.'))\n"
        "print(path, next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    path, kib = done.stdout.split()
    assert open_source(tmp_path / path).num_images == 6000  # 1.1 GiB
    assert int(kib) < 500 * 2**10


@pytest.mark.long
@pytest.mark.slow
def test_the_command_trains_on_what_a_reader_reads(table, train):
    reader = (
        "data=hdf5",
        f"data.path={table}",
        "++data.reader._target_=outsider.data.read",
        "++data.reader.brighter=20",
    )
    small = ("model.image_size=32", "data.batch_size=8", "trainer.max_epochs=1", "logger=csv", "run.report=false")
    done = train(*reader, *small, "run.dir=r", PYTHONPATH=str(HERE))
    assert done.code == 0, done.err
    assert done.result["test/accuracy"] is not None
    mistyped = train(*reader[:2], "++data.reader._target_=outsider.data.raed", PYTHONPATH=str(HERE))
    assert mistyped.code == 2
    assert "data.reader._target_=outsider.data.raed" in mistyped.message
    assert not list(table.parent.glob("runs"))
