"""Commands and files that all tests share."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from galaxy10.config.trust import TRUST_VARIABLE
from galaxy10.console import set_up_logging
from tests import session
from tests.galaxies import write_galaxies
from tests.here import run_here
from tests.session import FOLDER, Session, shared_folder
from tests.waiting import PATIENCE_S
from tests.warm import Warm, WarmProcess

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# One thread: tests run side by side, and OpenMP's threads wait for each other by spinning.
# Offline: runs of the tests do not belong in the W&B account of the person who runs them.
QUIET = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}

# A small network of timm (half a million weights): the baseline's CNN writes nine million after each epoch.
TINY = ("model=timm", "model.backbone=test_resnet", "model.pretrained=false", "model.image_size=32")
# A short experiment. Its page, which takes longer than its training, is drawn where a test looks at it.
QUICK = (*TINY, "data.batch_size=8", "trainer.max_epochs=2", "logger=csv", "run.report=false")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--max-torch-imports", type=int, help="fail if more processes than this import torch")
    parser.addoption("--cpu-times", type=int, default=0, metavar="N", help="print the N tests that cost most CPU time")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(session)
    if FOLDER not in os.environ:
        config.pluginmanager.register(Session(config.getoption("--max-torch-imports"), config.getoption("--cpu-times")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`, give the tests that share a SLURM to one process, and each of the others to any."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class OneByOne(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if nodeid.startswith("tests/slurm/") else nodeid

    return OneByOne(config, log)


@pytest.fixture(autouse=True)
def unchanged_environment() -> Iterator[None]:
    """Leave the environment to the next test as it was: libraries and commands set variables for their children."""
    with patch.dict(os.environ, {TRUST_VARIABLE: ""}):
        yield


@pytest.fixture(scope="session", autouse=True)
def messages() -> None:
    """What commands do first, for tests that call functions of this process: messages on standard error."""
    set_up_logging()


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
    """RA and DEC of all Galaxy10 galaxies, as galaxy10-split-v1 was made from."""
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


def ended(process: WarmProcess | subprocess.Popen[str]) -> Finished:
    """Wait for a command; one that would take for ever is killed."""
    with process:
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Finished(process.returncode, out, err)


@pytest.fixture
def train(start: Callable, tmp_path: Path) -> Callable[..., Finished]:
    """Run train.py as a user does, in an empty folder; runs end up in its `runs`."""

    def run(*arguments: object, cwd: Path = tmp_path, fresh: bool = False, **env: str) -> Finished:
        return ended(start(ROOT / "train.py", *arguments, cwd=cwd, fresh=fresh, **env))

    return run


@pytest.fixture
def galaxy10(start: Callable, tmp_path: Path) -> Callable[..., Finished]:
    """Run the galaxy10 command as a user does."""

    def run(*arguments: object, **env: str) -> Finished:
        return ended(start("-m", "galaxy10", *arguments, cwd=tmp_path, **env))

    return run


@pytest.fixture
def here(tmp_path: Path) -> Callable[..., Finished]:
    """Run train.py, sweep.py or galaxy10 in the test's own process: for commands that are refused, or only read."""

    def run(program: str, *arguments: object, cwd: Path = tmp_path, **env: str) -> Finished:
        return Finished(*run_here(program, list(map(str, arguments)), cwd, {**QUIET, **env}))

    return run


@contextmanager
def once_a_session(name: str) -> Iterator[Path]:
    """A folder that all test processes share; one after the other they find what those before have left in it."""
    folder = shared_folder() / name
    folder.mkdir(exist_ok=True)
    with (shared_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


NAMES = ["Spiral", "In-between", "Edge-on"]
TRAINED = ("model.image_size=32", "model.tta_views=2", "data.batch_size=8", "trainer.max_epochs=2", "logger=csv")


def copy_of(run: Path, folder: Path) -> Path:
    """A trained run of a test's own, without what only training needs."""
    return Path(shutil.copytree(run, folder, ignore=shutil.ignore_patterns("last.ckpt", "figures", "samples")))


@pytest.fixture(scope="session")
def trained(warm: Warm) -> Callable[..., Path]:
    """Return a function that trains the baseline's CNN on small galaxies, once per seed, and returns its run directory.

    The runs lie beside g.h5. All tests share them: a test that changes one uses copy_of.
    """

    def train(seed: int = 0) -> Path:
        with once_a_session("trained") as folder:
            if not (folder / "g.h5").exists():
                write_galaxies(folder / "g.h5", per_class=40, names=NAMES, coordinates=True)
            if not (folder / f"r{seed}").exists():
                words = ["data=hdf5", "data.path=g.h5", f"run.dir=r{seed}", f"seed={seed}", *TRAINED]
                done = ended(warm.start([str(ROOT / "train.py"), *words], folder, {**os.environ, **QUIET}))
                assert done.code == 0, done.err
                (shared_folder() / f"trained-{seed}.json").write_text(json.dumps([done.code, done.out, done.err]))
        return folder / f"r{seed}"

    return train


@pytest.fixture(scope="session")
def run(trained: Callable[..., Path]) -> Path:
    """A run directory of three classes: 84 training, 12 validation and 24 test galaxies."""
    return trained(0)


@pytest.fixture(scope="session")
def finished(run: Path) -> Finished:
    """What the command that trained `run` left behind."""
    return Finished(*json.loads((shared_folder() / "trained-0.json").read_text()))
