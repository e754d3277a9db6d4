"""Messages are plain lines on standard error; details come only when asked for."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import galaxy10
from galaxy10.console import LEVEL_VARIABLE, set_up_logging
from galaxy10.errors import Galaxy10Error


@pytest.fixture(autouse=True)
def logger(monkeypatch):
    """The package's logger as a new process has it; other tests find it as it was."""
    logger = logging.getLogger("galaxy10")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.delenv(LEVEL_VARIABLE, raising=False)
    level = logger.level
    yield logger
    logger.setLevel(level)


def speak():
    logger = logging.getLogger("galaxy10.data.store")
    logger.debug("opened %s", "a.store")
    logger.info("run     r")
    logger.error("error: no")


def test_messages_are_plain_lines_on_standard_error(capsys):
    set_up_logging()
    set_up_logging()  # a second time changes nothing
    speak()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "run     r\nerror: no\n"


def test_verbose_adds_details_with_time_level_and_origin(capsys):
    set_up_logging(verbose=True)
    speak()
    detail, *plain = capsys.readouterr().err.splitlines()
    assert plain == ["run     r", "error: no"]
    time, _, rest = detail.partition(" ")
    assert rest == "DEBUG galaxy10.data.store: opened a.store"
    assert len(time.split(":")) == 3


@pytest.mark.parametrize(
    ("level", "lines"), [("DEBUG", 3), ("debug", 3), ("INFO", 2), ("", 2), ("WARNING", 1), ("ERROR", 1)]
)
def test_the_environment_says_how_much_is_told(level, lines, capsys, monkeypatch):
    monkeypatch.setenv(LEVEL_VARIABLE, level)
    set_up_logging()
    speak()
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_an_unknown_level_is_refused_in_one_line_that_can_be_shown(capsys, monkeypatch):
    monkeypatch.setenv(LEVEL_VARIABLE, "loud")
    with pytest.raises(Galaxy10Error, match=r"GALAXY10_LOG_LEVEL=loud .* expected DEBUG or INFO or WARNING or ERROR"):
        set_up_logging()
    speak()
    assert capsys.readouterr().err == "run     r\nerror: no\n"


def test_in_another_program_messages_go_where_it_sends_them(caplog, capsys):
    with caplog.at_level(logging.INFO):
        speak()
    assert [record.message for record in caplog.records] == ["run     r", "error: no"]
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_ends_no_work():
    program = (
        "import logging, sys; from galaxy10.console import set_up_logging; set_up_logging(); sys.stdin.read(); "
        "[logging.getLogger('galaxy10').info('x' * 99) for _ in range(9999)]; print('done')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stderr.close()
    process.stdin.close()
    assert process.stdout.read() == b"done\n"
    process.wait()
    process.stdout.close()


def test_only_the_console_writes_to_standard_error():
    folder = Path(galaxy10.__file__).parent
    writers = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if "file=sys.stderr" in path.read_text()
    }
    assert writers == {"console.py"}
