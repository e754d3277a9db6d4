"""The signals that ask a process to stop, heard in one way everywhere."""

import os
import signal
from pathlib import Path

import pytest

import galaxy10
from galaxy10.exit_codes import ExitCode, describe_exit, signal_exit_code
from galaxy10.runs.signals import (
    SIGNALS,
    Interrupted,
    SignalHandler,
    collect_signals,
    ignore_signals,
    interruptible,
)


@pytest.fixture(autouse=True)
def handlers():
    """Every test leaves the handlers as it has found them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_collected_and_passed_on_and_the_handlers_before_come_back(number, handlers):
    told = []
    with collect_signals(told.append) as received:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == told == [number, signal.SIGTERM]
    assert {n: signal.getsignal(n) for n in SIGNALS} == handlers
    with pytest.raises(ZeroDivisionError), collect_signals():
        raise ZeroDivisionError
    assert {n: signal.getsignal(n) for n in SIGNALS} == handlers


@pytest.mark.parametrize("number", SIGNALS)
def test_work_stops_at_once_or_where_it_can_be_gone_on_with(number):
    handler = SignalHandler()
    handler.install()
    with pytest.raises(Interrupted) as interrupted:
        os.kill(os.getpid(), number)
    assert interrupted.value.number == number
    handler = SignalHandler()
    handler.install()
    handler.deferring = True
    os.kill(os.getpid(), number)  # remembered
    os.kill(os.getpid(), number)  # the same one, told twice
    with pytest.raises(Interrupted):
        handler.raise_if_signalled()


@pytest.mark.parametrize("number", SIGNALS)
def test_interruptible_work_ends_where_it_is(number, handlers):
    with pytest.raises(Interrupted) as interrupted, interruptible():
        os.kill(os.getpid(), number)
    assert interrupted.value.number == number
    assert {n: signal.getsignal(n) for n in SIGNALS} == handlers


def test_signals_that_another_program_needs_can_be_left_to_it(handlers):
    with collect_signals(numbers=(signal.SIGTERM,)) as received:
        assert signal.getsignal(signal.SIGUSR1) == handlers[signal.SIGUSR1]
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_handlers_are_set_in_one_place():
    folder = Path(galaxy10.__file__).parent
    setters = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if "signal.signal(" in path.read_text()
    }
    assert setters == {"runs/signals.py"}


def test_ignored_signals_change_nothing():
    ignore_signals()
    for number in SIGNALS:
        os.kill(os.getpid(), number)


def test_exit_codes_are_those_that_the_documents_name():
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3]
    assert (signal_exit_code(signal.SIGINT), signal_exit_code(signal.SIGTERM)) == (130, 143)
    assert describe_exit(-signal.SIGKILL) == "killed by SIGKILL"
    assert describe_exit(ExitCode.FAILED) == "ended with exit code 1"
