"""Loggers as anybody's module and callback use them, in anybody's Trainer."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.utilities import rank_zero_only

from galaxy10.training.loggers import WandbLogger, build_loggers, close_loggers
from galaxy10.training.loggers import settings as logger_settings
from galaxy10.training.loggers import wandb_process as wandb_process_module
from galaxy10.training.loggers.epoch_tables import LogEpochTables
from galaxy10.training.loggers.wandb_process import WandbProcess
from galaxy10.training.metrics_csv import EpochTable
from tests.training.wandb_files import logged_runs, wandb_server

WANDB = {"_target_": logger_settings.WANDB, "mode": "offline"}
TENSORBOARD = {"_target_": logger_settings.TENSORBOARD}
STEPS = 3  # of an epoch


class Net(L.LightningModule):
    """A module of somebody's, who logs as Lightning's documentation shows."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"width": 4, "seed": 7})
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        self.log("mine/step", float(batch_idx), on_step=True, on_epoch=False)
        self.log("mine/epoch", float(self.current_epoch), on_step=False, on_epoch=True)
        return self.layer(batch).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/mine", 2.0 + self.current_epoch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Tables(L.Callback):
    """Writes metrics.csv as a run does."""

    def on_train_epoch_end(self, trainer, pl_module):
        values = {key: float(trainer.callback_metrics[key]) for key in ("mine/epoch", "val/mine")}
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **values}
        EpochTable(Path(trainer.default_root_dir) / "metrics.csv").add(row)


def fit(folder, loggers, *callbacks, max_epochs=2):
    """Train somebody's module."""
    batches = torch.utils.data.DataLoader(torch.ones(STEPS, 4))
    trainer = L.Trainer(
        max_epochs=max_epochs, logger=loggers, callbacks=[LogEpochTables(), *callbacks, Tables()],
        default_root_dir=folder, log_every_n_steps=1, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(Net(), batches, batches)
    return trainer


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run directory, and nobody's account."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "status.json").write_text('{"state": "finished"}')
    yield folder
    close_loggers(1)


@pytest.fixture
def said(caplog, monkeypatch):
    """The lines that a person would read."""
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)
    caplog.set_level(logging.INFO, "galaxy10")
    return caplog


class UsesWandb(L.Callback):
    """A callback of somebody's, who uses W&B's run as its documentation shows."""

    def on_train_start(self, trainer, pl_module):
        run = trainer.logger.experiment
        run.config.update({"from_callback": 3})
        run.config["by_key"] = "a"
        run.config.by_attribute = True
        run.define_metric("mine/direct", summary="max")
        run.notes = "from a callback"
        assert run.config["from_callback"] == 3
        assert (run.id, run.name, run.project) == (trainer.logger.version, "r", "galaxy10")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        run = trainer.logger.experiment
        run.log(
            {"mine/direct": torch.tensor(0.5, requires_grad=True), "mine/bf16": torch.ones(2, dtype=torch.bfloat16)}
        )
        run.log({"mine/late": trainer.global_step}, step=trainer.global_step)
        run.log({"mine/never": 1, "why": lambda: 1})  # cannot be pickled
        run.lgo({"mine/never": 1})
        run.watch(pl_module)

    def on_train_end(self, trainer, pl_module):
        run = trainer.logger.experiment
        image = np.full((8, 8, 3), 200, np.uint8)
        run.log({"picture": wandb.Image(image, caption="grey"), "histogram": wandb.Histogram([1, 2, 3])})
        run.summary["mine/best"] = 0.75
        file = Path(trainer.default_root_dir) / "notes.txt"
        file.write_text("hello")
        artifact = wandb.Artifact("notes", type="text")
        artifact.add_file(str(file))
        run.log_artifact(artifact)
        trainer.logger.log_table("table", columns=["a"], data=[[1], [2]])
        trainer.logger.log_metrics({"by_hand": 1.5}, step=4)


