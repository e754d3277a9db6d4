"""Whatever is wrong with a command or a file is said in one line, and nothing is left (docs/bad_input.md: how fast)."""

import os
import shutil

import pytest

from tests.cli.bad_input import RESUME, TABLE
from tests.conftest import QUIET, ROOT, ended, once_a_session
from tests.galaxies import write_galaxies


@pytest.fixture(scope="module")
def with_run(warm):
    """A folder with g.h5 and `r`, a run trained on it."""
    with once_a_session("bad_input") as folder:
        if not (folder / "r").exists():
            write_galaxies(folder / "g.h5")
            done = ended(warm.start([str(ROOT / "train.py"), *RESUME[1:]], folder, {**os.environ, **QUIET}))
            assert done.code == 0, done.err
    return folder


@pytest.fixture
def prepared(request, tmp_path):
    """A function that makes the folder of one wrong command."""

    def prepare(bad):
        if bad.with_run:
            shutil.copytree(request.getfixturevalue("with_run"), tmp_path, dirs_exist_ok=True)
        else:
            write_galaxies(tmp_path / "g.h5")
        bad.prepare(tmp_path)
        return everything_in(tmp_path)

    return prepare


def everything_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        # A lock that is removed is no lock; a whole store is what the right command will want.
        if path.suffix != ".lock" and not any(part.endswith(".store") for part in path.parts)
    }


@pytest.mark.parametrize("what", TABLE)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing_behind(what, prepared, here, tmp_path):
    bad = TABLE[what]
    before = prepared(bad)
    assert_refused(bad, here(*bad.words, CUDA_VISIBLE_DEVICES=""))
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("what", ["a key misspelt", "a damaged chunk", "a run with a hostile checkpoint"])
def test_a_process_of_its_own_refuses_in_the_same_way(what, prepared, start, tmp_path):
    bad = TABLE[what]
    before = prepared(bad)
    program = [ROOT / "train.py"] if bad.words[0] == "train.py" else ["-m", "galaxy10"]
    fresh = what == "a key misspelt"  # which imports no torch
    done = ended(start(*program, *bad.words[1:], cwd=tmp_path, fresh=fresh, CUDA_VISIBLE_DEVICES=""))
    assert_refused(bad, done)
    assert everything_in(tmp_path) == before


def assert_refused(bad, done):
    assert done.code == 2, done.err
    assert bad.message in done.message
    assert done.message.startswith("error: ")
    assert done.out == ""
