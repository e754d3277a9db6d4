"""Names from anybody's files are text: on pages, in Markdown, and on a terminal."""

import json
import re
from pathlib import Path

import pytest

from galaxy10.console import printable
from galaxy10.data.sidecars import check_catalogue_sidecars
from galaxy10.reports import html
from galaxy10.reports.compare import compare_runs
from galaxy10.reports.inspect import inspect_file
from galaxy10.reports.run import build_report
from tests.galaxies import write_galaxies
from tests.reports.conftest import make_run, undrawn  # noqa: F401 - fixtures

TEMPLATES = sorted((Path(html.__file__).parent / "templates").glob("*.j2"))
SCRIPT = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
NAMES = [SCRIPT, "'onmouseover='alert(1)", "</title><b>x", "{{ 7 * 7 }}", "$\\undefined{$"]
POLICY = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'


def assert_harmless(page):
    assert POLICY in page
    assert not re.search(r"<script|<img src=x|</title><b>|\bon\w+='", page)
    assert "&lt;script&gt;" in page


@pytest.mark.long
@pytest.mark.usefixtures("undrawn")
def test_hostile_names_on_the_pages_of_runs(make_run, tmp_path):  # noqa: F811
    runs = [make_run(f"run{seed}", class_names=NAMES, seed=seed) for seed in (0, 1)]
    for run in runs:
        about = json.loads((run / "provenance.json").read_text())
        about |= {"command": SCRIPT, "python": SCRIPT, "packages": {SCRIPT: SCRIPT}}
        about["data"]["path"], about["split"]["notes"], about["split"]["protocol"] = SCRIPT, [SCRIPT], SCRIPT
        about["model"]["weights"] = about["model"]["name"] = SCRIPT
        (run / "provenance.json").write_text(json.dumps(about))
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps({**status, "error": SCRIPT}))
        page = build_report(run).read_text()
        assert_harmless(page)
        assert "{{ 7 * 7 }}" in page
    assert_harmless(compare_runs(runs, tmp_path / "out").read_text())
    assert "<script>" not in (tmp_path / "out/comparison.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_hostile_names_on_the_page_of_a_file(tmp_path):
    path = write_galaxies(tmp_path / "<script>alert(1)<b>.h5", num_classes=5, names=NAMES)
    assert_harmless(inspect_file(path, tmp_path / "page").read_text())


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_template_escapes_all_it_is_given(template):
    """Also those that need a study or trained runs: no filter switches escaping off, every attribute is quoted."""
    text = template.read_text()
    environment = html._environment()
    assert environment.autoescape is True
    assert not re.search(r"\|\s*safe\b|autoescape|Markup|<script|javascript:|\bon\w+\s*=", text)
    for tag in re.findall(r"<[a-z][^<>]*\{\{.*?\}\}[^<>]*>", text):
        outside = re.sub(r'"[^"]*"', "", tag)
        assert "{{" not in outside, tag
    linked = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert all(link.startswith("#") or link in ("{{ p.uri }}", "{{ card.uri }}") for link in linked), linked


def test_every_page_has_a_policy_that_allows_no_script():
    for template in TEMPLATES:
        if template.name not in ("base.html.j2", "parts.html.j2"):
            assert template.read_text().startswith('{% extends "base.html.j2" %}')
    assert POLICY in (TEMPLATES[0].parent / "base.html.j2").read_text()


def test_control_characters_do_not_reach_the_terminal(here, tmp_path):
    assert printable("é\tb\n\x1b]0;x\x07\x9b") == "é\tb\n\\x1b]0;x\\x07\\x9b"
    done = here("galaxy10", "report", "\x1b[2Jgone")
    assert done.code == 2
    assert "\\x1b[2Jgone" in done.message


@pytest.mark.parametrize(
    "status",
    [
        {"state": "[red]x[/nothing]", "job": "[bold]", "error": "\x1b[2J[link=file:///etc]"},
        {"state": "finished", "epoch": "many"},
        {"state": "finished", "best": {"metric": 3, "value": "high"}},
        {"state": ["list"], "best": {"metric": [], "value": None}},
    ],
    ids=str,
)
def test_a_list_of_runs_shows_what_a_hostile_one_says_as_text(status, here, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/config.yaml").write_text("trainer: {max_epochs: 2}")
    (tmp_path / "r/status.json").write_text(json.dumps(status))
    done = here("galaxy10", "runs", ".")
    assert done.code == 0, done.err
    assert "\x1b[2J" not in done.out
    assert "[red]x[/nothing]" in done.out or "unreadable" in done.out


@pytest.mark.parametrize("name", ["../elsewhere.parquet", "", 3, None, "/etc/passwd", "a/b"])
def test_a_record_names_no_file_elsewhere(name, tmp_path):
    (tmp_path / "cat.json").write_text(json.dumps({"plan": {}, "output": name, "failed": 1}))
    check_catalogue_sidecars(tmp_path / "cat.parquet")
