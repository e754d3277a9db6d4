"""Evaluate a run on a labelled file as in training: `galaxy10 evaluate` without options."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from galaxy10.console import quiet_libraries
from galaxy10.data.datamodule import GalaxyData
from galaxy10.data.resampling import samples_per_class
from galaxy10.data.split import Split, split_hash
from galaxy10.data.store import Store, open_store, store_of_run
from galaxy10.data.votes import NO_VOTES, without_votes
from galaxy10.evaluation.default_metrics import calibration_of_run, default_metrics
from galaxy10.evaluation.evaluation_progress import EvaluationProgress
from galaxy10.evaluation.labelled_file import LabelledFile, subset_table
from galaxy10.evaluation.left_out import LEFT_OUT, check_known, without_galaxies
from galaxy10.evaluation.tables import evaluate_subsets, write_split
from galaxy10.files import make_directory
from galaxy10.metrics.classification import over_present_classes
from galaxy10.models.factory import load_classifier
from galaxy10.models.precision import trained_precision
from galaxy10.runs.files import RunFiles
from galaxy10.runs.trained import run_config
from galaxy10.system import keep_freed_memory

logger = logging.getLogger(__name__)

_LEAK = "the network was trained or chosen on some of these galaxies: these metrics are too optimistic"


def evaluate_as_trained(
    run: Path,
    provenance: dict[str, Any],
    file: LabelledFile,
    out_dir: Path,
    subset: str | None,
    include_trained: bool = False,
) -> dict[str, Any]:
    """Evaluate a run on a checked file and return the object of the JSON line.

    Args:
        provenance: the run's.
        subset: train, val, test or all; None: test on the run's own file, all on any other.
        include_trained: of another file than the run's own, whether to evaluate galaxies that the run was trained or
            validated on, too.

    Raises:
        Galaxy10Error: the file is not the run's own, and `subset` names one of the run's subsets; or the run was
            trained on all of its galaxies.
    """
    quiet_libraries()
    keep_freed_memory()
    config = run_config(run)
    torch.manual_seed(config["seed"])
    module = load_classifier(RunFiles(run).best)
    store, split, file = evaluation_split([run], provenance, file, subset, include_trained)
    data = GalaxyData.from_store(
        store, split, module.class_names, eval_batch_size=config["data"].get("eval_batch_size", 64)
    )
    data.preprocessing = module.preprocessing
    make_directory(out_dir)
    trainer = L.Trainer(
        accelerator=_accelerator(config["trainer"]["accelerator"]),
        devices=1,
        precision=trained_precision(provenance, config),
        plugins=[LightningEnvironment()],  # by itself, Lightning takes the variables of any job for its own
        logger=False,
        callbacks=[EvaluationProgress()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    metrics = evaluate_subsets(trainer, module, data, ["test"], out_dir)
    table = RunFiles(out_dir).read_predictions("test")
    metrics = default_metrics(calibration_of_run(run), table, module.class_names, "test") | metrics
    metrics = over_present_classes(metrics, module.class_names, file.absent, "test/")
    shutil.copyfile(RunFiles(run).config, RunFiles(out_dir).config)
    evaluated = evaluation_provenance(provenance, file, store.content, split, run)
    return write_evaluation(out_dir, data, metrics, evaluated)


def _accelerator(trained_on: str) -> str:
    """Return the run's accelerator, or `auto` if this machine does not have it."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    return trained_on if {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(trained_on, True) else "auto"


