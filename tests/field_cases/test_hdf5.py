"""HDF5 files that cannot be read"""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import h5py
import numpy as np
import pytest

from galaxy10.data.hdf5 import open_source
from galaxy10.data.inputs import find_inputs
from galaxy10.data.store import open_store
from galaxy10.errors import Galaxy10Error
from galaxy10.models.factory import load_checkpoint
from galaxy10.models.weight_files import read_weights
from galaxy10.runs.files import RunFiles
from tests.galaxies import write_galaxies


def refusal(path: Path) -> str:
    """Return what training, evaluation and prediction say about a file: all the same."""
    messages = set()
    for read in (open_source, lambda path: find_inputs([str(path)])):
        with pytest.raises(Galaxy10Error) as refused:
            read(path)
        messages.add(str(refused.value))
    (message,) = messages
    assert "download" not in message
    return message


def linked(path: Path, images: object) -> Path:
    """Write a file with labels, and `images` as given."""
    with h5py.File(path, "w") as file:
        file["ans"] = np.arange(8) % 2
        file["images"] = images
    return path


def test_open_for_writing_elsewhere(tmp_path, says):
    """the file is open for writing in a notebook"""
    path = write_galaxies(tmp_path / "g.h5")
    program = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as notebook:
        notebook.stdout.readline()
        message = refusal(path)
        notebook.stdin.close()
    says(message)
    assert (
        message == f"{path} is open for writing in another program, such as a notebook; close it there (file.close())"
    )
    assert open_source(path).num_images == 36


def test_a_writer_that_was_killed(tmp_path, says):
    """a program was killed while it wrote the file"""
    path = tmp_path / "g.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["images"] = np.zeros((2, 16, 16, 3), np.uint8)
        file.flush()
        half = path.read_bytes()
    path.write_bytes(half)
    message = refusal(path)
    says(message)
    assert message.endswith(
        f"was when that was killed; close it there, or if no program has it open, type h5clear -s {path}"
    )


@pytest.mark.parametrize("number", [37, 38, 95, 524])
def test_a_file_system_without_locks(tmp_path, says, number):
    """a file system without locks"""
    path, opened = write_galaxies(tmp_path / "g.h5"), h5py.File

    def without_locks(name, mode, locking=None):
        if locking is not False:
            raise OSError(f"Unable to open file (unable to lock file, errno = {number}, error message = 'No locks')")
        return opened(name, mode, locking=locking)

    with patch("h5py.File", without_locks):
        assert len(open_store(open_source(path), tmp_path)) == 36
        assert find_inputs([str(path)]).read(0).pixels.shape == (32, 32, 3)
    says("read without locks")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (13, "cannot be read by this user; change its permissions"),
        (116, "has been replaced on the file server (stale file handle); run the command again"),
        (5, "cannot be read, because the disk or the network fails (input/output error); try again, or from a copy"),
        (110, "cannot be read, because its file server does not answer (Connection timed out); try again later"),
        (24, "cannot be opened: too many files are open; raise the limit: ulimit -n 4096"),
    ],
    ids=["permissions", "stale handle", "input/output error", "timeout", "too many files"],
)
def test_what_the_system_says(tmp_path, says, number, reason):
    """the operating system does not let the file be read"""
    path = write_galaxies(tmp_path / "g.h5")

    def refuse(*_, **__):
        raise OSError(number, f"Unable to open file (errno = {number}, error message = '{os.strerror(number)}')")

    with patch("h5py.File", refuse):
        message = refusal(path)
    says(message)
    assert message == f"{path} {reason}"
    (tmp_path / "best.ckpt").touch()
    with patch("torch.load", refuse), pytest.raises(Galaxy10Error) as refused:
        load_checkpoint(tmp_path / "best.ckpt")
    assert str(refused.value).endswith(reason)
    with patch("torch.load", refuse), pytest.raises(Galaxy10Error) as refused:
        read_weights(tmp_path / "best.ckpt")
    assert str(refused.value).endswith(reason)
    with patch("pathlib.Path.read_text", refuse), pytest.raises(Galaxy10Error) as refused:
        RunFiles(tmp_path).read_config()
    assert str(refused.value).endswith(reason)


