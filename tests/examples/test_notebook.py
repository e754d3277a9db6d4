"""The examples without Hydra, run as they stand, on a tiny survey."""

import json
import runpy
import sys

import matplotlib.pyplot as plt
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")


def test_script_trains_a_network_and_prints_predictions(galaxies, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["notebook_style.py", str(galaxies)])
    seen = runpy.run_path(str(ROOT / "examples/notebook_style.py"))
    assert seen["trainer"].current_epoch == 3
    assert "test/macro_f1" in seen["module"].metrics
    assert seen["module"].predictions["row"].tolist() == seen["data"].split.rows("test").tolist()
    assert "predicted_name" in capsys.readouterr().out
    assert len((ROOT / "examples/notebook_style.py").read_text().splitlines()) < 30


def test_notebook_runs_cell_by_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf()))
    notebook = json.loads((ROOT / "examples/galaxy10.ipynb").read_text())
    first, *cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "%pip install" in first
    seen = {"__name__": "__main__"}
    for source in cells:
        exec(compile(source.replace("2000, 8", "200, 1"), "galaxy10.ipynb", "exec"), seen)
    assert (seen["num_images"], seen["trainer"].current_epoch) == (200, 1)
    assert len(seen["table"]) == len(seen["data"].split.rows("test"))
    titles = [axis.get_title() for axis in drawn[0].axes]
    assert all(title.removesuffix(" *") in seen["data"].class_names for title in titles)
    plt.close("all")
