"""Hydra's grammar and settings hold for every group and key: honoured, or refused in one line."""

import re

import pytest

from galaxy10.config.command_line import translate_arguments
from galaxy10.config.compose import compose
from galaxy10.config.explain import KnownSettings
from galaxy10.config.groups import groups
from galaxy10.config.sections import REQUIRED
from galaxy10.errors import Galaxy10Error
from galaxy10.training.settings import complete_and_check, known_keys

GROUPS = sorted(group for group in groups() if group != "sweep" and not group.startswith("hydra/"))
FORMS = ("~{}", "{}=null", "{}=[]")


def composed(*arguments):
    words = KnownSettings.of("train", arguments, known_keys())
    return compose(translate_arguments(arguments, words.choices), words, complete_and_check)


def config(*arguments):
    (found,) = composed(*arguments).experiments
    return found[0]


@pytest.mark.parametrize("group", [group for group in GROUPS if group not in REQUIRED])
def test_a_group_that_is_left_out_is_absent_however_it_is_typed(group):
    typed = [translate_arguments([form.format(group)], GROUPS) for form in FORMS]
    assert typed == [[f"{group}=[]"]] * len(FORMS)
    found = config(f"{group}=[]")[group]
    if group in ("scheduler", "param_groups"):
        assert found["_target_"] is None
    elif group == "augment":
        assert found == config("augment=none")["augment"]
    elif group == "loss":
        assert found == config()["loss"]
    else:
        assert found in (None, {}, {"name": "none"})


@pytest.mark.parametrize(("group", "form"), list(zip(REQUIRED, (*FORMS, "~{}"), strict=True)))
def test_a_group_that_every_run_needs_says_so(group, form):
    with pytest.raises(Galaxy10Error, match=f"every run needs a choice of {group}; type {group}=… \\(choices: "):
        config(form.format(group))


def test_a_grid_may_leave_a_group_out_in_some_of_its_trials():
    found = composed("-m", "scheduler=null,step", "seed=range(0,2)")
    assert [(c["scheduler"]["_target_"] is None, c["seed"]) for c, _ in found.experiments] == [
        *((True, 0), (True, 1)),
        *((False, 0), (False, 1)),
    ]