def test_a_missing_compression(tmp_path, says):
    """compressed with bitshuffle, and hdf5plugin is not installed"""
    path = tmp_path / "g.h5"
    space = h5py.h5s.create_simple((8, 16, 16, 3))
    pipeline = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    pipeline.set_chunk((8, 16, 16, 3))
    pipeline.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0, 0))
    with h5py.File(path, "w") as file:
        images = h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8, space, pipeline)
        images.write_direct_chunk((0, 0, 0, 0), bytes(300))
        file["ans"] = np.arange(8) % 2
    with (
        patch("galaxy10.data.hdf5_file.import_module", side_effect=ImportError),
        patch("h5py.h5z.filter_avail", lambda _: False),
    ):
        message = refusal(path)
    says(message)
    assert message == (
        f"{path}: `images` is compressed with bitshuffle (HDF5 filter 32008), which is not installed; type pip install "
        "hdf5plugin"
    )


def test_links(tmp_path, says):
    """`images` is a link to another file, which is missing, or to a name that it does not have"""
    path = linked(tmp_path / "g.h5", h5py.ExternalLink("pixels/other.h5", "/pictures"))
    message = refusal(path)
    says(message)
    assert message == f"{path}: `images` is a link to pixels/other.h5, which does not exist; put that file beside g.h5"
    (tmp_path / "pixels").mkdir()
    with h5py.File(tmp_path / "pixels/other.h5", "w") as other:
        other["photos"] = np.arange(8 * 768, dtype=np.uint8).reshape(8, 16, 16, 3)
    assert "is a link to /pictures in" in refusal(path)
    assert refusal(path).endswith("which has only photos")
    assert "a link to /nowhere, which is not in the file" in refusal(
        linked(tmp_path / "s.h5", h5py.SoftLink("/nowhere"))
    )
    good = linked(tmp_path / "good.h5", h5py.ExternalLink("pixels/other.h5", "/photos"))
    assert len(open_store(open_source(good), tmp_path)) == 8
    with h5py.File(good, "a") as file:
        file["ra"] = h5py.SoftLink("/nowhere")
    with pytest.raises(Galaxy10Error, match="`ra` is a link to /nowhere"):
        open_source(good)
    assert "ra" not in find_inputs([str(good)]).columns.column_names  # a column; said, and left out


def test_a_virtual_dataset_without_its_source(tmp_path, says):
    """`images` is a virtual data set, and one of its two files is gone: half of the images would be zeros"""
    layout = h5py.VirtualLayout((8, 16, 16, 3), np.uint8)
    for part in range(2):
        with h5py.File(tmp_path / f"part{part}.h5", "w") as file:
            file["images"] = np.random.default_rng(part).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
            layout[4 * part : 4 * part + 4] = h5py.VirtualSource(f"part{part}.h5", "images", (4, 16, 16, 3))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
        file["ans"] = np.arange(8) % 2
    store = open_store(open_source(tmp_path / "v.h5"), tmp_path)
    assert not store.table["blank"].any()
    with h5py.File(tmp_path / "part0.h5", "a") as file:
        file["images"][0] = 7
    again = open_store(open_source(tmp_path / "v.h5"), tmp_path)  # v.h5 itself has not changed
    assert (again.images[0] == 7).all()
    assert np.array_equal(again.images[1:], store.images[1:])
    (tmp_path / "part1.h5").rename(tmp_path / "elsewhere.h5")
    message = refusal(tmp_path / "v.h5")
    says(message)
    assert message.endswith(
        "`images` are in 2 files, of which 1 is missing (the first: part1.h5); put it into the folder of v.h5"
    )
    with h5py.File(tmp_path / "part1.h5", "w") as file:
        file["pictures"] = 1
    assert "(the first: images in part1.h5)" in refusal(tmp_path / "v.h5")


def test_pixels_in_a_raw_file_that_is_gone(tmp_path, says, monkeypatch):
    """the pixels are in a raw file beside the HDF5 file, which is missing"""
    monkeypatch.chdir(tmp_path)
    with h5py.File("g.h5", "w") as file:
        file["ans"] = np.arange(8) % 2
        file.create_dataset("images", (8, 16, 16, 3), np.uint8, external=[("pixels.raw", 0, 8 * 768)])
    message = refusal(Path("g.h5"))
    says(message)
    assert "(the first: pixels.raw)" in message
