"""Paths, quotes and home directories"""

import os
import shlex

import pytest

from galaxy10 import system
from galaxy10.config.paths import PATH_SETTINGS, expand_home
from galaxy10.errors import Galaxy10Error
from galaxy10.system import provide_home
from tests.config.test_grammar import composed, config

PATHS = [
    "/tmp/lo_é", "/d/a=b.h5", "/a (1)/b", "/a,b/c", "/a#b", "/it's", '/a"b', "/a{b}/[c].h5", "/a\\b=c", "/a!b;c&d",
    "/銀河",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["run.dir", "data.path"])
def test_a_path_that_hydra_cannot_read_is_answered_with_the_words_to_type(key, path, says):
    """A path has characters of Hydra's grammar or of the shell."""
    with pytest.raises(Galaxy10Error) as refused:
        config("data=hdf5", f"{key}={path}")
    typed = str(refused.value).partition("type ")[2]
    (word,) = shlex.split(typed)
    section, _, name = key.partition(".")
    assert config("data=hdf5", word)[section][name] == path
    if key == "data.path":
        says(str(refused.value))


@pytest.mark.long
@pytest.mark.parametrize("key", [key for key in PATH_SETTINGS if not key.startswith("sweep.")])
@pytest.mark.parametrize("typed", ["{}=~/x y", "{}='~/x y'"])
def test_the_home_directory_is_expanded_in_every_path(key, typed, monkeypatch, says):
    """`~` in a path, which no shell has expanded."""
    monkeypatch.setenv("HOME", "/home/me")
    section, _, name = key.partition(".")
    assert config("data=hdf5", typed.format(key))[section][name] == "/home/me/x y"
    if "'" not in typed:
        says("expanded")


def test_several_paths_are_expanded_and_an_unknown_home_is_refused(monkeypatch, says):
    """`-m data.path=~/a,~/b`, or the home of a user who does not exist."""
    monkeypatch.setenv("HOME", "/home/me")
    found = composed("-m", "data=hdf5", "data.path=~/a,~/b").experiments
    assert [each["data"]["path"] for each, _ in found] == ["/home/me/a", "/home/me/b"]
    with pytest.raises(Galaxy10Error, match="there is no home directory ~nobody_here; type the whole path") as refused:
        config("data=hdf5", "data.path=~nobody_here/x")
    says(f"expanded; {refused.value}")


def test_a_user_in_no_list_gets_a_home_and_a_name_and_must_type_whole_paths(monkeypatch, tmp_path, says):
    """A container's user is in no list: no HOME, no name."""
    monkeypatch.setattr(system.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(system, "_is_listed_user", lambda: False)
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    provide_home()
    assert os.path.isdir(os.path.expanduser("~"))
    assert os.environ["LOGNAME"] == f"user-{os.getuid()}"
    with pytest.raises(Galaxy10Error, match="there is no home directory ~; type the whole path") as refused:
        expand_home("~/x")
    says(f"a temporary home, and a name; `~` is refused: {refused.value}")
