"""A disk that is full leaves what was there, nothing half-written, and one line."""

import resource
import signal

import pandas as pd
import pytest
import torch

from galaxy10.errors import Galaxy10Error
from galaxy10.files import atomic_write, write_json
from galaxy10.training.checkpoints import AtomicCheckpointIO


@pytest.fixture
def no_room():
    """Files may not grow beyond 100 kB: the system's own refusal, in the middle of writing."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def write_checkpoint(path):
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.rand(1_000_000)}}, path)


def write_table(path):
    with atomic_write(path) as part:
        pd.DataFrame({"p": torch.rand(1_000_000).numpy()}).to_parquet(part)


def write_text(path):
    write_json(path, {"numbers": list(range(100_000))})


@pytest.mark.parametrize("write", [write_checkpoint, write_table, write_text])
def test_a_full_disk_leaves_the_old_file(write, no_room, tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(Galaxy10Error, match=r"file cannot be written|no space left for") as caught:
        write(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