def evaluation_split(
    runs: Sequence[Path],
    provenance: dict[str, Any],
    file: LabelledFile,
    subset: str | None,
    include_trained: bool,
) -> tuple[Store, Split, LabelledFile]:
    """Return the file's store, a split whose test subset is the rows to evaluate, and the file.

    The run's own file is returned without notes: nothing has to be assumed about its classes.

    Args:
        runs: of one split.
        include_trained: whether galaxies of another file that the runs were trained or validated on are among them.

    Raises:
        Galaxy10Error: see evaluate_as_trained.
    """
    run, config, source = runs[0], run_config(runs[0]), file.source
    store = open_store(source, store_of_run(source.path, config["data"]))
    store = replace(store, table=file.with_votes(store.table))
    own_file = store.content == provenance["data"]["content"]
    name, table = subset_table(run, source, own_file, subset)
    rows = _evaluated_rows(store.table, file.labels, name, table)
    unlabelled = without_votes(store.table)
    rows.loc[unlabelled, ["subset", "reason"]] = ["dropped", NO_VOTES]
    # Other galaxies than the test subset's have another hash, so that nothing ranks them together.
    own_test = own_file and name == "test"
    notes: tuple[str, ...] = (_LEAK,) if own_file and name in ("train", "val", "all") else ()
    if own_file:
        file = replace(file, absent=(), notes=())
    else:
        for note in file.notes:
            logger.warning(f"note: {note}")
        left_out, known = check_known(runs, store.table, source.path, include_trained)
        rows.loc[left_out, ["subset", "reason"]] = ["dropped", LEFT_OUT]
        file = without_galaxies(file, left_out | unlabelled)
        notes = (*file.notes, *known)
    split = Split(rows, provenance["split"]["hash"] if own_test else split_hash(rows, store.content), notes)
    logger.info(f"evaluating {split.counts()['test']} galaxies of {source.path}" + _whose(own_file, name))
    return store, split, file


def write_evaluation(
    out_dir: Path, data: GalaxyData, metrics: dict[str, float | None], provenance: dict[str, Any]
) -> dict[str, Any]:
    """Write split, provenance and status of an evaluation and return the object of the JSON line."""
    shown = samples_per_class(data.labels("train"), data.balance, len(data.class_names))
    write_split(out_dir, data.split.table, data.class_names, shown)
    files = RunFiles(out_dir)
    files.write_provenance(provenance)
    files.write_status({"state": "finished", "metrics": metrics})
    logger.info(f"test accuracy {metrics['test/accuracy']:.3f}, macro-F1 {metrics['test/macro_f1']:.3f}")
    return {"run_dir": str(out_dir), "state": "finished", "split_hash": data.split.hash, **metrics}


def _whose(own_file: bool, name: str) -> str:
    if not own_file:
        return ""
    return f" (the run's own file: {'all of it' if name == 'all' else f'its {name} subset'})"


def _evaluated_rows(
    store_table: pd.DataFrame, labels: np.ndarray, name: str, table: pd.DataFrame | None
) -> pd.DataFrame:
    """Return a split table whose test subset is the rows to evaluate."""
    rows = pd.DataFrame({"row": store_table["row"], "subset": "test", "fold": -1, "group": store_table["row"]})
    if table is not None and name != "all":
        inside = (table["subset"] == name).to_numpy()
        rows["subset"] = np.where(inside, "test", "dropped")
        rows["reason"] = np.where(inside, "", f"not in the run's {name} subset")
    else:
        rows["reason"] = ""
    rows["label"] = labels
    return rows


def evaluation_provenance(
    provenance: dict[str, Any], file: LabelledFile, content: str, split: Split, run: Path
) -> dict[str, Any]:
    """Return the provenance of an evaluation: the run's own, with the data and split of the evaluated file."""
    source = file.source
    data = {
        **provenance["data"],
        "path": str(source.path.resolve()),
        "num_images": source.num_images,
        "image_shape": [source.height, source.width, 3],
        "content": content,
        "absent_classes": list(file.absent),
    }
    evaluated: dict[str, Any] = {
        "hash": split.hash,
        "protocol": "evaluation",
        "split_seed": None,
        "counts": split.counts(),
        "notes": list(split.notes),
    }
    return {**provenance, "data": data, "split": evaluated, "trained_run": str(run.resolve())}
