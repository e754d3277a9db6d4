"""Search spaces: what is wrong with one is said before the first trial; what is right gives the trials it promises."""

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from galaxy10.cli.sweep import shared_overrides
from galaxy10.config.compose import to_container
from galaxy10.config.groups import groups
from galaxy10.config.overrides import to_overrides
from galaxy10.config.paths import CONF
from galaxy10.errors import Galaxy10Error
from galaxy10.sweeps.points import all_points, choose, covering_points, to_params
from galaxy10.sweeps.preflight import trial_config
from galaxy10.sweeps.settings import read_sweep
from galaxy10.sweeps.space import read_space
from galaxy10.training.settings import complete
from tests.conftest import ROOT, ended

SPACES = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))
GROUPS = groups()


def space_of(text):
    return read_space(yaml.safe_load(text), GROUPS)


def section_of(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("sweep", overrides=[f"sweep={name}", *overrides]).sweep, resolve=True)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_takes_its_first_trial_and_train_py_takes_all_of_its_corners(name):
    section = section_of(name)
    fixed = shared_overrides(section["overrides"])
    sweep, remarks = read_sweep(section, fixed, GROUPS, None)
    assert not remarks
    assert len(sweep.initial_points) == 1
    for point in [*sweep.initial_points, *covering_points(sweep.parameters)]:
        to_params(sweep.parameters, point)
        trial_config(sweep, to_overrides(point))
    head = (CONF / "sweep" / f"{name}.yaml").read_text().split("name:")[0]
    assert "From:" in head
    assert f"sweep={name}" in head.partition("Command:")[2]


