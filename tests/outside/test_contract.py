"""One of each kind that a user brings, through everything that the framework does."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import write_galaxies

HERE = Path(__file__).resolve().parent
CONF = ("--config-dir", str(HERE / "conf"))
MINE = ("model=mynet", "loss=weighted", "metrics=worst_recall", "callbacks=weight_norm", "data.batch_size=8")
PATH = {"PYTHONPATH": str(HERE)}


@pytest.fixture
def own(train, tmp_path):
    """A function that trains with a user's own pieces on a small file."""
    write_galaxies(tmp_path / "g.h5", names=["Spiral", "Round", "Edge-on"])

    def run(*words, **options):
        given = ("data=hdf5", "data.path=g.h5", "logger=csv", "trainer.max_epochs=2", *words)
        return train(*CONF, *given, **PATH, **options)

    return run


@pytest.mark.long
def test_a_users_pieces_train_evaluate_predict_and_export(own, galaxy10, tmp_path):
    words = ("run.dir=r", "optimizer._target_=torch.optim.RAdam", "monitor=val/worst_recall")
    done = own(*MINE, *words, "model.network.width=6")
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "r/metrics.csv")
    assert {"val/worst_recall", "val/weight_norm", "train/loss", "train/accuracy"} <= set(rows)
    assert done.result["test/worst_recall"] is not None
    status = json.loads((tmp_path / "r/status.json").read_text())
    assert status["best"]["metric"] == "val/worst_recall"
    checkpoint = torch.load(tmp_path / "r/checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["galaxy10"]["model"]["network"] == {"_target_": "outsider.nets.MyNet", "width": 6}

    refused = galaxy10("evaluate", "r", "g.h5", "-o", "e", **PATH)
    assert refused.code == 2
    assert "--trust outsider" in refused.message
    done = galaxy10("evaluate", "r", "g.h5", "-o", "e", "--trust", "outsider", **PATH)
    assert done.code == 0, done.err
    for command in (
        ["predict", "r", "g.h5", "-o", "c.parquet"],
        ["predict", "r", "g.h5", "-o", "d.parquet", "--tta-views", "2", "--no-temperature"],
        ["uncertainty", "r", "g.h5", "-o", "u", "--mc-dropout", "3"],
        ["export", "r", "-o", "m.onnx"],
    ):
        done = galaxy10(*command, **PATH, GALAXY10_TRUST="outsider")
        assert done.code == 0, done.err
    # Pages need nobody's code: the package is not even importable here.
    for command in (["report", "r", "-o", "page"], ["compare", "r", "-o", "side"], ["runs", "."]):
        done = galaxy10(*command)
        assert done.code == 0, done.err


@pytest.mark.long
def test_a_users_module_overrides_what_differs(own, tmp_path):
    done = own("model=mymodule", "run.dir=r", "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR",
               "~scheduler.pct_start", "~scheduler.div_factor")  # fmt: skip
    assert done.code == 0, done.err
    rows = pd.read_csv(tmp_path / "r/metrics.csv")
    assert {"train/loss", "train/logit_size", "val/macro_f1"} <= set(rows)
    assert not [name for name in rows if name.endswith(("_step", "_epoch"))]  # Lightning's copies of what is logged
    assert done.result["test/logit_size"] > 0
    assert "train/accuracy" not in rows  # its training step hands out no logits
    assert rows["lr"].tolist() == sorted(rows["lr"], reverse=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=mynet", "+model.network.widht=3"], "takes no widht: did you mean width?"),
        (["model=mynet", "model.network._target_=outsider.nets.MyNett"], "has no MyNett: did you mean MyNet?"),
        (["model=mynet", "model.network._target_=nothere.Net"], "there is no module nothere"),
        (["optimizer._target_=torch.optim.Adamw"], "has no Adamw: did you mean Adam"),
        (["optimizer=sgd", "optimizer._target_=torch.optim.RAdam"], "takes no momentum"),
        (["loss=weighted", "+loss.powr=1"], "takes no powr: did you mean power?"),
        (["callbacks=weight_norm", "+callbacks.weight_norm.scal=1"], "did you mean scale?"),
        (["model=mynet", "model._target_=outsider.nets.MyNet"], "no galaxy10.models.Classifier; name a network alone"),
        (["loss=sharp", "~loss._partial_"], "outsider.losses.sharp is itself the loss of logits and labels"),
        (["scheduler=none", "scheduler._target_=torch.optim.lr_scheduler.OneCycleLR"], "needs max_lr; add +scheduler"),
        (["scheduler=none", "scheduler._target_=torch.optim.lr_scheduler.StepLR"], "needs step_size; add +scheduler"),
        (["loss=1.5"], "there is no loss=1.5 (choices: cross_entropy,"),
        (["monitor=val/acuracy"], "there is no metric val/acuracy: did you mean val/accuracy?"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_theirs_is_refused_before_data_are_read(words, message, here, tmp_path):
    write_galaxies(tmp_path / "g.h5")
    done = here("train.py", *CONF, "data=hdf5", "data.path=g.h5", "logger=csv", *words)
    assert done.code == 2
    assert message in done.message
    assert not (tmp_path / "runs").exists()
