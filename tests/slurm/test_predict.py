"""A catalogue made by the tasks of a job array."""

import pandas as pd
import pytest

from tests.slurm.conftest import EXPERIMENT, TRAIN

pytestmark = [pytest.mark.long, pytest.mark.slow]

PREDICT = TRAIN.with_name("predict.sbatch")


def test_each_array_task_predicts_a_shard_and_unreadable_images_fail_no_job(slurm, folder, train, galaxy10):
    trained = train(*EXPERIMENT, "data.path=few.h5", "trainer.max_epochs=1", "run.dir=trained", cwd=folder)
    assert trained.code == 0, trained.err
    (folder / "broken.jpg").write_text("not an image")
    words = ("trained", "few.h5", "broken.jpg", "--batch-size", "8", "-o")
    array = slurm.submit("--array=3-4", PREDICT, *words, "shards.parquet", cwd=folder)
    assert [slurm.ended(f"{array}_{task}") for task in (3, 4)] == ["COMPLETED", "COMPLETED"], array
    merged = galaxy10("merge", folder / "shards.parquet")
    assert merged.code == 3, merged.err
    inputs = (folder / "trained", folder / "few.h5", folder / "broken.jpg", "--batch-size", "8")
    assert galaxy10("predict", *inputs, "-o", folder / "whole.parquet").code == 3
    tables = [pd.read_parquet(folder / f"{name}.parquet").drop(columns="path") for name in ("shards", "whole")]
    assert len(tables[0]) == 120
    pd.testing.assert_frame_equal(*tables)