@pytest.mark.long
def test_a_callback_uses_w_and_b_as_its_documentation_says(run, said):
    (logger,) = build_loggers({"wandb": WANDB}, run)
    fit(run, [logger], UsesWandb())
    close_loggers(0)
    (logged,) = logged_runs(run)
    config = logged.config
    assert [config[key] for key in ("from_callback", "by_key", "by_attribute", "width")] == [3, "a", True, 4]
    assert config["seed"] == 0  # the run's own configuration, not what a module calls so
    assert [row["mine/direct"] for row in logged.history if "mine/direct" in row] == [0.5] * 6
    assert [row["mine/late"] for row in logged.history if "mine/late" in row] == [1, 2, 3, 4, 5, 6]
    assert all(row["trainer/global_step"] == row["mine/late"] for row in logged.history if "mine/late" in row)
    assert logged.logged("picture/caption") == "grey"
    assert logged.logged("histogram/_type") == "histogram"
    assert logged.logged("table/nrows") == 2
    assert logged.logged("by_hand") == 1.5
    assert logged.summary["mine/best"] == 0.75
    assert ("text", ["notes.txt"]) in logged.artifacts
    assert not any("mine/never" in row for row in logged.history)
    lines = [line for line in said.messages if "experiment." in line]
    assert len(lines) == 3, said.messages  # once each, not once a step
    assert any("experiment.log: its arguments cannot be sent" in line for line in lines)
    assert any("experiment.lgo: 'Run' object has no attribute 'lgo'" in line for line in lines)
    assert any("experiment.watch is not supported here" in line for line in lines)
    assert logged.exit_code == 0


