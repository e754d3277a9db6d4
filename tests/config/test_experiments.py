"""The experiments: each composes, says what it is, and runs; the baseline's have the paper's values."""

import os
import re

import pytest
from hydra import compose, initialize_config_dir

from galaxy10.config.compose import to_container
from galaxy10.config.paths import CONF
from galaxy10.training.settings import check_values

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
STUDY = ("pca", "cnn", "resnet50", "inceptionv3")


def composed(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_container(compose("train", overrides=[f"experiment={name}", *overrides]))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_composes_and_its_values_are_allowed(name):
    check_values(composed(name))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_where_it_comes_from_what_to_expect_what_it_costs_and_how_to_run_it(name):
    head = (CONF / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    assert head.startswith("# @package _global_\n")
    for word in ("From:", "Expect:", "Cost:", f"Command: python train.py experiment={name}\n"):
        assert word in head
    assert not re.search(r"[A-Z]+_[A-Z]+", head), "a number that was never filled in"


@pytest.mark.parametrize("part", STUDY)
def test_every_baseline_experiment_has_a_tuned_one_with_the_same_network_and_split(part):
    study, better = composed(f"baseline_{part}"), composed(f"tuned_{part}")
    for key in ("_target_", "name", "backbone", "image_size", "pretrained"):
        assert study["model"].get(key) == better["model"].get(key)
    assert study["data"] | {"balance": None} == better["data"] | {"balance": None}


@pytest.mark.parametrize("part", ["cnn", "resnet50", "inceptionv3"])
def test_the_studys_training_is_the_studys(part):
    config = composed(f"baseline_{part}")
    assert config["optimizer"]["_target_"] == "torch.optim.SGD"
    assert (config["optimizer"]["lr"], config["optimizer"]["momentum"]) == (0.001, 0.9)
    assert not config["optimizer"]["nesterov"]
    assert (config["scheduler"]["step_size"], config["scheduler"]["gamma"]) == (5, 0.1)
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (32, 20)
    assert config["data"]["protocol"] == ("baseline_80_20" if part == "cnn" else "baseline_90_10")
    if part == "cnn":
        assert (config["model"]["dropout"], config["optimizer"]["weight_decay"]) == (0.25, 0.2)
        assert config["augment"]["noise"] == pytest.approx(1 / 5)
        assert config["data"]["balance"] == "dihedral"
    else:
        assert config["augment"]["crop_area"] == [0.08, 1.0]
        assert config["augment"]["dihedral"] == "horizontal_flip"


def test_the_strictest_recipe_is_the_published_one():
    config = composed("strict_resnet18")
    assert (config["model"]["backbone"], config["model"]["image_size"]) == ("resnet18.tv_in1k", 256)
    assert config["model"]["pretrained"]
    assert config["model"]["tta_views"] == 1
    assert config["optimizer"]["_target_"] == "torch.optim.AdamW"
    assert (config["optimizer"]["lr"], config["optimizer"]["weight_decay"]) == (3e-4, 0.05)
    assert (config["scheduler"]["warmup_epochs"], config["scheduler"]["min_lr_ratio"]) == (1, 0)
    assert (config["trainer"]["max_epochs"], config["data"]["batch_size"]) == (30, 128)
    plain = composed("strict_resnet18", "augment=none")["augment"]
    assert config["augment"] == plain | {"name": "dihedral", "dihedral": "all"}
    assert (config["loss"]["label_smoothing"], config["loss"]["class_weights"]) == (0, None)
    assert config["data"]["balance"] == "none"


def test_a_recipe_gives_way_to_the_command_line_and_to_debug():
    assert composed("baseline_cnn", "optimizer.lr=0.5", "augment=none")["optimizer"]["lr"] == 0.5
    assert composed("baseline_cnn", "debug=fast")["trainer"]["max_epochs"] == 1


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_on_real_galaxies(name, real_galaxies, train, tmp_path):
    os.symlink(real_galaxies, tmp_path / "real.h5")
    large = name == "best_gpu" or "resnet" in name or "inception" in name
    small = ["model.pretrained=false", "model.image_size=75"] if large else []
    small += ["data.train_fraction=0.5"] if name == "few_labels" else []  # seven a class: 5 % of them is none
    done = train("data=hdf5", "data.path=real.h5", "run.dir=r", f"experiment={name}", "debug=fast", *small)
    assert done.code == 0, done.err
    assert done.result["state"] == "finished"
    assert "Warning" not in done.err
    assert (tmp_path / "r" / "report.html").is_file()