@pytest.mark.parametrize(("words", "number"), [
    (["model=glob(*resnet)"], 2), (["-m", "model=choice(simple_cnn,resnet50)"], 2),
    *(pytest.param(words, number, marks=pytest.mark.long) for words, number in (
        (["-m", "seed=range(0,3)"], 3), (["-m", "seed=shuffle(0,1,2)"], 3), (["hydra.mode=MULTIRUN", "seed=0,1"], 2),
        (["-m", "model=glob(*resnet)"], 2),
    )),
])  # fmt: skip
def test_what_a_sweep_can_be_typed_as(words, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if words[0].startswith("model"):
        with pytest.raises(Galaxy10Error, match="add -m"):
            composed(*words)
    else:
        assert len(composed(*words).experiments) == number
    assert not list(tmp_path.iterdir())


def test_hydras_names_for_run_directories_are_ours():
    assert config("hydra.run.dir=a")["run"]["dir"] == "a"
    assert config("hydra.sweep.dir=b")["run"]["root"] == "b"


@pytest.mark.parametrize(("words", "message"), [
    ("hydra.sweep.subdir=x", "type run.root=…"),
    ("hydra.output_subdir=x", "config.yaml in its own directory"),
    ("hydra.job.chdir=true", "type run.dir=…"),
    ("--experimental-rerun=x", "its command again with run.dir=RUN"),
    ("hydra/sweeper=optuna", "python sweep.py sweep=SPACE"),
    ("hydra.mode=x", "cannot be composed"),
    ("--config-name=nix", "there is no nix.yaml"),
    ("~trainer.max_epochs", "type trainer.max_epochs=VALUE"),
    ("~run.test", "type run.test=VALUE"),
    ("~seed", "type seed=VALUE"),
    ("~data.batch_size", "type data.batch_size=VALUE"),
    ("~data.num_images", "has no value here, so there is nothing to remove"),
    ("~modle", "there is no setting modle: did you mean model?"),
    ("+model.dropout=0.1", "exists already; type model.dropout=0.1"),
    ("model.num_components=3", "is a setting of model=pca_logreg, but not of the model chosen here; if its"),
])  # fmt: skip
def test_what_cannot_be_honoured_is_refused_in_one_line(words, message, here, tmp_path):
    done = here("train.py", *words.split())
    assert done.code == 2
    assert message in done.message
    assert not list(tmp_path.iterdir())


def test_several_experiments_at_once_are_named_together():
    found = config("experiment=[baseline_cnn,tuned_cnn]")
    assert found["experiment"] == "baseline_cnn,tuned_cnn"
    assert (found["model"]["tta_views"], found["optimizer"]["lr"]) == (1, 5e-4)  # of the first, of the second


@pytest.fixture
def mine(tmp_path):
    """A user's own folder of configurations."""
    for name, content in {
        "model/mine": "_target_: galaxy10.models.Classifier\nnetwork: {_target_: outsider.nets.Net, width: 32}\n",
        "callbacks/mine": "mine: {_target_: lightning.pytorch.callbacks.Timer, duration: 00:01:00:00}\n",
        "trainer/short": "max_epochs: 2\n",
        "experiment/mine": "# @package _global_\nseed: 7\n",
    }.items():
        path = tmp_path / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "mine"


@pytest.mark.parametrize("option", ["--config-dir={}", "hydra.searchpath=[file://{}]"])
def test_files_of_ones_own_are_known_with_their_keys_and_choices(option, mine):
    option = option.format(mine)
    words = KnownSettings.of("train", [option], known_keys())
    assert {"mine", "resnet50"} <= set(words.choices["model"])
    assert words.has("model.network.width")
    with pytest.raises(Galaxy10Error, match=re.escape("did you mean model.network.width?")):
        compose([option, "model=mine", "model.network.widht=3"], words, lambda config: config)
    with pytest.raises(Galaxy10Error, match=r"there is no callbacks=mien: did you mean mine\?"):
        compose([option, "callbacks=mien"], words, lambda config: config)
    with pytest.raises(Galaxy10Error, match="is a setting of model=mine, but not of the model chosen here"):
        compose([option, "model.network.width=3"], words, lambda config: config)
    arguments = ["model=mine", "model.network.width=3", "callbacks=[early_stopping,mine]", "trainer=short"]
    (found,) = compose([option, *arguments, "experiment=mine"], words, lambda config: config).experiments
    assert found[0]["model"]["network"]["width"] == 3
    assert set(found[0]["callbacks"]) == {"early_stopping", "mine"}
    assert (found[0]["seed"], found[0]["experiment"]) == (7, "mine")
    # What a trainer file does not say is ours, as if it had begun with ours.
    assert found[0]["trainer"] == {**config()["trainer"], "max_epochs": 2}


@pytest.mark.long
def test_a_launcher_that_a_file_of_ones_own_names_is_not_passed_over(tmp_path):
    (tmp_path / "own.yaml").write_text("defaults: [train, {override hydra/launcher: joblib}]\n")
    with pytest.raises(Galaxy10Error, match=r"type hydra/launcher=…"):
        composed("-m", "seed=0,1", "--config-dir", str(tmp_path), "--config-name", "own")
    words = ("-m", "seed=0,1", "--config-dir", str(tmp_path), "--config-name", "own", "hydra/launcher=joblib")
    assert (len(composed(*words).experiments), composed(*words).launcher) == (2, "joblib")


def test_files_that_disappear_or_cannot_be_read_stop_no_command(tmp_path, here):
    mine = tmp_path / "mine" / "model"
    (mine / "a" / "b" / "c" / "d").mkdir(parents=True)
    (mine / "a" / "b" / "c" / "d" / "deep.yaml").write_text("x: 1\n")
    (mine / "gone.yaml").symlink_to(tmp_path / "nowhere.yaml")
    (mine / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (mine / "loop").symlink_to(tmp_path / "mine")
    done = here("train.py", "--config-dir", "mine", "modle=x")
    assert done.code == 2
    assert "there is no setting modle: did you mean model?" in done.message
