"""`galaxy10 init my_project`: what it writes runs as written."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT, ended
from tests.galaxies import write_galaxies


@pytest.fixture
def project(here, tmp_path):
    """The project, with a file of galaxies in it."""
    done = here("galaxy10", "init", "my_project")
    assert (done.code, done.out) == (0, "my_project\n")
    write_galaxies(tmp_path / "my_project" / "g.h5")
    return tmp_path / "my_project"


@pytest.fixture
def run(start, project):
    """Run galaxy10 as a user does, in the project's folder."""
    return lambda *words: ended(start("-m", "galaxy10", *words, cwd=project))


DATA = ("--config-dir", "conf", "data=hdf5", "data.path=g.h5", "logger=csv")


def test_a_project_is_small_and_in_the_style_of_ours(project):
    readme = (project / "README.md").read_text()
    assert len(readme.splitlines()) <= 12
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), "."]
        assert subprocess.run(ruff, cwd=project).returncode == 0


def test_what_would_not_work_as_a_project_is_refused(here, project, tmp_path):
    for name, message in (
        ("my_project", "my_project exists already"), ("My-Net", "galaxy10 init my_net"), ("torch", "a package torch"),
    ):  # fmt: skip
        assert message in here("galaxy10", "init", name).message
    assert [path.name for path in tmp_path.iterdir()] == ["my_project"]


@pytest.mark.long
@pytest.mark.slow
def test_its_network_trains_with_its_loss_and_predicts_for_who_trusts_it(run, project):
    done = run("train", *DATA, "experiment=mine", "model.network.width=4", "debug=fast", "run.dir=r")
    assert done.code == 0, done.err
    assert done.result["state"] == "finished"
    refused = run("predict", "r", "g.h5", "-o", "c.parquet")
    assert refused.code == 2
    assert "--trust my_project" in refused.message
    assert run("predict", "r", "g.h5", "-o", "c.parquet", "--trust", "my_project").code == 0


@pytest.mark.slow
def test_a_misspelt_setting_of_its_network_is_refused(run):
    done = run("train", *DATA, "model=mine", "model.network.widht=4")
    assert done.code == 2
    assert "did you mean model.network.width?" in done.message


@pytest.mark.long
@pytest.mark.slow
def test_its_own_test_passes_and_a_study_varies_its_width(run, project):
    assert subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project).returncode == 0
    words = ("debug=fast", "sweep.n_trials=2", "sweep.startup_trials=2")
    done = run("sweep", *DATA, "sweep=mine", *words)
    assert done.code == 0, done.err
    assert done.result["complete"] == 2
    assert "model.network.width=" in done.result["best"]["command"]