@pytest.mark.parametrize(("name", "experiment"), [
    ("simple_cnn", "baseline_cnn"), ("resnet50", "baseline_resnet50"), ("inceptionv3", "baseline_inceptionv3"),
])  # fmt: skip
def test_the_first_trial_is_the_studys_own_recipe(name, experiment):
    section = section_of(name)
    sweep, _ = read_sweep(section, shared_overrides(section["overrides"]), GROUPS, None)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        recipe = complete(to_container(compose("train", overrides=[f"experiment={experiment}"])))
    trial = trial_config(sweep, to_overrides(sweep.initial_points[0]))
    for part in ("data", "model", "augment", "loss", "param_groups", "optimizer", "scheduler", "trainer", "callbacks"):
        # image_size: the recipe says the network's own size, which auto gives for these files
        mine, theirs = ({k: v for k, v in c[part].items() if k != "image_size"} for c in (trial, recipe))
        assert mine == theirs, part


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "sweep.space is empty"),
        ("augment: {nois: {low: 0, high: 1}}", "there is no setting augment.nois: did you mean augment.noise?"),
        ("modle: {choices: [simple_cnn]}", "there is no setting modle: did you mean model?"),
        ("model: {choices: [simple_cn]}", "there is no model=simple_cn: did you mean simple_cnn?"),
        ("model: {low: 1, high: 2}", "sweep.space.model is a group, which has choices and no range"),
        ("model: {dropout: {low: 0.5, high: 0.1}}", "low=0.5 is above high=0.1; swap them"),
        ("model: {dropout: {low: 0.5, high: 0.5}}", "for a fixed value type model.dropout=0.5"),
        ("model: {dropout: {low: 0, high: 0.5, log: true}}", "log=true needs low above 0, found low=0; type e.g."),
        (
            "model: {dropout: {low: 0, high: 1.5}}",
            "high=1.5 is not allowed for model.dropout; expected a number from 0",
        ),
        ("model: {dropout: {low: 0, hihg: 1}}", "sweep.space.model.dropout has no keyword hihg: did you mean high?"),
        ("model: {dropout: {low: 0}}", "sweep.space.model.dropout.high=null is not allowed; expected a number"),
        ("model: {dropout: {low: 0, high: 1e, log: true}}", "high=1e is not allowed; expected a number"),
        ("model: {dropout: 0.5}", "sweep.space.model.dropout=0.5 is not a range; expected {low: …, high: …}"),
        ("model: {dropout: {low: 0.1, high: 0.5, log: true, step: 0.1}}", "log=true and step do not go together"),
        ("model: {dropout: {low: 0.1, high: 0.5, step: 3}}", "step=3 is not allowed"),
        ("model: {dropout: {choices: [0.1, 1.1]}}", "model.dropout=1.1 is not allowed; expected a number from 0"),
        ("model: {dropout: {choices: []}}", "choices=[] is not allowed; expected a list"),
        ("model: {dropout: {choices: [0.1, 0.1]}}", "contains a value twice"),
        (
            "data: {batch_size: {low: 8.5, high: 64}}",
            "low=8.5 is not allowed for data.batch_size; expected a whole number",
        ),
        (
            "data: {split_seed: {low: 0, high: 9}}",
            "must be the same in all trials, which are evaluated on the same galaxies",
        ),
        ("run: {test: {choices: [true]}}", "run.test must be the same in all trials"),
        ("model: {dropout: {low: 0, high: 0.5, when: {optimizer: sgd}}}", "optimizer, which is not in sweep.space"),
        (
            "{optimizer: {choices: [sgd, adamw]}, model: {dropout: {low: 0, high: 0.5, when: {optimizer: sgdd}}}}",
            "depends on optimizer=sgdd, which is not one of its choices: did you mean sgd?",
        ),
        (
            "{optimizer: {choices: [sgd], lr: {by: optimizer, sgd: {low: 0, high: 1, log: true}}}}",
            "sweep.space.optimizer.lr.sgd: log=true needs low above 0",
        ),
        (
            "{model: {choices: [timm], when: {optimizer: sgd}}, optimizer: {choices: [sgd], when: {model: timm}}}",
            "depend on each other in a circle",
        ),
    ],
)
def test_a_bad_space_is_refused_with_what_to_type_instead(text, message):
    with pytest.raises(Galaxy10Error) as caught:
        space_of(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_stay_whole_and_ranges_of_numbers_do_not():
    space = space_of(
        "{data: {batch_size: {low: 8, high: 64}}, model: {dropout: {low: 0, high: 0.5}}, seed: {low: 0, high: 3}}"
    )
    assert {parameter.key: parameter.integer for parameter in space} == {
        "data.batch_size": True,
        "model.dropout": False,
        "seed": True,
    }
    # A weight decay from 0 to 1 is no choice between two values.
    assert not space_of("{optimizer: {weight_decay: {low: 0, high: 1}}}")[0].integer


def test_what_depends_on_a_choice_comes_with_it_alone():
    space = space_of(
        "{scheduler: {step_size: {low: 1, high: 9, when: {scheduler: step}}, choices: [step, none]}, "
        "optimizer: {choices: [sgd, adamw], lr: {by: optimizer, sgd: {low: 0.1, high: 1.0}}}}"
    )
    points = {}
    for scheduler in ("step", "none"):
        for optimizer in ("sgd", "adamw"):
            pick = {"scheduler": scheduler, "optimizer": optimizer}
            points[scheduler, optimizer] = choose(space, lambda p, pick=pick: pick.get(p.key, p.high))
    assert points["step", "sgd"] == {
        "scheduler": "step",
        "optimizer": "sgd",
        "scheduler.step_size": 9,
        "optimizer.lr": 1.0,
    }
    assert points["none", "adamw"] == {"scheduler": "none", "optimizer": "adamw"}


def test_a_grid_holds_every_point_once():
    space = space_of(
        "{optimizer: {choices: [sgd, adamw], momentum: {choices: [0.8, 0.9], when: {optimizer: sgd}}}, "
        "data: {batch_size: {low: 16, high: 32, step: 8}}}"
    )
    points = all_points(space)
    assert len(points) == 9  # (sgd × 2 momenta + adamw) × 3 sizes
    assert {"optimizer": "adamw", "data.batch_size": 24} in points
    with pytest.raises(Galaxy10Error, match=r"type e\.g\. 'sweep\.space\.model\.dropout=\{choices:\[0,0\.5\]\}'"):
        all_points(space_of("{model: {dropout: {low: 0, high: 0.5}}}"))


@pytest.mark.parametrize(("values", "points"), [
    ("{low: 0.1, high: 0.7, step: 0.1}", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
    ("{low: 0.12345678901234, high: 0.5, step: 0.25}", [0.12345678901234, 0.373456789012]),
])  # fmt: skip
def test_a_grid_of_steps_stays_within_its_range(values, points):
    space = space_of(f"{{model: {{dropout: {values}}}}}")
    assert [to_params(space, point)["model.dropout"] for point in all_points(space)] == points


SIMULATED = ("data=simulated", "sweep.dir=s")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("sweep.n_trial=3",),
            "there is no setting sweep.n_trial: did you mean sweep.n_trials?; `python sweep.py --cfg",
        ),
        (("sweep=simpel_cnn",), "there is no sweep=simpel_cnn: did you mean simple_cnn?"),
        (("sweep.sampler=tpx",), "sweep.sampler=tpx is not allowed: did you mean tpe?"),
        (("sweep.objective=val/makro_f1",), "there is no metric val/makro_f1: did you mean val/macro_f1?"),
        (
            ("sweep.objective=test/accuracy",),
            "would choose a trial by its test galaxies; type sweep.objective=val/accuracy",
        ),
        (("hydra.searchpath=[file:///etc]",), "type --config-dir FOLDER"),
        (("sweep.objective=train/loss",), "type sweep.objective=val/loss"),
        (("sweep.objective=train/images_per_s",), "measured only at the end of a run; type sweep.pruner=none"),
        (("sweep.n_trials=null",), "a study needs an end: type sweep.n_trials=20 or sweep.hours=2"),
        (("model.dropout=0.3",), "model.dropout=0.3 is fixed, and sweep.space varies model.dropout"),
        (("model.dropuot=0.3",), "there is no setting model.dropuot: did you mean model.dropout?"),
        (("run.dir=r",), "each trial has its own run directory inside the study; set sweep.dir"),
        (("-m", "seed=0,1"), "a study runs many trials by itself; leave out -m"),
        (("+sweep.space.optimizer.momentun={low:0.1,high:0.9}",), "there is no setting optimizer.momentun"),
        (("sweep.storage=nowhere",), "sweep.storage=nowhere is not a database URL"),
        (("sweep.action=status",), "there is no study in s"),
        (("data=hdf5", "data.path=none.h5"), "error: data.path=none.h5 does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_command_is_refused_in_one_line_and_leaves_nothing_behind(words, message, start, tmp_path):
    done = ended(start(ROOT / "sweep.py", *SIMULATED, *words, cwd=tmp_path))
    assert done.code == 2, done.err
    assert message in done.message
    assert list(tmp_path.iterdir()) == []


def test_help_and_a_mistyped_key_import_neither_torch_nor_optuna(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "heavy = {'torch', 'lightning', 'timm', 'optuna', 'pandas', 'matplotlib'}\n"
        "atexit.register(lambda: print('heavy:', sorted(heavy & set(sys.modules))))\n"
    )
    for words in (["--help"], ["--cfg", "job"], ["sweep.n_trial=3"]):
        done = ended(start(ROOT / "sweep.py", *words, cwd=tmp_path, fresh=True, PYTHONPATH=str(tmp_path)))
        assert done.out.strip().splitlines()[-1] == "heavy: []"
        if words == ["--help"]:
            assert "python sweep.py sweep=simple_cnn data=simulated" in done.out
        if words[0] == "--cfg":
            assert "baseline_80_20" in done.out  # what the space fixes is composed in
