"""Steps 9 to 11: catalogues and evaluation, two workers of a study on one card, and a run of one process under NCCL."""

import json
import re
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from PIL import Image
from same import REFERENCE
from step import HERE, ROOT, CommandFailed, Step, last_line, main

ONE_VIEW = ("--tta-views", "1", "--no-temperature")


def catalogue(step: Step) -> None:
    """Measure predict and evaluate with the run of step 6: formats, views, precision."""
    run = step.work / REFERENCE
    number = 48 if step.small else 4000
    write_jpegs(step, number)
    part = step.survey
    if step.small:
        part = step.work / "part.h5"
        with h5py.File(step.survey) as whole, h5py.File(part, "w") as file:
            for key in ("images", "ans"):
                file[key] = whole[key][:number]
                file[key].attrs.update(whole[key].attrs)
    hdf5, jpeg = f"predict {number} HDF5 images", f"predict {number} JPEG files"
    in_bf16 = (HERE / "commands.py", "in_bf16")
    predict(step, f"{hdf5}, 1 view, fp32", run, part, "fp32.parquet", *ONE_VIEW)
    predict(step, f"{hdf5}, 1 view, bf16", run, part, "bf16.parquet", *ONE_VIEW, program=in_bf16)
    compare_tables(
        step, "bf16 compared with fp32 probabilities", step.work / "fp32.parquet", step.work / "bf16.parquet"
    )
    predict(step, f"{jpeg}, 1 view, fp32", run, step.work / "jpeg", "jpeg.parquet", *ONE_VIEW)
    auto = ("--batch-size", "auto")
    predict(step, f"{hdf5}, 1 view, fp32, batch size auto", run, part, "auto.parquet", *ONE_VIEW, *auto)
    predict(step, f"embed {number} HDF5 images, fp32", run, part, "embeddings", command="embed")
    with_onnx(step, hdf5, run, part)
    if not step.small:
        predict(step, f"{jpeg}, 8 views, fp32", run, step.work / "jpeg", "jpeg-8.parquet")
        predict(step, f"{hdf5}, 8 views, fp32", run, part, "hdf5-8.parquet")
    views = 2 if step.small else 8
    step.attempt(f"evaluate {number} images, {views} views", lambda: evaluate(step, run, part))


def with_onnx(step: Step, images: str, run: Path, part: Path) -> None:
    """Measure predict in ONNX Runtime, where the installed package computes on GPUs."""
    what = f"{images}, 1 view, ONNX Runtime"
    if find_spec("onnxruntime") is None:
        return step.skip(what, "onnxruntime is not installed")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return step.skip(what, f"onnxruntime {onnxruntime.__version__} computes on the CPU; onnxruntime-gpu does not")
    predict(step, what, run, part, "onnx.parquet", *ONE_VIEW, "--engine", "onnx", "--device", "cuda")
    compare_tables(step, "ONNX Runtime compared with fp32", step.work / "fp32.parquet", step.work / "onnx.parquet")


def write_jpegs(step: Step, number: int) -> None:
    """Write the survey's first images as JPEG files."""
    folder = step.work / "jpeg"
    folder.mkdir(exist_ok=True)
    with h5py.File(step.survey) as file, ThreadPoolExecutor() as pool:
        images = file["images"][:number]
        list(pool.map(lambda i: Image.fromarray(images[i]).save(folder / f"{i:05}.jpg", quality=95), range(number)))


def predict(
    step: Step,
    what: str,
    run: Path,
    images: Path,
    output: str,
    *options: str,
    program: Any = ("-m", "galaxy10"),
    command: str = "predict",
) -> None:
    """Measure one catalogue or embeddings: the rate that the command prints, and seconds from start to exit."""

    def measure() -> dict[str, Any]:
        seconds, _, log = step.command(*program, command, run, images, "-o", step.work / output, *options)
        rates = re.findall(r"([\d,.]+) images/s", log)
        return {"images_per_s": float(rates[-1].replace(",", "")) if rates else None, "seconds": seconds}

    step.attempt(what, measure)


def compare_tables(step: Step, what: str, one: Path, two: Path) -> None:
    """Compare the probabilities of two catalogues."""
    if not (one.exists() and two.exists()):
        return
    tables = [pd.read_parquet(path) for path in (one, two)]
    columns = [name for name in tables[0].columns if name.startswith("p_")]
    differences = np.abs(tables[0][columns].to_numpy() - tables[1][columns].to_numpy())
    same = (tables[0]["predicted"].to_numpy() == tables[1]["predicted"].to_numpy()).mean()
    step.row(what, largest_difference=float(differences.max()), mean_difference=float(differences.mean()),
             same_class_share=float(same))  # fmt: skip


