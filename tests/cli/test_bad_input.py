"""Whatever is wrong with a command or a file is said in one line, and nothing is left (docs/bad_input.md: how fast)."""

import os
import shutil

import pytest

from tests.cli.bad_input import CONFIGURATION, RESUME, TABLE
from tests.conftest import QUIET, ROOT, ended
from tests.galaxies import write_galaxies


@pytest.fixture(scope="module")
def trained(tmp_path_factory, warm):
    """A folder with g.h5 and `r`, a run trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    write_galaxies(folder / "g.h5")
    process = warm.start([str(ROOT / "train.py"), *RESUME[1:]], folder, {**os.environ, **QUIET})
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return folder


def everything_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        # A lock that is removed is no lock; a whole store is what the right command will want.
        if path.suffix != ".lock" and not any(part.endswith(".store") for part in path.parts)
    }


@pytest.mark.parametrize("what", TABLE)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing_behind(what, request, start, tmp_path):
    bad = TABLE[what]
    if bad.with_run:
        shutil.copytree(request.getfixturevalue("trained"), tmp_path, dirs_exist_ok=True)
    else:
        write_galaxies(tmp_path / "g.h5")
    bad.prepare(tmp_path)
    before = everything_in(tmp_path)
    program = [ROOT / "train.py"] if bad.words[0] == "train.py" else ["-m", "galaxy10"]
    fresh = what in CONFIGURATION
    done = ended(start(*program, *bad.words[1:], cwd=tmp_path, fresh=fresh, CUDA_VISIBLE_DEVICES=""), 60)
    assert done.code == 2, done.err
    assert bad.message in done.message
    assert done.message.startswith("error: ")
    assert done.out == ""
    assert everything_in(tmp_path) == before
