"""benchmarks/gpu: every step runs in its short form without a card, and what hangs or fails stops nothing else."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.conftest import ROOT

GPU = ROOT / "benchmarks" / "gpu"
STEPS = set(range(1, 12))
ROWS = {  # step: a row that it must show, and fields of it
    1: ("resnet50, bf16 on the CPU compared with fp32 on the CPU", {"loss", "loss_difference"}),
    2: ("simulate 300 images at 96 px", {"images_per_s", "seconds", "cores"}),
    3: ("simple_cnn: train.py", {"images_per_s", "data_time_fraction", "peak_memory_gib", "first_epoch_extra_seconds"}),
    4: ("simple_cnn", {"images_per_s", "peak_memory_gib"}),
    5: ("host waits in aten::item (host's operations recorded)", {"times_per_step", "ms_per_step"}),
    6: ("the same seed twice", {"weights_equal", "metrics_equal"}),
    8: ("augment=affine, noise 0.2, CPU, one image at a time compared with the whole batch", {"largest_grey_levels"}),
    9: ("bf16 compared with fp32 probabilities", {"largest_difference", "same_class_share"}),
    10: ("two workers ÷ one", {"ratio"}),
    11: ("trainer.devices=1 trainer.strategy=ddp", {"backend", "checkpoint", "each_once"}),
}
SKIPPED = {1: {"card"}, 3: {"simple_cnn: train.py, device cache"}, 5: {"the card"}}  # without a card


def module(name):
    """A program of benchmarks/gpu as a module under a name of its own."""
    spec = spec_from_file_location(f"benchmarks_gpu_{name}", GPU / f"{name}.py")
    loaded = module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_step_runs_in_its_short_form_from_a_plain_copy(tmp_path):
    copy = tmp_path / "copy"  # no git, no wheels, nothing that runs have left
    left_out = {str(ROOT): {".git", ".venv", "build", "runs", "studies", "data", "scratch"}, str(GPU): {"wheels"}}
    shutil.copytree(ROOT, copy, ignore=lambda folder, names: left_out.get(folder, set()) & set(names))
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(copy)}
    command = ["bash", str(copy / "benchmarks" / "gpu" / "run.sh"), str(tmp_path / "out"), "--small"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3500)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log[-5000:]
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["card"] is None
    assert result["seconds"] > 0
    steps = {step["step"]: step for step in result["steps"]}
    assert steps.keys() == STEPS
    for number, step in steps.items():
        assert step["state"] == "done", step
        assert f"step {number:2}  done" in done.stdout
        assert f"===== step {number}:" in log
        for row in step["rows"]:
            assert "failed" not in row
            assert row.get("skipped") or row["what"] not in SKIPPED.get(number, ())
    for number, (what, fields) in ROWS.items():
        (row,) = [row for row in steps[number]["rows"] if row["what"] == what]
        assert fields <= row.keys()
    for number in (6, 7):
        (row,) = steps[number]["rows"]
        assert row["weights_equal"] is True
        assert row["metrics_equal"] is True
    assert steps[7]["rows"][0]["what"] == "killed before step 27, after 1 epoch, and resumed"
    assert not (copy / "benchmarks" / "results" / "gpu").exists()  # no card, nothing to keep


def test_a_step_that_hangs_is_ended_with_all_that_it_started_and_keeps_its_rows(tmp_path, monkeypatch):
    run = module("run")
    hangs = (
        'import subprocess, sys, time; print(\'ROW {"what": "before", "images_per_s": 2.5}\', flush=True); '
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    programs = {"hangs": hangs, "fails": "import sys; sys.exit('the reason')", "works": 'print(\'ROW {"what": "w"}\')'}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(run, "HERE", tmp_path)
    steps = [
        run.Step(1, "a step that hangs", "hangs.py", "x", 3, True, ()),
        run.Step(2, "a step that fails", "fails.py", "x", 60, True, (1,)),
        run.Step(3, "a step that works", "works.py", "x", 60, False, ()),
    ]
    run.Runner(tmp_path, steps, {"card": "a card"}, small=False, seconds=120).run()
    lines = (tmp_path / "results.json").read_text().splitlines()
    assert len(lines) == 1 + 3 + 1  # one line a step
    result = json.loads("\n".join(lines))
    assert [step["state"] for step in result["steps"]] == ["timed out", "failed", "done"]
    assert result["steps"][0]["rows"] == [{"what": "before", "images_per_s": 2.5}]
    assert result["steps"][1]["reason"] == "the reason"
    child = int((tmp_path / "child").read_text())
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_the_time_for_all_steps_ends_everything(tmp_path, monkeypatch):
    run = module("run")
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(run, "HERE", tmp_path)
    steps = [run.Step(number, f"step {number}", "sleeps.py", "x", 300, True, ()) for number in (1, 2)]
    run.Runner(tmp_path, steps, {"card": "a card"}, small=False, seconds=2).run()
    result = json.loads((tmp_path / "results.json").read_text())
    assert [step["state"] for step in result["steps"]] == ["timed out", "not started"]
    assert all(step["reason"] == "the time for all steps was over" for step in result["steps"])


def test_the_first_difference_of_two_runs_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    same = module("same")
    lines = [[0, "batch: inputs", 1, 1], [0, "output of conv1 (Conv2d)", 2, 4], [1, "gradient of conv1.weight", 3, 9]]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "one").write_text(text + "\n")
    (tmp_path / "two").write_text('[0, "output of conv1 (Conv2d)", 7\n' + text.replace("3, 9", "4, 16") + "\n")
    assert same.first_difference(tmp_path / "one", tmp_path / "one").startswith("none")
    assert same.first_difference(tmp_path / "one", tmp_path / "two") == "step 1: gradient of conv1.weight"


def test_a_profile_says_how_long_the_card_was_idle_and_what_the_host_waited_in():
    summary = module("watched_train").summary
    events = [
        {"ph": "X", "cat": "kernel", "name": "conv", "ts": 0, "dur": 400_000},
        {"ph": "X", "cat": "gpu_memcpy", "name": "Memcpy HtoD", "ts": 300_000, "dur": 200_000},  # beside the kernel
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaStreamSynchronize", "ts": 0, "dur": 5_000},
        {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0, "dur": 9_000},
        {"ph": "X", "cat": "cpu_op", "name": "aten::item", "ts": 0, "dur": 1_000},
        {"ph": "M", "name": "process_name"},
    ]
    found = summary(events, seconds=1.0)
    assert found["idle_share"] == pytest.approx(0.5)
    assert found["waits"] == {"cudaStreamSynchronize": (1, 5.0), "aten::item": (1, 1.0)}


def test_results_of_a_card_are_kept_by_its_name_and_shown_by_the_table_program(tmp_path, monkeypatch):
    run = module("run")
    (tmp_path / "results.json").write_text("{}")
    monkeypatch.setattr(run, "KEPT", tmp_path / "gpu")
    names = [run.keep(tmp_path, "NVIDIA H100 80GB HBM3", "2026-11-27T10:00:00+00:00").name for _ in range(2)]
    assert names == ["nvidia-h100-80gb-hbm3-2026-11-27.json", "nvidia-h100-80gb-hbm3-2026-11-27-2.json"]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from table import gpu_lines

    rows = [{"what": "train.py, cache on", "images_per_s": 2345.6, "data_time_fraction": 0.0123}]
    steps = [
        {"step": 3, "title": "training", "state": "done", "seconds": 99.0, "rows": rows},
        {"step": 10, "title": "study", "state": "not started", "reason": "no time", "seconds": 0.0, "rows": []},
    ]
    lines = gpu_lines({"card": "NVIDIA H100", "date": "2026-11-27T10:00:00", "seconds": 470.2, "steps": steps})
    assert lines[-2] == "| 3 | train.py, cache on | images_per_s 2,346, data_time_fraction 0.0123 |"
    assert lines[-1] == "| 10 | study | not started: no time |"


def test_wheels_are_what_the_machine_lacks(capsys):
    wheels = module("wheels")
    assert wheels.check() == 0  # of this environment
    assert "that galaxy10 needs are installed" in capsys.readouterr().out
    names = {requirement.name for requirement, _ in wheels.needed(lambda requirement: None, wheels.TARGET)}
    assert {"hydra-core", "omegaconf", "wandb", "optuna", "requests", "astropy"} <= names
