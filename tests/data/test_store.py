import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from galaxy10.data.hdf5 import open_source
from galaxy10.data.store import channel_statistics, file_identity, forget_pages, open_store, store_directory
from galaxy10.errors import Galaxy10Error
from tests.conftest import ROOT
from tests.galaxies import write_galaxies
from tests.waiting import PATIENCE_S, wait_for


@pytest.mark.parametrize("chunks", [None, (5, 8, 8, 1), (36, 4, 4, 3)])
def test_store_holds_the_file_whatever_its_chunks(tmp_path, chunks, monkeypatch):
    monkeypatch.setattr("galaxy10.data.store.SLAB_BYTES", 20_000)  # several slabs; the last layout is "tall"
    path = write_galaxies(tmp_path / "g.h5", chunks=chunks)
    store = open_store(open_source(path), tmp_path)
    with h5py.File(path) as file:
        assert np.array_equal(store.images, file["images"][:])
        assert np.array_equal(store.table["label"], file["ans"][:])
    assert not store.images.flags.writeable
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".h5", ".lock", ".store"]


def test_real_galaxies_survive_the_store(real_galaxies, tmp_path):
    store = open_store(open_source(real_galaxies), tmp_path)
    with h5py.File(real_galaxies) as file:
        assert np.array_equal(store.images, file["images"][:])


def test_a_second_opening_builds_nothing(galaxies, tmp_path, monkeypatch):
    first = open_store(open_source(galaxies), tmp_path)
    monkeypatch.setattr("galaxy10.data.store._build", None)
    assert open_store(open_source(galaxies), tmp_path).content == first.content


def test_a_changed_file_is_noticed_and_a_copied_one_is_the_same_data(galaxies, tmp_path):
    before = open_store(open_source(galaxies), tmp_path)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(galaxies.read_bytes())
    assert open_store(open_source(copy), tmp_path).content == before.content
    with h5py.File(galaxies, "r+") as file:
        file["images"][0, 0, 0, 0] += 1
    after = open_store(open_source(galaxies), tmp_path)
    assert after.path != before.path
    assert after.content != before.content


def test_statistics_and_blanks(tmp_path):
    path = write_galaxies(tmp_path / "g.h5")
    with h5py.File(path, "r+") as file:
        file["images"][4] = 32
        images = file["images"][:]
    store = open_store(open_source(path), tmp_path)
    assert np.flatnonzero(store.table["blank"]).tolist() == [4]
    mean, std = channel_statistics(store.table)
    assert np.allclose(mean, images.mean(axis=(0, 1, 2)) / 255, rtol=0, atol=1e-6)
    assert np.allclose(std, images.reshape(-1, 3).std(axis=0) / 255, rtol=0, atol=1e-6)


def test_identity_depends_on_content_and_time_and_on_nothing_else(galaxies, tmp_path):
    before, times = file_identity(galaxies), galaxies.stat()
    assert file_identity(galaxies) == before
    content = bytearray(galaxies.read_bytes())
    content[0] ^= 1
    galaxies.write_bytes(content)
    os.utime(galaxies, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_identity(galaxies) != before
    content[0] ^= 1
    galaxies.write_bytes(content)
    os.utime(galaxies, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_identity(galaxies) == before
    os.utime(galaxies, (1, 1))
    assert file_identity(galaxies) != before


def test_stores_go_beside_the_file_or_where_they_are_told(galaxies, tmp_path):
    assert store_directory(galaxies, None, tmp_path / "data") == galaxies.parent
    assert store_directory(galaxies, tmp_path / "fast", tmp_path / "data") == tmp_path / "fast"


def _open(path, directory, results):
    results.put(str(open_store(open_source(path), directory).path))


def test_eight_processes_get_one_store(tmp_path):
    path = write_galaxies(tmp_path / "g.h5", per_class=200, chunks=(20, 8, 8, 1))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=_open, args=(path, tmp_path, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    stores = {results.get(timeout=PATIENCE_S) for _ in workers}
    for worker in workers:
        worker.join(timeout=PATIENCE_S)
        assert worker.exitcode == 0
    assert len(stores) == 1
    assert len(list(tmp_path.glob("*.store"))) == 1
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.long
def test_a_build_that_was_killed_is_built_again(tmp_path):
    path = write_galaxies(tmp_path / "g.h5", per_class=700, size=(64, 64), chunks=(100, 16, 16, 1))
    program = (
        "import sys, galaxy10.data.store as s; from pathlib import Path\n"
        "from galaxy10.data.hdf5 import open_source\n"
        "s.SLAB_BYTES = 200_000\n"
        "s.open_store(open_source(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as builder:
        wait_for(lambda: list(tmp_path.glob("*.part*/images.npy")), "half a store", builder)
        builder.kill()
    assert not list(tmp_path.glob("*.store"))
    store = open_store(open_source(path), tmp_path)
    assert len(store) == 2100
    assert not list(tmp_path.glob("*.part*"))


def test_a_damaged_chunk_is_named(tmp_path):
    path = write_galaxies(tmp_path / "g.h5", chunks=(6, 8, 8, 1))
    with h5py.File(path) as file:
        chunk = file["images"].id.get_chunk_info(30)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * min(20, chunk.size))
    with pytest.raises(Galaxy10Error, match=r"images \d+ to \d+ cannot be read.*damaged"):
        open_store(open_source(path), tmp_path)
    assert not list(tmp_path.glob("*.store*"))


def test_a_full_disk_leaves_nothing(galaxies, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Galaxy10Error, match=r"no space left in .*GiB needed.*data.store_dir"):
        open_store(open_source(galaxies), tmp_path / "s")
    assert [p.suffix for p in (tmp_path / "s").iterdir()] in ([], [".lock"])


@pytest.mark.long
@pytest.mark.slow
def test_memory_stays_under_one_gib_for_a_file_of_two(tmp_path):
    path = tmp_path / "big.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (10_000, 256, 256, 3), "u1", chunks=(500, 16, 16, 1), compression="gzip")
        file["ans"] = np.arange(10_000, dtype=np.uint8) % 5
    program = (
        "import sys; from pathlib import Path\n"
        "from galaxy10.data.hdf5 import open_source; from galaxy10.data.store import open_store\n"
        "open_store(open_source(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        # Not ru_maxrss, which a new program inherits from the process that started it.
        "print(next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2**20  # KiB


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux shows a process's pages there")
def test_pages_of_a_store_leave_the_process(tmp_path):
    np.save(tmp_path / "images.npy", np.ones(1 << 20, np.uint8))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")

    def kilobytes() -> int:
        lines = Path("/proc/self/smaps").read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if line.endswith(str(tmp_path / "images.npy")))
        return next(int(line.split()[1]) for line in lines[start:] if line.startswith("Rss:"))

    assert images.sum() == 1 << 20
    assert kilobytes() >= 1024
    forget_pages(images[::2])
    assert kilobytes() == 0