def evaluate(step: Step, run: Path, file: Path) -> dict[str, Any]:
    """Evaluate a run on every image of a file."""
    options = () if file != step.survey else ("--subset", "all")
    seconds, output, _ = step.galaxy10("evaluate", run, file, "-o", step.work / "evaluated", *options)
    result = json.loads(last_line(output))
    accuracy = next(value for key, value in result.items() if key.endswith("accuracy"))
    (table,) = (step.work / "evaluated" / "predictions").glob("*.parquet")
    return {"images": len(pd.read_parquet(table)), "accuracy": accuracy, "seconds": seconds}


def in_bf16(words: list[str]) -> None:
    """Run the command `galaxy10` under autocast, which the command itself does not use: catalogues are float32."""
    import torch

    usual = torch.Tensor.numpy

    def numpy(self: torch.Tensor, **options: Any) -> Any:
        return usual(self.float() if self.dtype == torch.bfloat16 else self, **options)

    torch.Tensor.numpy = numpy  # the original does not support bfloat16
    sys.argv = ["galaxy10", *words]
    with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16):
        runpy.run_module("galaxy10", run_name="__main__", alter_sys=True)


def study(step: Step) -> None:
    """Compare trials per hour of two workers on one card with one worker, on the same points of the space."""
    found = {}
    for workers in (1, 2):
        trials = workers if step.small else 4
        words = ["sweep=simple_cnn", "data=hdf5", f"data.path={step.survey}", "logger=csv",
                 f"sweep.workers={workers}", "sweep.workers_per_gpu=2", "sweep.sampler=random", "sweep.pruner=none",
                 f"sweep.n_trials={trials}", f"sweep.dir={step.work / f'study-{workers}'}"]  # fmt: skip
        short = ["trainer.max_epochs=1", "trainer.limit_train_batches=2"]
        words += short if step.small else ["trainer.max_epochs=3"]

        def measure(words: list[str] = words, trials: int = trials) -> dict[str, Any]:
            seconds, output, _ = step.command(ROOT / "sweep.py", *words)
            result = json.loads(last_line(output))
            if result["complete"] != trials:
                raise CommandFailed(f"{result['complete']} of {trials} trials are complete")
            return {"trials": trials, "trials_per_hour": 3600 * trials / seconds, "seconds": seconds}

        found[workers] = step.attempt(f"{workers} worker{'s' if workers > 1 else ''}", measure)
    rates = [found[workers].get("trials_per_hour") for workers in (1, 2)]
    if all(rates):
        step.row("two workers ÷ one", ratio=rates[1] / rates[0])


def one_process(step: Step) -> None:
    """Train with one distributed process: NCCL on a card, gloo on a CPU."""
    out = step.work / "backend.json"
    words = ["model=simple_cnn", "trainer.devices=1", "trainer.strategy=ddp", "trainer.max_epochs=1"]
    if step.small:
        words += ["trainer.accelerator=cpu", "trainer.limit_train_batches=3", "model.tta_views=1"]
    run = step.train("ddp", *words, program=(HERE / "watched_train.py", "backend", out))
    split = json.loads((run.path / "provenance.json").read_text())["split"]["counts"]
    rows = pd.read_parquet(run.path / "predictions" / "test.parquet")["row"]
    about = json.loads(out.read_text())
    once = len(rows) == rows.nunique() == split["test"]
    checkpoint = all((run.path / "checkpoints" / f"{name}.ckpt").exists() for name in ("best", "last"))
    step.row("trainer.devices=1 trainer.strategy=ddp", **about, checkpoint=checkpoint, test_images=len(rows),
             each_once=once, test_accuracy=run.result["test/accuracy"], seconds=run.seconds)  # fmt: skip
    if not (once and checkpoint and about["backend"] == ("gloo" if step.small else "nccl")):
        step.failures.append("a test image is missing or repeated, a checkpoint is missing, or the backend is wrong")


if __name__ == "__main__":
    if sys.argv[1:2] == ["in_bf16"]:
        in_bf16(sys.argv[2:])
    else:
        main({"catalogue": catalogue, "study": study, "one_process": one_process})
