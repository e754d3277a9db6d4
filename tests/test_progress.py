"""How far long work is, where no terminal watches: once a minute, by a clock that the test moves."""

import logging
from types import SimpleNamespace

import pytest

from galaxy10.evaluation.evaluation_progress import EvaluationProgress
from galaxy10.progress import EveryMinute, Progress, duration
from galaxy10.training.callbacks import TrainingProgress


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(caplog, monkeypatch):
    """The messages so far."""
    monkeypatch.setattr(logging.getLogger("galaxy10"), "propagate", True)
    caplog.set_level(logging.INFO, logger="galaxy10")
    return lambda: [record.getMessage() for record in caplog.records]


def batch(images):
    return {"labels": list(range(images))}


def test_a_line_a_minute_says_how_far_how_fast_and_how_long(clock, said):
    progress = Progress("reading images", 17_736, bar=False, every=EveryMinute(clock))
    for second in range(1, 151):
        clock.now = 1000 + second
        progress.update(80 * second)
    assert said() == [
        "reading images: 4,800 of 17,736, 80 images/s, 2 min 42 s left",
        "reading images: 9,600 of 17,736, 80 images/s, 1 min 42 s left",
    ]


def test_what_was_done_before_does_not_count_for_the_speed(clock, said):
    progress = Progress("predicting", 10_000, done=9_000, bar=False, every=EveryMinute(clock))
    clock.now += 60
    progress.update(9_500)
    assert said() == ["predicting: 9,500 of 10,000, 8 images/s, 1 min 00 s left"]


def test_without_a_total_nothing_is_said_of_what_is_left(clock):
    progress = Progress("epoch 1", None, unit="batches", bar=False, every=EveryMinute(clock))
    clock.now += 10
    progress.update(5, images=320)
    assert progress.line() == "epoch 1: 5 batches, 32 images/s"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7_500, "2 h 05 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def trainer_of(**more):
    return SimpleNamespace(
        is_global_zero=True, world_size=2, sanity_checking=False, current_epoch=0, max_epochs=3,
        num_training_batches=100, num_val_batches=[10], num_test_batches=[20], **more,
    )  # fmt: skip


def test_training_tells_within_an_epoch_and_at_its_end(clock, said):
    shown, trainer = TrainingProgress(bar=False, metrics=["val/mcc"], every=EveryMinute(clock)), trainer_of()
    module = SimpleNamespace(metrics={"train/loss": 0.51234, "val/mcc": 0.3, "val/accuracy": None, "val/f1_spiral": 1})
    shown.on_train_start(trainer, module)
    shown.on_train_epoch_start(trainer, module)
    for number in range(100):
        shown.on_train_batch_start(trainer, module, batch(16), number)
        clock.now += 2
        shown.on_train_batch_end(trainer, module, None, batch(16), number)
    shown.on_train_epoch_end(trainer, module)
    assert said() == [
        "epoch 1/3: 30 of 100 batches, 16 images/s, 2 min 20 s left",
        "epoch 1/3: 60 of 100 batches, 16 images/s, 1 min 20 s left",
        "epoch 1/3: 90 of 100 batches, 16 images/s, 20 s left",
        "epoch 1/3: train/loss 0.512, val/mcc 0.300 (200 s)",
    ]


def test_an_epoch_that_goes_on_in_its_middle_counts_from_there(clock, said):
    shown, trainer = TrainingProgress(bar=False, every=EveryMinute(clock)), trainer_of()
    shown.on_train_start(trainer, None)
    for number in range(50, 81):
        shown.on_train_batch_start(trainer, None, batch(16), number)
        clock.now += 2
        shown.on_train_batch_end(trainer, None, None, batch(16), number)
    assert said() == ["epoch 1/3: 80 of 100 batches, 16 images/s, 40 s left"]


def test_short_phases_that_follow_each_other_are_told_of_together(clock, said):
    """Every validation here takes 20 s and comes after 20 s of training: neither lasts a minute."""
    shown, trainer = TrainingProgress(bar=False, every=EveryMinute(clock)), trainer_of()
    for number in range(0, 30, 10):
        for step in range(number, number + 10):
            shown.on_train_batch_start(trainer, None, batch(16), step)
            clock.now += 2
            shown.on_train_batch_end(trainer, None, None, batch(16), step)
        shown.on_validation_start(trainer, None)
        for step in range(10):
            clock.now += 2
            shown.on_validation_batch_end(trainer, None, None, batch(16), step)
        shown.on_validation_end(trainer, None)
    assert said() == [
        "epoch 1/3: 20 of 100 batches, 16 images/s, 2 min 40 s left",
        "validating: 10 of 10 batches, 16 images/s",
    ]


def test_scoring_tells_in_one_process_only(clock, said):
    for is_main in (False, True):
        shown, trainer = EvaluationProgress(bar=False, every=EveryMinute(clock)), trainer_of()
        trainer.is_global_zero = is_main
        shown.on_test_start(trainer, None)
        for number in range(20):
            clock.now += 7
            shown.on_test_batch_end(trainer, None, None, batch(64), number)
        shown.on_test_end(trainer, None)
        assert bool(said()) == is_main
    assert said() == [
        "testing: 9 of 20 batches, 18 images/s, 1 min 17 s left",
        "testing: 18 of 20 batches, 18 images/s, 14 s left",
    ]
