"""Paths in hints"""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from galaxy10.cli.train import _interrupt
from galaxy10.config.overrides import typed_setting
from galaxy10.runs.directory import RunDirectory

PATHS = ["/tmp/lo_é", "my runs/r 1", "a=b", "x,y", "[1]", "r(2)", "it's", 'a"b', "back\\", "a\\b", "$HOME", "#1", "007",
         "null", "1e5", "~x", "渦巻", "{a}", "a:b", "-x"]  # fmt: skip


@pytest.mark.parametrize("path", [*PATHS, "runs/simple_cnn-1a2b/x.y+z"])
def test_what_is_typed_is_what_is_read(path):
    (word,) = shlex.split(typed_setting("run.dir", path))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == path


def test_plain_paths_are_not_quoted():
    assert typed_setting("run.dir", Path("runs/a-1.b")) == "run.dir=runs/a-1.b"


@pytest.mark.parametrize("name", ["lo_é", "a b,c"])
def test_resume(name, tmp_path, capsys, says):
    """A run in a directory with an awkward name is interrupted."""
    directory = RunDirectory(tmp_path / name, started=1.0)
    directory.path.mkdir()
    _interrupt(directory, 15, True)
    said = capsys.readouterr().err
    assert f"""with 'run.dir="{directory.path}"'""" in said
    says(said)
