"""The list of runs of make benchmark-accuracy: each is trained once, and the page has its table."""

import subprocess
import sys

import pytest

from tests.conftest import QUIET, ROOT
from tests.galaxies import write_galaxies

RUN = ROOT / "benchmarks" / "accuracy" / "run.py"
# What timm's script is given and leaves behind, without the training.
SCRIPT = """
import sys
from pathlib import Path
import torch
given = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
for subset in (given["--train-split"], given["--val-split"]):
    images = list((Path(sys.argv[1]) / subset).glob("*/*.png"))
    print(subset, len(images), sorted({path.parent.name for path in images}))
out = Path(given["--output"]) / given["--experiment"]
out.mkdir()
if given["--seed"] == "1":
    sys.exit("no luck")
torch.save({"state_dict": torch.load(given["--initial-checkpoint"])}, out / "model_best.pth.tar")
"""


@pytest.mark.long
def test_timms_script_trains_on_the_rows_of_the_table(tmp_path, monkeypatch):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    write_galaxies(tmp_path / "g.h5", per_class=20)
    words = ["--data", "small=g.h5", "--epochs", "1", "--image-px", "32", "--only", "train.py", "--out", "out"]

    def measure(*more):
        return subprocess.run([sys.executable, RUN, *words, *more], cwd=tmp_path, capture_output=True, text=True)

    missing = measure("--timm-script", "train.py")
    assert "--timm-script: there is no file 'train.py'; name train.py of timm's repository" in missing.stderr
    (tmp_path / "train.py").write_text(SCRIPT)
    done = measure("--timm-script", "train.py", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert "g.h5 timm's train.py: EfficientNet-Lite0 seed 0: 0." in done.stdout
    assert (tmp_path / "out" / "small" / "split.csv").exists()
    failed = measure("--timm-script", "train.py", "--seeds", "1")
    assert failed.returncode == 1
    assert "train 42 ['000', '001', '002']\nval 6 ['000', '001', '002']\nno luck" in failed.stderr


@pytest.mark.long
def test_a_run_is_trained_once_and_its_table_stands_between_the_marks(tmp_path, monkeypatch):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    write_galaxies(tmp_path / "g.h5", per_class=20)
    page = tmp_path / "page.md"
    tables = "\n### other\n\nkept\n\n### small\n\nold\n\n"
    page.write_text(f"before\n<!-- benchmark-accuracy: begin -->\n{tables}<!-- benchmark-accuracy: end -->\nafter\n")
    words = [
        "--data",
        "small=g.h5",
        "--seeds",
        "0",
        "--scratch-epochs",
        "1",
        "--scratch-image-px",
        "32",
        "--only",
        "D4 CNN",
    ]

    def measure(*more):
        line = [sys.executable, RUN, *words, "--out", tmp_path / "out", *more]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)

    done = measure("--write", page)
    assert done.returncode == 0, done.stderr
    assert "g.h5 ours: D4 CNN seed 0:" in done.stdout
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "### other\n\nkept\n" in text  # the table of another data set
    assert "| ours: D4 CNN | 0." in text
    assert "| `train.py model=d4_cnn model.network.size=small trainer.max_epochs=1 model.image_size=32` |" in text
    again = measure("--write", page)
    assert "seed 0:" not in again.stdout  # nothing was trained
    assert page.read_text() == text
    words[1] = "small=nowhere.h5"
    assert "there is no file 'nowhere.h5'; type --data NAME=FILE.h5" in measure().stderr
