"""Wrong commands and broken files: what is typed, and a part of the one-line message.

`python -m tests.cli.bad_input` prints them as a table with the time that each took (docs/bad_input.md).
"""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import torch

from tests.conftest import QUICK, ROOT
from tests.galaxies import write_galaxies

Prepare = Callable[[Path], None]
FILE = ["train.py", "data=hdf5", "data.path=g.h5"]
RESUME = [*FILE, "run.dir=r", *QUICK]
EVALUATE = ["galaxy10", "evaluate", "r", "g.h5", "-o", "out"]


@dataclass(frozen=True)
class Bad:
    """One wrong command, given in a folder with `g.h5` (36 galaxies of 3 classes), changed by `prepare`.

    with_run: the folder also holds `r`, a run of two epochs that was trained on g.h5 by the command RESUME.
    """

    words: list[str]
    message: str
    prepare: Prepare = field(default=lambda folder: None)
    with_run: bool = False


def rewrite(key: str, value: Callable[[np.ndarray], np.ndarray] | None) -> Prepare:
    """Replace a data set of g.h5 by a function of itself; None: remove it."""

    def prepare(folder: Path) -> None:
        with h5py.File(folder / "g.h5", "r+") as file:
            old = file[key][:]
            del file[key]
            if value is not None:
                file[key] = value(old)

    return prepare


def content(name: str, data: bytes | Callable[[bytes], bytes]) -> Prepare:
    """Write a file, or change the one that is there."""

    def prepare(folder: Path) -> None:
        path = folder / name
        path.write_bytes(data if isinstance(data, bytes) else data(path.read_bytes()))

    return prepare


def damage_a_chunk(folder: Path) -> None:
    with h5py.File(folder / "g.h5", "r+") as file:
        images = file["images"][:]
        del file["images"]
        file.create_dataset("images", data=images, chunks=(6, 32, 32, 1), compression="gzip")
    with h5py.File(folder / "g.h5") as file:
        chunk = file["images"].id.get_chunk_info(4)
    with (folder / "g.h5").open("r+b") as file:
        file.seek(chunk.byte_offset + 20)
        file.write(b"\0" * 200)


def pickled(name: str) -> Prepare:
    """A file that, if unpickled, creates the folder `owned`: what a hostile checkpoint could do to anyone's account."""

    class Hostile:
        def __reduce__(self):
            return Path.mkdir, (Path("owned"),)

    def prepare(folder: Path) -> None:
        if name.endswith(".pkl"):
            (folder / name).write_bytes(pickle.dumps(Hostile()))
        else:
            torch.save({"state_dict": Hostile()}, folder / name)

    return prepare


def other_network(name: str) -> Prepare:
    return lambda folder: torch.save({"state_dict": {"fc.weight": torch.zeros(3, 3)}}, folder / name)


def half_finished(then: Prepare) -> Prepare:
    """The run was interrupted after its second epoch, and then something happened to it."""

    def prepare(folder: Path) -> None:
        status = folder / "r" / "status.json"
        status.write_text(status.read_text().replace('"finished"', '"interrupted"'))
        then(folder)

    return prepare


def as_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "w.pth", "w") as archive:
        archive.writestr("hello.txt", "hello")


def without_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "r" / "checkpoints")


TRANSFER = ["model=timm", "model.backbone=resnet18", "model.image_size=32"]

