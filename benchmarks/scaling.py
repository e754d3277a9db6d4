"""Compare training with two processes and with one, a thread each, on CPUs, and compute their communication.

python benchmarks/scaling.py --repeats 5        (ten minutes on two otherwise idle cores)
"""

import os

from our_runs import warm_rate
from side_by_side import Row, alone, arguments, keep, side_by_side

NETWORKS = {
    "simple_cnn at 64 px": ["model=simple_cnn", "model.image_size=64"],
    "efficientnet_lite0 at 64 px": ["model=efficientnet_lite0", "model.image_size=64", "model.pretrained=false"],
}
BYTES = 4  # gradients are float32


def main() -> None:
    given = arguments(__doc__, repeats=5, batches=12, batch_size=64)
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list[Row] = []
    for name, network in NETWORKS.items():
        words = [
            *network,
            f"data.batch_size={given.batch_size}",
            "trainer.accelerator=cpu",
        ]

        def rate(devices: int, words: list[str] = words) -> float:
            return warm_rate(given.batches, *words, f"trainer.devices={devices}")["images_per_s"]

        rows.append(
            side_by_side(
                f"{name}: two processes ÷ one", lambda r=rate: r(2), lambda r=rate: r(1), repeats=given.repeats
            )
        )
        rows.append(
            alone(f"{name}: each process sends per step", lambda n=network: megabytes_sent(n, 2), repeats=1, unit="MB")
        )
    keep("scaling", rows, given)


def megabytes_sent(network: list[str], processes: int) -> float:
    """Return MB sent per step in a ring all-reduce: 2 (p − 1) / p × the gradients' size (Patarasu & Yuan 2009)."""
    import json
    import shutil
    from pathlib import Path
    from tempfile import mkdtemp

    from side_by_side import ROOT, run
    from survey import data_folder

    folder = Path(mkdtemp(prefix="bench-"))
    words = ["data=simulated", f"data.dir={data_folder()}", "debug=fast", "logger=csv", f"run.dir={folder / 'run'}"]
    run(ROOT / "train.py", *words, "run.test=false", *network)
    parameters = json.loads((folder / "run" / "provenance.json").read_text())["model"]["trainable_parameters"]
    shutil.rmtree(folder)
    return 2 * (processes - 1) / processes * parameters * BYTES / 1e6


if __name__ == "__main__":
    main()
