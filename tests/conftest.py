"""Files and commands that all tests share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

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

    def __init__(self, process: subprocess.CompletedProcess[str]):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

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


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Finished]:
    """Run train.py as a user does, in an empty folder; runs end up in its `runs`."""

    def run(*arguments: str, cwd: Path = tmp_path, timeout: float = 240, **env: str) -> Finished:
        command = [sys.executable, str(ROOT / "train.py"), *arguments]
        # One thread: tests run side by side, and OpenMP's threads wait for each other by spinning.
        # Offline: what tests train does not belong into the account of whoever runs them.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **env}
        return Finished(
            subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
        )

    return run


@pytest.fixture
def galaxy10(tmp_path: Path) -> Callable[..., Finished]:
    """Run the galaxy10 command as a user does."""

    def run(*arguments: object, timeout: float = 240, **env: str) -> Finished:
        command = [sys.executable, "-m", "galaxy10", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
        return Finished(
            subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout)
        )

    return run
