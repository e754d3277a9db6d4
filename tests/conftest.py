"""Files and commands that all tests share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.galaxies import write_galaxies
from tests.session import FOLDER, Session, shared_folder
from tests.warm import Warm, WarmProcess

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--max-torch-imports", type=int, help="fail if more processes than this import torch")


def pytest_configure(config: pytest.Config) -> None:
    if FOLDER not in os.environ:
        config.pluginmanager.register(Session(config.getoption("--max-torch-imports")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


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
    """The process that has imported torch and the rest, once for all tests that run commands."""
    process = Warm(shared_folder(), tmp_path_factory.mktemp("warm"))
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


@pytest.fixture(scope="session")
def trained(warm, tmp_path_factory) -> Callable[..., Path]:
    """A function that trains a small network on small galaxies, once per seed, and gives its run directory."""
    folder = tmp_path_factory.mktemp("trained")
    write_galaxies(folder / "g.h5", per_class=40, names=["Spiral", "In-between", "Edge-on"], coordinates=True)
    runs: dict[int, Path] = {}

    def train(seed: int = 0) -> Path:
        if seed not in runs:
            words = (
                *("data=hdf5", f"data.path={folder / 'g.h5'}", "model.image_size=32", "trainer.max_epochs=2"),
                *(
                    "model.tta_views=2",
                    "data.batch_size=8",
                    f"seed={seed}",
                    f"run.dir={folder / f'r{seed}'}",
                    "logger=csv",
                ),
            )
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = ended(warm.start([str(ROOT / "train.py"), *words], folder, environment), 240)
            assert done.code == 0, done.err
            runs[seed] = folder / f"r{seed}"
        return runs[seed]

    return train


@pytest.fixture(scope="session")
def run(trained) -> Path:
    """A run directory of three classes: 84 training, 12 validation and 24 test galaxies."""
    return trained(0)
