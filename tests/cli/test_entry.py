"""`galaxy10 train` and `galaxy10 sweep`: as train.py and sweep.py, from any folder, with or without a checkout."""

import os
import subprocess
import sys
import zipfile

import pytest

from galaxy10.cli.options import trust_packages
from galaxy10.config.user_code import TRUST_VARIABLE
from tests.conftest import ROOT

LOADED = "import sys; sys.argv = ['galaxy10', *sys.argv[1:]]\nfrom galaxy10.cli.entry import main\ntry:\n    main()\n"
LOADED += "finally:\n    print('loaded', *sorted({'hydra', 'torch', 'typer'} & set(sys.modules)))"


@pytest.mark.parametrize(("words", "code"), [
    (["train", "--help"], 0), (["sweep", "--help"], 0), (["train", "model.dropuot=1"], 2), (["sweep", "modle=x"], 2),
])  # fmt: skip
def test_help_and_a_mistyped_key_do_not_import_hydra(words, code, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LOADED, *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, "loaded"), done.stderr


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_quick_help_is_hydras(command, here):
    assert here("galaxy10", command, "--help").out == here("galaxy10", command, "--help", "seed=0").out


def test_help_lists_train_and_sweep(here):
    shown = here("galaxy10", "--help").out
    assert "Train one experiment" in shown
    assert "Search hyperparameters" in shown


@pytest.mark.parametrize(("line", "suggested"), [
    ("galaxy10 tr", "train"),
    ("galaxy10 train model=res", "model=resnet50"), ("galaxy10 sweep sweep.r", "sweep.retries="),
])  # fmt: skip
def test_a_shell_completes_commands_and_settings(line, suggested, here):
    assert suggested in here("galaxy10", "-sc", "query=bash", COMP_LINE=line).out.split()
    assert "complete -o nospace" in here("galaxy10", "train", "-sc", "install=bash").out


def test_a_package_in_the_working_directory_is_imported(tmp_path):
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "__init__.py").write_text("")
    program = "from galaxy10.config.paths import import_from_working_directory as f; f(); import mypkg"
    for safe in ([], ["-P"]):
        command = [sys.executable, *safe, "-c", program]
        assert subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == 0


def test_so_is_one_that_is_trusted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST_VARIABLE, "")
    monkeypatch.setattr(sys, "path", list(sys.path[1:]))
    trust_packages([])
    assert str(tmp_path) not in sys.path
    trust_packages(["mypkg"])
    assert sys.path[0] == str(tmp_path)


def test_job_scripts_are_copied_where_they_can_be_written(here, tmp_path):
    assert here("galaxy10", "slurm").code == 0
    assert (tmp_path / "slurm" / "train.sbatch").resolve() == tmp_path / "slurm" / "job.sbatch"
    assert {path.name for path in (tmp_path / "slurm").iterdir()} == {path.name for path in (ROOT / "slurm").iterdir()}
    assert "slurm exists already" in here("galaxy10", "slurm").message


@pytest.mark.long
@pytest.mark.slow
def test_a_wheel_has_all_that_a_checkout_has(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    source = tmp_path / "source"  # not in the checkout: what a build leaves behind there would be in the next one
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in filter(None, files.stdout.splitlines()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()

    def run(*words):
        command, environment = (
            [sys.executable, "-m", "galaxy10", *words],
            {**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        )
        return subprocess.run(command, cwd=tmp_path / "empty", env=environment, capture_output=True, text=True)

    assert "Usage: galaxy10 train [group=choice ...]" in run("train", "--help").stdout
    shown = run("train", "--cfg", "job", "experiment=tuned_resnet50")
    assert "backbone: resnet50" in shown.stdout, shown.stderr
    refused = run("sweep", "sweep=simple_cnn", "data=hdf5", "data.path=none.h5")
    assert "data.path=none.h5 does not exist" in refused.stderr
    assert run("init", "my_project").returncode == run("slurm").returncode == 0
    assert {path.name for path in (tmp_path / "empty").iterdir()} == {"my_project", "slurm"}
    copied = {path.name for path in (tmp_path / "empty" / "slurm").iterdir()}
    assert copied == {path.name for path in (ROOT / "slurm").iterdir()}
