"""The names of a run directory's files stand in one place, and a directory in another format is refused in one line."""

import ast
import json
from pathlib import Path, PurePath

import pytest

import galaxy10
from galaxy10.errors import Galaxy10Error
from galaxy10.reports.compare import compare_runs
from galaxy10.runs.directory import choose_run_directory
from galaxy10.runs.files import FORMAT, RunFiles
from galaxy10.runs.listing import list_runs, print_runs
from galaxy10.runs.record import read_run
from galaxy10.runs.trained import check_run

PACKAGE = Path(galaxy10.__file__).parent
# A study has a page of its own, and torch's hub a folder of its own.
EXCEPTIONS = {("sweeps/report.py", "report.html"), ("models/hub.py", "checkpoints")}


def run_file_names() -> tuple[set[str], set[str]]:
    """Names of files, and of the folders that only a run directory has, as RunFiles knows them."""
    files = RunFiles(Path())
    paths = [path for path in vars(files).values() if isinstance(path, PurePath)]
    paths += [files.predictions("test"), files.predictions("val"), files.samples("batch"), files.samples("noise")]
    names = {path.name for path in paths if path.suffix}
    return names, {path.parts[0] for path in paths if len(path.parts) > 1}


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """The nodes that are documentation."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds)]
    return {body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)}


def spelled(source: str) -> list[str]:
    """Which names of a run's files stand in a source file as paths; those in sentences do not count."""
    names, folders = run_file_names()
    tree = ast.parse(source)
    ignored = docstrings(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in ignored:
            first, slash, _ = node.value.partition("/")
            is_name = node.value.rsplit("/", 1)[-1] in names or (slash and first in folders)
            found += [node.value] if is_name and " " not in node.value else []
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
            found += [node.right.value] if node.right.value in folders else []
    return found


def test_spelled_names_are_found():
    names, folders = run_file_names()
    assert {"provenance.json", "status.json", "config.yaml", "split.parquet", "best.ckpt", "test.parquet"} <= names
    assert folders == {"checkpoints", "predictions", "samples"}
    assert spelled('read(run / "provenance.json")') == ["provenance.json"]
    assert spelled('path = run / "predictions"') == ["predictions"]
    assert spelled('path = f"{run}/status.json"') == ["/status.json"]
    assert spelled('path = f"predictions/{subset}.parquet"') == ["predictions/"]
    assert spelled('"""About status.json."""\nsay("status.json does not say")') == []


def test_only_the_package_runs_spells_the_names_of_a_runs_files():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("runs/"):
            found |= {(name, text) for text in spelled(path.read_text())}
    assert found == EXCEPTIONS


@pytest.fixture
def run(tmp_path):
    """A run directory as an earlier version of galaxy10 left it: its provenance has no format."""
    files = RunFiles(tmp_path / "runs" / "r")
    files.write_config({"model": {"name": "simple_cnn"}, "trainer": {"max_epochs": 2}})
    files.write_status({"state": "finished", "epoch": 1, "metrics": {"test/accuracy": 0.5}})
    files.best.parent.mkdir()
    files.best.touch()
    provenance = {"galaxy10": "0.0.9", "git": {"commit": "0123456789abcdef"}, "split": {"hash": "5f1d"}}
    files.provenance.write_text(json.dumps(provenance))
    return files.path


def resume(run):
    config = {"run": {"dir": str(run), "overwrite": False, "test": True}, "model": {"name": "simple_cnn"}}
    return choose_run_directory(config | {"trainer": {"max_epochs": 2}}, [])


@pytest.mark.parametrize("read", [check_run, read_run, resume])
@pytest.mark.parametrize("found", [None, 1, 3, "2"])
def test_a_run_in_another_format_is_refused_naming_what_made_it(run, read, found):
    provenance = RunFiles(run).read_provenance()
    RunFiles(run).provenance.write_text(json.dumps(provenance | ({"format": found} if found else {})))
    with pytest.raises(Galaxy10Error) as refused:
        read(run)
    message = str(refused.value)
    assert "\n" not in message
    for word in (str(run), "galaxy10 0.0.9, commit 0123456789ab", f"reads format {FORMAT}", "train again"):
        assert word in message
    RunFiles(run).write_provenance(provenance)  # and what this version writes, it reads
    assert read(run)


def test_compare_leaves_out_what_it_cannot_read_and_says_why(run, tmp_path):
    with pytest.raises(Galaxy10Error, match=r"r: it was written by galaxy10 0\.0\.9, commit 0123456789ab"):
        compare_runs([run], tmp_path / "out")


def test_the_list_of_runs_shows_another_format_and_goes_on(run, capsys):
    other = RunFiles(run.with_name("s"))
    other.write_config({"model": {"name": "simple_cnn"}, "trainer": {"max_epochs": 2}})
    other.write_status({"state": "finished", "epoch": 1})
    damaged = RunFiles(run.with_name("t"))
    damaged.config.parent.mkdir()
    damaged.config.write_text("a: [")
    damaged.write_status({"state": "finished", "epoch": 1})
    old, new, broken = list_runs(run.parent)
    assert (old.state, new.state, broken.state) == ("unreadable", "finished", "unreadable")
    assert new.epochs == (2, None)
    print_runs(run.parent)
    printed = capsys.readouterr().out
    assert "galaxy10 0.0.9, commit 0123456789ab" in printed
    assert "config.yaml cannot be read" in printed