FILES = {
    "no file": Bad(["train.py", "data=hdf5"], "data=hdf5 needs a file: add data.path=FILE.h5"),
    "a missing file": Bad([*FILE[:2], "data.path=none.h5"], "data.path=none.h5 does not exist"),
    "a folder without classes": Bad([*FILE[:2], "data.path=."], "make one folder per class, or give a table"),
    "a missing reader": Bad([*FILE, "++data.reader._target_=nothere.read"], "there is no module nothere"),
    "a function that is no reader": Bad(
        [*FILE, "++data.reader._target_=json.loads"], "json.loads fails on g.h5: TypeError"
    ),
    "a reader for a simulation": Bad(
        ["train.py", "data=simulated", "++data.reader._target_=json.loads"], "data.reader reads data.path"
    ),
    "an augmentation module misspelt": Bad(
        [*FILE, "augment.after=[{_target_: torchvision.transforms.v2.RandomEraser}]"], "did you mean RandomErasing?"
    ),
    "an empty file": Bad(FILE, "is empty (0 bytes)", content("g.h5", b"")),
    "a text file": Bad(FILE, "is not an HDF5 file", content("g.h5", b"hello" * 999)),
    "a truncated file": Bad(FILE, "is truncated", content("g.h5", lambda old: old[: len(old) // 2])),
    "no images": Bad(FILE, "no dataset `images`; it holds ans", rewrite("images", None)),
    "no labels": Bad(FILE, "no dataset `ans`; it holds images", rewrite("ans", None)),
    "grey images": Bad(FILE, "expected (N, H, W, 3) uint8", rewrite("images", lambda x: x[..., 0])),
    "colours first": Bad(FILE, "expected (N, H, W, 3) uint8", rewrite("images", lambda x: x.transpose(0, 3, 1, 2))),
    "images that are not uint8": Bad(FILE, "is float32; expected", rewrite("images", lambda x: x.astype(np.float32))),
    "tiny images": Bad(FILE, "at least 8 px", rewrite("images", lambda x: x[:, :4, :4])),
    "zero images": Bad(FILE, "holds no image", rewrite("images", lambda x: x[:0])),
    "too few labels": Bad(FILE, "`ans` has shape (35,); expected (36,)", rewrite("ans", lambda x: x[1:])),
    "labels as one-hot": Bad(FILE, "one label per image", rewrite("ans", lambda x: np.eye(3)[x])),
    "labels that are not integers": Bad(FILE, "expected whole numbers", rewrite("ans", lambda x: x / 2)),
    "a negative label": Bad(FILE, "negative label -1", rewrite("ans", lambda x: x.astype(int) - 1)),
    "a label beyond the names": Bad([*FILE, "data.class_names=[a,b]"], "holds label 2, but there are only 2 class"),
    "one class only": Bad(FILE, "a classifier needs at least two classes", rewrite("ans", lambda x: x * 0)),
    "a class of two galaxies": Bad(FILE, "too few", rewrite("ans", lambda x: np.where(np.arange(36) < 34, x * 0, 1))),
    "too few images for the folds": Bad([*FILE, "data.num_folds=20", "data.fold=0"], "too few for 20 subsets"),
    "sky positions of another length": Bad(
        FILE, "`ra` is (3,); expected (36,)", lambda folder: rewrite_in(folder, "ra", np.zeros(3))
    ),
    "a damaged chunk": Bad([*FILE, "run.dir=r"], "g.h5 is damaged", damage_a_chunk),
    "a truncated copy of the published file": Bad(
        ["train.py", "data.dir=."], "bytes, the published file 2,735,267,419", content("Galaxy10_DECals.h5", b"x" * 999)
    ),
    "a broken file to inspect": Bad(
        ["galaxy10", "inspect", "g.h5", "-o", "out"], "truncated", content("g.h5", lambda old: old[:3000])
    ),
}  # fmt: skip


def rewrite_in(folder: Path, key: str, value: np.ndarray) -> None:
    with h5py.File(folder / "g.h5", "r+") as file:
        file[key] = value


CONFIGURATION = {
    "a group misspelt": Bad(["train.py", "modle=resnet50"], "there is no setting modle: did you mean model?"),
    "a choice misspelt": Bad(["train.py", "model=resnet5"], "there is no model=resnet5: did you mean resnet50? (choic"),
    "a key misspelt": Bad(["train.py", "model.dropuot=0.5"], "no setting model.dropuot: did you mean model.dropout?"),
    "a trainer key misspelt": Bad(["train.py", "trainer.max_epoch=4"], "did you mean trainer.max_epochs?"),
    "a new key": Bad(["train.py", "+foo=1"], "there is no setting foo"),
    "a word for a number": Bad(
        ["train.py", "data.batch_size=many"], "data.batch_size=many is not allowed; expected a whole number"
    ),
    "a number out of range": Bad(
        ["train.py", "model.dropout=1.5"], "model.dropout=1.5 is not allowed; expected a number from 0"
    ),
    "a value misspelt": Bad(
        ["train.py", "data.protocol=defualt"], "did you mean default?; expected default, baseline_80_20, baseline_90_10"
    ),
    "several values without -m": Bad(
        ["train.py", "model=simple_cnn,resnet50"], "add -m to run one experiment for each"
    ),
    "-m between the settings": Bad(["train.py", "model=resnet5", "-m", "seed=0,1"], "there is no model=resnet5"),
    "a setting typed as an option": Bad(["train.py", "--devices", "4"], "settings are typed as key=value"),
    "a study typed to train.py": Bad(["train.py", "sweep=simple_cnn"], "type `python sweep.py sweep=simple_cnn`"),
    "a launcher misspelt": Bad(["train.py", "-m", "hydra/launcher=slurn", "seed=0,1"], "did you mean slurm?"),
    "bad syntax": Bad(["train.py", "data.class_names=[a"], "cannot be parsed as group=choice or key=value"),
    "a file for the simulation": Bad(
        ["train.py", "data=simulated", "data.path=x.h5"], "type data=hdf5 data.path=FILE.h5"
    ),
    "no variant of the published file": Bad(
        ["train.py", "data.variant=null"], "type data.variant=full or data.variant=no_duplicates"
    ),
    "a variant of your own file": Bad([*FILE, "data.variant=full"], "leave it out with data=hdf5"),
    "an unknown precision": Bad(["train.py", "trainer.precision=8-bit"], "trainer.precision=8-bit is not allowed"),
    "no backbone": Bad(["train.py", "model=timm"], "model.backbone is not set"),
    "a fold without folds": Bad(
        ["train.py", "data=simulated", "data.fold=1"], "data.num_folds and data.fold go together"
    ),
    "a fold beyond the last": Bad(
        ["train.py", "data=simulated", "data.num_folds=5", "data.fold=5"], "folds count from 0 to 4"
    ),
    "an unknown experiment": Bad(["train.py", "experiment=nonsense"], "there is no experiment=nonsense"),
    "an unknown metric": Bad(
        [
            "train.py",
            "data=simulated",
            "callbacks=early_stopping",
            "callbacks.early_stopping.monitor=val/makro_f1",
        ],
        "there is no metric val/makro_f1: did you mean val/macro_f1?",
    ),
    "early stopping with the wrong mode": Bad(
        [
            *("train.py", "data=simulated", "callbacks=early_stopping", "callbacks.early_stopping.mode=max"),
            "callbacks.early_stopping.monitor=val/loss",
        ],
        "would wait for val/loss to get worse; leave it out, or type min",
    ),
    "early stopping without validation": Bad(
        ["train.py", "data=simulated", "callbacks=early_stopping", "trainer.limit_val_batches=0"],
        "trainer.limit_val_batches=0 measures no val/macro_f1",
    ),
    "training on nothing": Bad(
        ["train.py", "data=simulated", "trainer.limit_train_batches=0"], "trains on no batch; leave it out"
    ),
    "validation that never comes": Bad(
        [*FILE, *QUICK, "trainer.val_check_interval=100"],
        "trainer.val_check_interval=100, but an epoch has 3 batches; type trainer.val_check_interval=3",
    ),
    "a strategy for GPUs on the CPU": Bad(
        ["train.py", "data=simulated", "trainer.strategy=fsdp"], "needs NVIDIA GPUs; type trainer.strategy=auto"
    ),
    "too few simulated galaxies for the folds": Bad(
        ["train.py", "data=simulated", "data.num_images=100", "data.num_folds=8", "data.fold=0"],
        "too few for data.num_folds=8; type data.num_images=400",
    ),
    "an argument that the Trainer does not have": Bad(
        ["train.py", "data=simulated", "+trainer.max_epoch=3"],
        "Lightning's Trainer has no trainer.max_epoch: did you mean max_epochs?",
    ),
    "an unknown strategy": Bad(
        ["train.py", "data=simulated", "trainer.strategy=ddpp"],
        "trainer.strategy=ddpp is not allowed: did you mean ddp?",
    ),
    "a malformed time": Bad(
        ["train.py", "data=simulated", "trainer.max_time=2h"], "days:hours:minutes:seconds, e.g. 00:01:30:00"
    ),
    "a file as the kind of data": Bad(["train.py", "data=g.h5"], "type data=hdf5 data.path=g.h5"),
    "a setting without =": Bad(["train.py", "model", "resnet50"], "type group=choice or key=value without blanks"),
    "a setting of the optimizer's class": Bad(
        ["train.py", "data=simulated", "optimizer.betas=[0.9,0.95]"], "type +optimizer.betas=[0.9,0.95]"
    ),
    "an unknown network of timm": Bad(
        ["train.py", "data=simulated", "model=timm", "model.backbone=resnet5o"],
        "timm has no network resnet5o: did you mean resnet5",
    ),
    "an address as the network's name": Bad(
        ["train.py", "data=simulated", "model=timm", "model.backbone=hf_hub:a/b"], "type model.backbone=<the network's"
    ),
    "pretrained weights for a network that has none": Bad(
        ["train.py", "data=simulated", "model.pretrained=true"], "no pretrained weights"
    ),
    "a batch that the devices cannot share equally": Bad(
        ["train.py", "data=simulated", "trainer.accelerator=cpu", "trainer.devices=3"],
        "data.batch_size=32 is not divisible by 3 devices",
    ),
    "GPUs on a machine without GPUs": Bad(
        ["train.py", "data=simulated", "model=inceptionv3", "model.pretrained=false", "trainer.devices=4"],
        "or trainer.accelerator=cpu trainer.devices=4 for 4 processes on the CPU",
    ),
}

CHECKPOINTS = {
    "a weights file for a network without pretrained weights": Bad(
        ["train.py", "data=simulated", "model.weights=RUN/checkpoints/best.ckpt"], "leave out model.weights"
    ),
    "weights that would not be used": Bad(
        [*FILE, "model=resnet50", "model.pretrained=false", "model.weights=w.pth"], "is not used with model.pretrained"
    ),
    "weights that are a hostile pickle": Bad(
        [*FILE, *TRANSFER, "model.pretrained=true", "model.weights=w.pkl"], "w.pkl", pickled("w.pkl")
    ),
    "weights that are a hostile checkpoint": Bad(
        [*FILE, *TRANSFER, "model.pretrained=true", "model.weights=w.pth"], "w.pth", pickled("w.pth")
    ),
    "weights that are a text file": Bad(
        [*FILE, *TRANSFER, "model.pretrained=true", "model.weights=w.pth"], "w.pth", content("w.pth", b"hello" * 99)
    ),
    "weights that are another zip file": Bad(
        [*FILE, *TRANSFER, "model.pretrained=true", "model.weights=w.pth"], "w.pth", as_zip
    ),
    "weights of another network": Bad(
        [*FILE, *TRANSFER, "model.pretrained=true", "model.weights=w.pth"],
        "does not fit",
        other_network("w.pth"),
    ),
    "missing weights": Bad(
        [*FILE, *TRANSFER, "model.pretrained=true", "model.weights=none.pth"], "none.pth"
    ),
    "a folder that is no run": Bad(["galaxy10", "evaluate", ".", "g.h5", "-o", "out"], "is no run directory"),
    "a run without checkpoints": Bad(EVALUATE, "has no checkpoints/best.ckpt", without_checkpoints, with_run=True),
    "a run with a hostile checkpoint": Bad(EVALUATE, "best.ckpt", pickled("r/checkpoints/best.ckpt"), with_run=True),
    "a run whose checkpoint is a text file": Bad(
        EVALUATE, "best.ckpt", content("r/checkpoints/best.ckpt", b"hello" * 99), with_run=True
    ),
    "a run with a truncated checkpoint": Bad(
        EVALUATE, "best.ckpt", content("r/checkpoints/best.ckpt", lambda old: old[: len(old) // 2]), with_run=True
    ),
    "a run with another network's checkpoint": Bad(
        EVALUATE, "best.ckpt", other_network("r/checkpoints/best.ckpt"), with_run=True
    ),
    "resuming from a hostile checkpoint": Bad(
        RESUME, "last.ckpt", half_finished(pickled("r/checkpoints/last.ckpt")), with_run=True
    ),
    "resuming from a truncated checkpoint": Bad(
        RESUME,
        "last.ckpt",
        half_finished(content("r/checkpoints/last.ckpt", lambda old: old[: len(old) // 2])),
        with_run=True,
    ),
    "resuming from another network's checkpoint": Bad(
        RESUME, "last.ckpt", half_finished(other_network("r/checkpoints/last.ckpt")), with_run=True
    ),
    "other settings for a finished run": Bad(
        [*RESUME, "model.dropout=0.5"], "model.dropout (0.2 there, 0.5 here)", with_run=True
    ),
}  # fmt: skip

TABLE: dict[str, Bad] = CONFIGURATION | FILES | CHECKPOINTS


def main() -> None:
    """Run every wrong command in a new process, and print its message."""
    print(
        "# Error messages\n\n"
        "A wrong command or a broken file is refused in one line, with exit code 2, before training begins.\n"
        "`python -m tests.cli.bad_input` made this table: what is wrong, the command, its message, and the seconds it "
        f"took ({os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f} at the start; less on an idle machine).\n"
    )
    print("| what is wrong | command | message | s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        trained = Path(name) / "trained"
        trained.mkdir()
        write_galaxies(trained / "g.h5")
        _give(RESUME, trained)
        for number, (what, bad) in enumerate(TABLE.items()):
            folder = Path(name) / str(number)
            shutil.copytree(trained, folder)
            if not bad.with_run:
                shutil.rmtree(folder / "r")
            bad.prepare(folder)
            begin = time.perf_counter()
            done = _give(bad.words, folder)
            seconds = time.perf_counter() - begin
            message = done.stderr.strip().replace(str(folder), "…").replace(sys.base_prefix, "…").replace("|", "\\|")
            assert done.returncode == 2, message
            print(f"| {what} | `{' '.join(bad.words)}` | {message} | {seconds:.1f} |", flush=True)


def _give(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    program = [str(ROOT / "train.py")] if words[0] == "train.py" else ["-m", "galaxy10"]
    return subprocess.run([sys.executable, *program, *words[1:]], cwd=folder, capture_output=True, text=True)


if __name__ == "__main__":
    main()
