"""The `logger` section: what is refused, and what becomes of loggers that are not ours."""

import os

import pytest
from lightning.pytorch.loggers import Logger

from galaxy10.errors import Galaxy10Error
from galaxy10.training.loggers import TensorBoardLogger, build_loggers, check_loggers, close_loggers
from galaxy10.training.loggers import settings as logger_settings

WANDB = {"_target_": logger_settings.WANDB, "mode": "offline"}
TENSORBOARD = {"_target_": logger_settings.TENSORBOARD}


class Theirs(Logger):
    """A logger of somebody's."""

    name, version = "theirs", "0"

    def __init__(self, save_dir, fail=False):
        if fail:
            raise RuntimeError("no such server\nand more")
        self.folder, self.ends = save_dir, []

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, *args, **kwargs):
        pass

    def finalize(self, status):
        self.ends.append(status)


HERE = f"{__name__}.Theirs"


@pytest.mark.parametrize(("code", "end"), [(0, "success"), (1, "failed"), (130, "failed")])
def test_a_logger_of_others_gets_the_run_directory_and_the_end(code, end, tmp_path):
    ours, theirs, fixed = build_loggers(
        {"tb": TENSORBOARD, "off": None, "a": {"_target_": HERE}, "b": {"_target_": HERE, "save_dir": "there"}},
        tmp_path,
    )
    assert isinstance(ours, TensorBoardLogger)
    assert (theirs.folder, fixed.folder) == (str(tmp_path), "there")
    close_loggers(code)
    assert theirs.ends == [end]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"_target_": HERE, "fail": True}, f"logger.mine ({HERE}) cannot be built: RuntimeError: no such server"),
        ({"_target_": HERE, "dir": 1}, "unexpected keyword argument 'dir'"),
        ({"_target_": "nowhere.Logger"}, "there is no module nowhere"),
        ({"_target_": "pathlib.Path"}, "logger.mine._target_=pathlib.Path is no Lightning Logger"),
    ],
)
def test_a_logger_of_others_that_cannot_be_built_is_one_line(entry, message, tmp_path):
    with pytest.raises(Galaxy10Error) as caught:
        build_loggers({"mine": entry}, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("wandb", "logger=wandb is not allowed; expected choices, as in logger=[wandb,tensorboard]"),
        ({"mode": "offline"}, "logger.mode=offline names no logger: did you mean logger.wandb.mode?"),
        ({"mine": {"uri": 1}}, "add logger.mine._target_=CLASS"),
        ({"w": {**WANDB, "mod": "auto"}}, "there is no setting logger.w.mod: did you mean logger.w.mode?"),
        ({"w": {**WANDB, "mode": "onlin"}}, "logger.w.mode=onlin is not allowed: did you mean online?"),
        ({"w": {**WANDB, "tags": "a"}}, "logger.w.tags=a is not allowed; expected a list"),
        ({"t": {**TENSORBOARD, "name": "a"}}, "there is no setting logger.t.name"),
        ({"a": WANDB, "b": WANDB}, "logger.a and logger.b are both a WandbLogger; leave out one of them"),
        ({"m": {"_target_": "lightning.pytorch.loggers.MLFlowLogger"}}, "needs the package mlflow: pip install mlflow"),
    ],
)
def test_a_wrong_section_is_refused(section, message, monkeypatch):
    monkeypatch.setattr(logger_settings, "find_spec", lambda name: None if name == "mlflow" else name)
    with pytest.raises(Galaxy10Error) as caught:
        check_loggers(section)
    assert message in str(caught.value)


def test_what_is_right_passes(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for section in (None, {}, {"wandb": None}, {"wandb": WANDB, "tensorboard": TENSORBOARD}):
        check_loggers(section)