@pytest.mark.long
def test_what_a_module_logs_is_there_once(run):
    """Of steps by Lightning, of epochs by the tables; also with two loggers, and a second start."""
    section = {"wandb": WANDB, "tensorboard": TENSORBOARD, "mine": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}
    for epochs in (2, 3):
        trainer = fit(run, build_loggers(section, run), max_epochs=epochs)
        close_loggers(0)
    first, second = logged_runs(run)
    assert first.id == second.id
    assert [row["mine/step"] for row in first.history if "mine/step" in row] == [0, 1, 2] * 2
    assert [row["mine/epoch"] for row in first.history + second.history if "mine/epoch" in row] == [0, 1, 2]
    assert [row["val/mine"] for row in first.history + second.history if "val/mine" in row] == [2, 3, 4]
    assert all(row["trainer/global_step"] == STEPS * (row["epoch"] + 1) for row in first.epochs + second.epochs)
    steps = [row["trainer/global_step"] for row in first.history if "mine/step" in row or "mine/epoch" in row]
    assert steps == sorted(steps)
    counts = [row["_step"] for row in first.history + second.history]
    assert counts == sorted(set(counts))  # W&B leaves out what goes back

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("val/mine")] == [(3, 2), (6, 3), (9, 4)]
    assert {point.step for point in events.Scalars("mine/step")} == set(range(9))
    assert events.PluginTagToContent("text").keys() == {"config/text_summary", "provenance/text_summary"}
    assert not any("hp" in tag for tag in events.Tags()["scalars"])
    assert {file.name.split(".")[0] for file in (run / "tensorboard").iterdir()} == {"events", "written"}

    theirs = Path(trainer.loggers[2].log_dir)  # Lightning's own got the run directory, and everything
    assert theirs.is_relative_to(run)
    assert "mine/step" in (theirs / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("fails", [False, True])
def test_a_trainer_of_ones_own_needs_nothing_else(fails, tmp_path, run):
    """No tables, no callback of ours: everything comes from Lightning, and the run ends with the program."""

    class Fails(L.Callback):
        def on_train_end(self, trainer, pl_module):
            if fails:
                raise RuntimeError("no")

    logger = WandbLogger(run, mode="offline")
    batches = torch.utils.data.DataLoader(torch.ones(STEPS, 4))
    trainer = L.Trainer(
        max_epochs=2, logger=logger, callbacks=[Fails()], default_root_dir=tmp_path, log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
    )  # fmt: skip
    with pytest.raises(RuntimeError) if fails else nullcontext():
        trainer.fit(Net(), batches, batches)
    logger._close_at_exit()
    (logged,) = logged_runs(run)
    assert logged.exit_code == int(fails)
    assert [row["val/mine"] for row in logged.history if "val/mine" in row] == [2, 3]
    assert [row["mine/epoch"] for row in logged.history if "mine/epoch" in row] == [0, 1]


def test_tensorboard_is_its_own_writer(run):
    class UsesTensorBoard(L.Callback):
        def on_train_end(self, trainer, pl_module):
            trainer.logger.experiment.add_scalar("mine/direct", 0.25, 1)

    fit(run, build_loggers({"tensorboard": TENSORBOARD}, run), UsesTensorBoard())
    close_loggers(0)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert events.Scalars("mine/direct")[0].value == 0.25


def test_a_tensorboard_that_cannot_write_is_said_once_and_fails_no_run(run, said):
    (run / "tensorboard").write_text("a file where the folder would be")
    fit(run, build_loggers({"tensorboard": TENSORBOARD}, run))
    close_loggers(0)
    assert len([line for line in said.messages if "tensorboard stopped" in line]) == 1


def test_no_step_waits_for_w_and_b(run, monkeypatch, said):
    """Its process is stopped while more is logged than a pipe holds: a call that waited would wait forever."""
    (logger,) = build_loggers({"wandb": WANDB}, run)
    experiment = logger.experiment
    process = logger._process._process
    process.send_signal(signal.SIGSTOP)
    for number in range(20):
        experiment.log({"number": number, "much": "x" * 2**17})
    monkeypatch.setattr(wandb_process_module, "MOST_WAITING_BYTES", 2**20)
    for _ in range(3):
        experiment.log({"number": -1})
    process.send_signal(signal.SIGCONT)
    logger.close_run(0)
    (logged,) = logged_runs(run)
    assert [row["number"] for row in logged.history if "number" in row] == list(range(20))
    assert len([line for line in said.messages if "1 MiB wait to be logged" in line]) == 1


def test_a_run_killed_in_its_first_second_has_its_id_and_is_marked(run):
    (run / "status.json").write_text('{"state": "running"}')
    logger = WandbLogger(run, mode="offline")
    known = json.loads((run / "wandb" / "run.json").read_text())["id"]  # before its process is started
    assert logger.experiment.id == known
    process = logger._process._process
    process.stdin.close()  # as the kernel does for a process that is killed
    process.wait()
    (logged,) = logged_runs(run)
    assert (logged.id, logged.exit_code, logged.summary["state"]) == (known, 1, "killed")
    assert WandbLogger(run, mode="offline").version == known


@pytest.mark.long
def test_offline_runs_are_uploaded_several_at_once(run):
    """By the command that is said; one of them has been resumed."""
    other = run.with_name("other")
    shutil.copytree(run, other)
    ids = []
    for folder, value in ((run, 1), (run, 2), (other, 3)):
        logger = WandbLogger(folder, mode="offline")
        logger.experiment.log({"value": value})
        logger.close_run(0)
        ids.append(logger.version)
    parts = [str(part) for folder in (run, other) for part in (folder / "wandb").glob("offline-run-*")]
    with wandb_server() as server:
        online = {**os.environ, "WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": server.address}
        subprocess.run([sys.executable, "-m", "wandb", "sync", *parts], cwd=run, env=online, check=True)
        logged = {run: [row["value"] for row in rows if "value" in row] for run, rows in server.runs.items()}
    assert logged == {ids[0]: [1, 2], ids[2]: [3]}
    assert all(list(Path(part).glob("*.synced")) for part in parts)


def test_only_the_first_process_starts_one(run, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(WandbProcess, "__init__", lambda *_: pytest.fail("started"))
    for logger in build_loggers({"wandb": WANDB, "tensorboard": TENSORBOARD}, run):
        logger.experiment.add_scalar("a", 1)
        logger.log_metrics({"a": 1}, 1)
        logger.log_epochs()
    close_loggers(0)
    assert {file.name for file in run.iterdir()} == {"config.yaml", "status.json"}


@pytest.mark.parametrize("mode", ["disabled", "auto"])
def test_a_callback_may_use_a_disabled_logger(mode, run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (logger,) = build_loggers({"wandb": {**WANDB, "mode": mode}}, run)
    logger.experiment.log({"a": 1})
    logger.experiment.config.update({"a": 1})
    assert logger.experiment.config.a == 1
    assert logger.experiment.url is None
    assert not (run / "wandb").exists()
