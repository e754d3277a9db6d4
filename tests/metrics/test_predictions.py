"""One schema of predictions: in a run, in an evaluation and in a catalogue."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from galaxy10.metrics.predictions import prediction_table
from galaxy10.prediction.prediction_columns import prediction_columns
from galaxy10.runs.files import RunFiles

NAMES = ("Round Smooth", "Spiral", "Edge-on")
SCHEMA = {
    "predicted": pa.int64(),
    "predicted_name": pa.string(),
    **{f"p_{name}": pa.float32() for name in ("round_smooth", "spiral", "edge_on")},
}


def table_of(rows, labels, probabilities):
    """The prediction table of one batch."""
    return prediction_table([(torch.tensor(rows), torch.tensor(labels), torch.tensor(probabilities))], NAMES)


def types(schema):
    return {name: schema.field(name).type for name in schema.names}


def test_runs_evaluations_and_catalogues_have_one_schema(tmp_path):
    probabilities = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.2, 0.6, 0.2]])
    files = RunFiles(tmp_path)
    files.write_predictions("test", table_of([0, 1, 2], [2, 1, 1], probabilities))
    trained = types(pq.read_schema(files.predictions("test")))
    assert trained == {"row": pa.int64(), "label": pa.int64(), **SCHEMA}
    catalogue = prediction_columns(probabilities[None], (np.ones(3), np.ones(3)), NAMES, np.full(3, 0.5))
    assert {name: kind for name, kind in types(catalogue.schema).items() if name in SCHEMA} == SCHEMA
    nothing = prediction_columns(
        np.empty((1, 0, 3)), (np.empty(0), np.empty(0)), NAMES, np.full(3, 0.5)
    )  # no image could be read
    assert nothing.schema == catalogue.schema
    files.write_predictions("val", catalogue.to_pandas())  # as an evaluation with options does
    assert types(pq.read_schema(files.predictions("val"))).items() >= SCHEMA.items()
    for table in (files.read_predictions("test"), catalogue.to_pandas()):
        assert table["predicted"].tolist() == [2, 0, 1]
        assert table["predicted_name"].tolist() == ["Edge-on", "Round Smooth", "Spiral"]
        assert table["p_edge_on"].tolist() == [np.float32(0.7), np.float32(0.2), np.float32(0.2)]


def test_a_table_is_in_file_order_and_has_each_galaxy_once():
    table = table_of([7, 3, 7, 5], [0, 1, 0, 2], np.eye(3, dtype=np.float32)[[0, 1, 0, 2]])
    assert table["row"].tolist() == [3, 5, 7]
    assert table["label"].tolist() == [1, 2, 0]
    assert table["predicted"].tolist() == [1, 2, 0]


def test_equal_probabilities_go_to_the_first_class():
    table = table_of([0], [1], np.full((1, 3), 1 / 3, dtype=np.float32))
    assert table["predicted_name"].tolist() == ["Round Smooth"]
