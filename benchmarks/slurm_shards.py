"""Predict 20,000 small images in 20 tasks of a SLURM job array on two virtual nodes, and compare with one process.

python benchmarks/slurm_shards.py --images 20000 --shards 20      (as root, with slurm-wlm and munge installed)

Prints whether the merged catalogue equals that of one process, what a shard of one image costs, and what importing
torch and loading the run costs, in seconds of CPU time.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pandas as pd
from side_by_side import ROOT, arguments

sys.path.insert(0, str(ROOT))

from tests.conftest import QUIET
from tests.galaxies import write_galaxies
from tests.slurm.conftest import Slurm, missing_daemons, name_the_nodes

IMAGE_PX, BATCH = 32, 64
LOAD = "import sys, torch; from pathlib import Path; from galaxy10.models.factory import load_classifier as load; "
LOAD += "load(Path(sys.argv[1]) / 'checkpoints' / 'best.ckpt')"


def cpu_seconds(*words: object, cwd: Path) -> float:
    """Run Python and return the CPU time it took, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, **QUIET}  # as the tasks have it: one thread
    done = subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words} ended with code {done.returncode}:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    given = arguments(__doc__, repeats=3, images=20_000, shards=20)
    if missing := missing_daemons():
        sys.exit(f"no SLURM here ({', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        sys.exit("SLURM's daemons are started by root; run it as root")
    name_the_nodes()
    with TemporaryDirectory(prefix="shards-") as name:
        folder = Path(name)
        write_galaxies(folder / "labelled.h5", per_class=20, num_classes=4)
        few = ["data=hdf5", "data.path=labelled.h5", "model=d4_cnn", "model.network.size=tiny", "model.image_size=32"]
        few += ["trainer.max_epochs=1", "run.test=false", "run.report=false", "logger=csv", "run.dir=trained"]
        cpu_seconds(ROOT / "train.py", *few, cwd=folder)
        with h5py.File(folder / "survey.h5", "w") as file:
            shape = (given.images, IMAGE_PX, IMAGE_PX, 3)
            file["images"] = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        one = ["trained", "survey.h5", "--batch-size", BATCH, "-o"]
        alone_s = cpu_seconds("-m", "galaxy10", "predict", *one, "whole.parquet", cwd=folder)
        slurm_folder = folder / "slurm"
        slurm_folder.mkdir()
        cluster = Slurm(slurm_folder)
        try:
            script = ROOT / "slurm" / "predict.sbatch"
            array = cluster.submit(f"--array=0-{given.shards - 1}", script, *one, "shards.parquet", cwd=folder)
            states, nodes = set(), set()
            for task in range(given.shards):
                states.add(cluster.ended(f"{array}_{task}"))
                nodes.add(cluster.about(f"{array}_{task}")["NodeList"])
        finally:
            cluster.close()
        merge_s = cpu_seconds("-m", "galaxy10", "merge", "shards.parquet", cwd=folder)
        tables = [pd.read_parquet(folder / f"{name}.parquet") for name in ("shards", "whole")]
        equal = tables[0].equals(tables[1])
        with h5py.File(folder / "survey.h5") as survey, h5py.File(folder / "two.h5", "w") as file:
            file["images"] = survey["images"][:2]
        few = ["trained", "two.h5", "--batch-size", BATCH, "--shard", "0/2", "--overwrite", "-o", "one.parquet"]
        costs = [cpu_seconds("-m", "galaxy10", "predict", *few, cwd=folder) for _ in range(given.repeats)]
        loads = [cpu_seconds("-c", LOAD, "trained", cwd=folder) for _ in range(given.repeats)]
    shown = {
        "jobs": sorted(states), "nodes": sorted(nodes), "rows": len(tables[0]), "equal": equal,
        "one_process_cpu_s": round(alone_s, 1), "merge_cpu_s": round(merge_s, 1),
        "shard_of_one_image_cpu_s": [round(x, 2) for x in costs], "import_and_load_cpu_s": [round(x, 2) for x in loads],
        "ratios": [round(a / b, 2) for a, b in zip(costs, loads, strict=True)],
    }  # fmt: skip
    print(json.dumps(shown))
    sys.exit(not equal or states != {"COMPLETED"})


if __name__ == "__main__":
    main()
