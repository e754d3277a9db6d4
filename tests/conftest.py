"""Files and commands that all tests share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.warm import Warm, WarmProcess

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def write_galaxies(
    path: Path,
    per_class: int = 12,
    num_classes: int = 3,
    size: tuple[int, int] = (32, 32),
    names: list[str] | None = None,
    chunks: tuple[int, ...] | None = None,
    coordinates: bool = False,
    seed: int = 0,
) -> Path:
    """A small labelled file whose classes can be told apart: class k is brighter in one channel and position."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_classes), per_class)
    images = rng.integers(0, 60, (len(labels), *size, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[size[0] // 3 : 2 * size[0] // 3, size[1] // 3 : 2 * size[1] // 3, label % 3] += np.uint8(60 + 10 * label)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=chunks, compression="gzip" if chunks else None)
        file["ans"] = labels.astype(np.uint8)
        if names:
            file["ans"].attrs["class_names"] = names
        if coordinates:
            file["ra"] = np.linspace(10, 200, len(labels))
            file["dec"] = np.linspace(-5, 30, len(labels))
    return path


@pytest.fixture
def galaxies(tmp_path: Path) -> Path:
    """36 small galaxies of 3 classes."""
    return write_galaxies(tmp_path / "galaxies.h5")


@pytest.fixture(scope="session")
def real_galaxies() -> Path:
    """100 genuine Galaxy10 DECaLS images."""
    path = SHARED / "data" / "galaxy10_real_100.h5"
    if not path.exists():
        pytest.skip(f"the real galaxies are not here: {path}")
    return path


@pytest.fixture(scope="session")
def coordinates() -> Path:
    """RA and DEC of all Galaxy10 galaxies."""
    path = SHARED / "data" / "galaxy10_coordinates.csv"
    if not path.exists():
        pytest.skip(f"the published coordinates are not here: {path}")
    return path


class Finished:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def result(self) -> dict:
        """The last line of standard output, strictly read."""

        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is not JSON")

        return json.loads(self.out.strip().splitlines()[-1], parse_constant=refuse)

    @property
    def message(self) -> str:
        """What a refused command says: one line."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A process that has imported torch and the rest, once for all tests that run commands."""
    process = Warm(tmp_path_factory.mktemp("warm"))
    yield process
    process.close()


# One thread: tests run side by side, and OpenMP's threads wait for each other by spinning.
# Offline: what tests train does not belong into the account of whoever runs them.
QUIET = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


@pytest.fixture
def start(warm: Warm) -> Callable[..., WarmProcess | subprocess.Popen[str]]:
    """Start a command of Python's and return its process."""

    def begin(*arguments: object, cwd: Path, fresh: bool = False, **env: str) -> WarmProcess | subprocess.Popen[str]:
        words, environment = list(map(str, arguments)), {**os.environ, **QUIET, **env}
        if warm.suits(environment) and not fresh:
            return warm.start(words, cwd, environment)
        command, pipe = [sys.executable, *words], subprocess.PIPE
        return subprocess.Popen(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)

    return begin


def ended(process: WarmProcess | subprocess.Popen[str], timeout: float) -> Finished:
    """Wait for a command; one that takes too long is killed."""
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Finished(process.returncode, out, err)


@pytest.fixture
def train(start: Callable, tmp_path: Path) -> Callable[..., Finished]:
    """Run train.py as a user does, in an empty folder; runs end up in its `runs`."""

    def run(*arguments: str, timeout: float = 240, cwd: Path = tmp_path, fresh: bool = False, **env: str) -> Finished:
        return ended(start(ROOT / "train.py", *arguments, cwd=cwd, fresh=fresh, **env), timeout)

    return run


@pytest.fixture
def galaxy10(start: Callable, tmp_path: Path) -> Callable[..., Finished]:
    """Run the galaxy10 command as a user does."""

    def run(*arguments: object, timeout: float = 240, **env: str) -> Finished:
        return ended(start("-m", "galaxy10", *arguments, cwd=tmp_path, **env), timeout)

    return run
