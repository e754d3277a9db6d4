import pytest
import torch

from galaxy10.catalogue.writer import Catalogue
from galaxy10.prediction import batch_size
from galaxy10.prediction.batch_size import DEFAULT_BATCH_SIZE, MEASURED_FROM, fastest_batch_size


class Machine:
    """Computes a batch in `fixed` seconds plus `each` seconds for every image, up to the size that fits."""

    def __init__(self, fixed: float, each: float, fits: int = 10_000):
        self.fixed, self.each, self.fits, self.now, self.sizes = fixed, each, fits, 0.0, []

    def compute(self, size: int) -> None:
        if size > self.fits:
            raise torch.OutOfMemoryError
        self.sizes.append(size)
        self.now += self.fixed + self.each * size

    def choose(self, num_images: int = MEASURED_FROM) -> int:
        return fastest_batch_size(self.compute, num_images, torch.device("cpu"), lambda: self.now)


@pytest.mark.parametrize(
    ("fixed", "each", "size"),
    [
        (0.0, 0.01, 16),  # as on a CPU: larger batches gain nothing
        (0.001, 0.001, 16),
        (0.01, 0.001, 128),  # 4 % remain to be gained
        (1.0, 0.0, 1024),
    ],
)
def test_batches_are_doubled_as_long_as_that_pays(fixed, each, size):
    assert Machine(fixed, each).choose() == size


def test_few_images_are_not_measured():
    machine = Machine(1.0, 0.0)
    assert machine.choose(MEASURED_FROM - 1) == DEFAULT_BATCH_SIZE
    assert machine.sizes == []


def test_a_batch_that_does_not_fit_ends_the_search():
    assert Machine(1.0, 0.0, fits=100).choose() == 64


def test_memory_ends_the_search_before_it_is_full(monkeypatch):
    peaks = iter([0, 2**28, 2**29, 2**30 + 1, 2**31])
    monkeypatch.setattr(batch_size._Memory, "_peak", lambda self: next(peaks))
    assert Machine(1.0, 0.0).choose() == 64  # twice its memory is more than 2 GiB


def test_a_resumed_output_keeps_the_size_that_it_began_with(tmp_path):
    with Catalogue(tmp_path / "c.parquet", {"batch_size": "auto"}).writing(overwrite=False):
        assert Catalogue(tmp_path / "c.parquet", {"batch_size": "auto"}).batch_size(lambda: 128) == 128
    with Catalogue(tmp_path / "c.parquet", {"batch_size": "auto"}).writing(overwrite=False) as record:
        assert record is None
        assert Catalogue(tmp_path / "c.parquet", {"batch_size": "auto"}).batch_size(lambda: 16) == 128
