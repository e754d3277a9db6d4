"""Steps 2 to 5: the simulated survey, images/s of train.py compared with other loops, and the time within a step."""

import json
import os
import sys
from typing import Any

from step import BENCHMARKS, CACHE, HERE, UNSCORED, Step, last_line, main

NETWORKS = {
    "inceptionv3": ("model=inceptionv3", "model.image_size=299"),
    "convnext_tiny": ("model=timm", "model.backbone=convnext_tiny", "model.image_size=224"),
    "vit_small_patch16_224": ("model=timm", "model.backbone=vit_small_patch16_224"),
    "efficientnet_lite0": ("model=efficientnet_lite0", "model.image_size=224"),
    "simple_cnn": ("model=simple_cnn",),
    "d4_cnn": ("model=d4_cnn", "model.image_size=128"),
}
SMALL_NETWORKS = {"simple_cnn": NETWORKS["simple_cnn"]}
AS_THE_LOOPS = ("augment=baseline_transfer", "data.balance=none")
RATIOS = (
    ("train.py, cache on", "plain loop, fp32"),
    ("train.py, cache on, compiled", "plain loop, fp32"),
    ("train.py, cache on, compiled", "bare loop, compiled"),
    ("train.py, cache on, batch 256", "bare loop, batch 256"),
    ("train.py, cache off, compiled", "bare loop, compiled"),
)


def survey(step: Step) -> None:
    """Simulate, build the store, split, and train a few batches."""
    number = 300 if step.small else 4000
    seconds, _, _ = step.galaxy10("simulate", step.survey, "--images", number, "--size", step.image_px)
    step.row(f"simulate {number} images at {step.image_px} px", images_per_s=number / seconds, seconds=seconds,
             cores=len(os.sched_getaffinity(0)), file_mib=step.survey.stat().st_size / 2**20)  # fmt: skip
    store_seconds, _, _ = step.command(HERE / "speed.py", "store", GALAXY10_SURVEY=str(step.survey))
    step.row("build the store", seconds=store_seconds)
    run = step.train("first", "model=simple_cnn", "debug=fast")
    split = json.loads((run.path / "provenance.json").read_text())["split"]
    step.row("train.py debug=fast: split, three batches", seconds=run.seconds, split=split["hash"],
             **{f"{name}_images": count for name, count in split["counts"].items()})  # fmt: skip


def store() -> None:
    """Build the survey's store, as a separate command."""
    sys.path.insert(0, str(BENCHMARKS))
    from survey import survey_store

    survey_store()


def resnet50(step: Step) -> None:
    """Compare train.py with and without cache and compilation, a bare loop on tensors and a plain loop on the file."""
    name = "simple_cnn" if step.small else "resnet50"
    network = ("model=simple_cnn",) if step.small else ("model=resnet50", "model.image_size=224")
    epochs = ["trainer.max_epochs=2", "trainer.limit_train_batches=4"] if step.small else ["trainer.max_epochs=4"]

    def train(cache: bool, compiled: bool, *more: str) -> dict[str, Any]:
        run = f"speed-{cache:d}{compiled:d}{len(more)}"
        words = [*network, *AS_THE_LOOPS, *epochs, *UNSCORED, *more]
        if not step.small:
            words.append(CACHE[cache])
        return step.train(run, *words, f"trainer.compile={str(compiled).lower()}").speed()

    found: dict[str, dict[str, Any]] = {}

    def measure(what: str, function: Any, *args: Any) -> None:
        found[what] = step.attempt(f"{name}: {what}", lambda: function(*args))
        for ours, theirs in RATIOS:
            both = [found.get(key, {}).get("images_per_s") for key in (ours, theirs)]
            if what in (ours, theirs) and all(both):
                step.row(f"{name}: {ours} ÷ {theirs}", ratio=both[0] / both[1])

    if step.small:
        measure("train.py", train, False, False)
        step.skip(f"{name}: train.py, device cache", "this machine has no card to cache images on")
        measure("train.py, compiled", train, False, True)
        measure("bare loop", loop, step, "bare_loop.py", "--images", 8, "--batch", 8, "--size-px", 32)
        measure("plain loop, fp32", loop, step, "plain_loop.py", "--network", 2, "--batches", 2)
        return
    measure("train.py, cache on", train, True, False)
    measure("plain loop, fp32", loop, step, "plain_loop.py", "--batches", 90)
    measure("train.py, cache on, compiled", train, True, True)
    measure("bare loop, compiled", loop, step, "bare_loop.py", "--images", 6400, "--compiled", 1)
    measure("train.py, cache off", train, False, False)
    measure("train.py, cache on, batch 256", train, True, False, "data.batch_size=256")
    measure("bare loop, batch 256", loop, step, "bare_loop.py", "--images", 12800, "--batch", 256)
    measure("train.py, cache off, compiled", train, False, True)


def loop(step: Step, program: str, *words: Any) -> dict[str, Any]:
    """Run one of the loops in benchmarks/ on the step's survey."""
    environment = {"GALAXY10_SURVEY": str(step.survey)}
    seconds, output, _ = step.command(BENCHMARKS / program, *words, **environment)
    return {**json.loads(last_line(output)), "seconds": seconds}


def networks(step: Step) -> None:
    """Measure images per second and memory of the other networks in the second of two epochs."""
    for name, overrides in (SMALL_NETWORKS if step.small else NETWORKS).items():
        batches = 3 if step.small else 80
        words = [*overrides, "trainer.max_epochs=2", f"trainer.limit_train_batches={batches}", *UNSCORED]
        step.attempt(name, lambda name=name, words=words: step.train(f"speed-{name}", *words).speed())
    for name in NETWORKS if step.small else ():
        if name not in SMALL_NETWORKS:
            step.skip(name, "too slow on a CPU for the short form")


def where_time_goes(step: Step) -> None:
    """Profile some steps of train.py with torch.profiler."""
    first, steps = (2, 5) if step.small else (20, 50)
    network = ("model=simple_cnn",) if step.small else ("model=resnet50", "model.image_size=224")
    batches = first + steps + 4 + max(1, steps // 5)
    out = step.work / "profile.json"
    program = (HERE / "watched_train.py", "profile", out, first, steps)
    size = f"data.batch_size={16 if step.small else 32}"
    limit = f"trainer.limit_train_batches={batches}"
    step.train("profiled", *network, "trainer.max_epochs=1", limit, size, *UNSCORED, program=program)
    found = json.loads(out.read_text())
    if "card" in found:
        card = found["card"]
        number = card["steps"]
        step.row("the card", idle_share=card["idle_share"], steps=number, kernels_per_step=card["kernels"] / number,
                 step_ms=1000 * card["seconds"] / number)  # fmt: skip
        step.row("longest kernels, ms in all steps", **card["longest_kernels_ms"])
    else:
        step.skip("the card", "this machine has no card")
    for window, about in found.items():
        waits = sorted(about["waits"].items(), key=lambda item: -item[1][1])
        for name, (number, milliseconds) in waits:
            step.row(f"host waits in {name}" + (" (host's operations recorded)" if window == "host" else ""),
                     times_per_step=number / about["steps"], ms_per_step=milliseconds / about["steps"])  # fmt: skip
        if not waits:
            step.row("host waits in none of the known functions", steps=about["steps"])


if __name__ == "__main__":
    if sys.argv[1:] == ["store"]:
        sys.exit(store())
    main({"survey": survey, "resnet50": resnet50, "networks": networks, "where_time_goes": where_time_goes})
