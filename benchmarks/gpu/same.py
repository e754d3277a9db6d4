"""Steps 6 and 7: check that the same seed twice, and a killed and resumed run, give the same weights."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from step import HERE, ROOT, CommandFailed, Step, main

REFERENCE = "same-a"  # the run of steps 6, 7 and 9
WATCHED_BATCHES = 12


def settings(step: Step) -> list[str]:
    """Return the overrides of a run of three epochs."""
    if step.small:
        short = ["data.batch_size=8", "trainer.limit_train_batches=20", "augment=dihedral"]
        return ["model=simple_cnn", *short, "trainer.max_epochs=3", "model.tta_views=2"]
    return ["model=resnet50", "model.image_size=224", "trainer.max_epochs=3", "trainer.limit_train_batches=60"]


def seed(step: Step) -> None:
    """Compare two runs of one seed."""
    with ThreadPoolExecutor() as pool:  # no time is measured
        runs = list(pool.map(lambda name: step.train(name, *settings(step)), (REFERENCE, "same-b")))
    if not compare(step, "the same seed twice", runs[0].path, runs[1].path):
        explain(step, killed=False)


def kill(step: Step) -> None:
    """Compare a run that was killed within an epoch and resumed with the uninterrupted run of step 6."""
    name, at_step = "killed", 27 if step.small else 85
    epochs = killed_run(step, name, settings(step), at_step)
    what = f"killed before step {at_step}, after {epochs} epoch{'s' if epochs != 1 else ''}, and resumed"
    if not compare(step, what, step.work / REFERENCE, step.work / name):
        explain(step, killed=True)


def killed_run(step: Step, name: str, words: list[str], at_step: int, watch: tuple[Any, ...] = ()) -> int:
    """Kill a run before a step, resume it to its end, and return the number of epochs finished before the kill."""
    path, program = step.work / name, HERE / "watched_train.py"
    with suppress(CommandFailed):
        step.train(name, *words, program=(program, "kill", at_step, *watch))
    if json.loads((path / "status.json").read_text())["state"] != "running":
        raise CommandFailed(f"{name} ended before it could be killed")
    epochs = len((path / "metrics.csv").read_text().splitlines()) - 1
    step.train(name, *words, program=(program, *watch) if watch else (ROOT / "train.py",))
    return epochs


def compare(step: Step, what: str, one: Path, two: Path) -> bool:
    """Print a row about whether last checkpoints and metrics of two runs are bitwise equal; return whether they are."""
    tensors: list[dict[str, torch.Tensor]] = []
    for run in (one, two):
        state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
        tensors.append({**dict(leaves(state["state_dict"])), **dict(leaves(state["optimizer_states"], "optimizer"))})
    different = [key for key, value in tensors[0].items() if not torch.equal(value, tensors[1][key])]
    weights = [key for key in different if not key.startswith("optimizer")]
    largest = max((float((tensors[0][k].double() - tensors[1][k].double()).abs().max()) for k in weights), default=0.0)
    metrics = (one / "metrics.csv").read_bytes() == (two / "metrics.csv").read_bytes()
    equal = not different and tensors[0].keys() == tensors[1].keys()
    step.row(
        what, weights_equal=equal, metrics_equal=metrics, tensors=len(tensors[0]),
        different_tensors=len(different), largest_weight_difference=largest,
    )  # fmt: skip
    return equal


def leaves(container: Any, name: str = "") -> Any:
    """Yield path and tensor of every tensor in nested dictionaries and lists."""
    if isinstance(container, torch.Tensor):
        yield name, container
    elif isinstance(container, dict | list | tuple):
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            yield from leaves(value, f"{name}.{key}" if name else str(key))


def explain(step: Step, killed: bool) -> None:
    """Print rows with the first operation that differs, torch's nondeterministic ones, and deterministic=true."""
    short = [*settings(step), f"trainer.limit_train_batches={WATCHED_BATCHES}", "trainer.max_epochs=2"]
    short += ["trainer.limit_val_batches=2", "run.test=false"]
    files = [step.work / f"fingerprints-{killed:d}-{i}.jsonl" for i in range(2)]
    watches = [("fingerprints", file) for file in files]
    step.train(f"watched-{killed:d}-0", *short, program=(HERE / "watched_train.py", *watches[0]))
    if killed:
        killed_run(step, f"watched-{killed:d}-1", short, WATCHED_BATCHES + 5, watches[1])
    else:
        step.train(f"watched-{killed:d}-1", *short, program=(HERE / "watched_train.py", *watches[1]))
    step.row("first difference", operation=first_difference(*files))
    if killed:
        return
    deterministic = [*short, "trainer.deterministic=true"]
    names = ("deterministic-a", "deterministic-b")
    found = [step.train(name, *deterministic).path for name in names]
    compare(step, "the same seed twice, trainer.deterministic=true", *found)
    out = step.work / "warnings.json"
    step.train("warned", *short, program=(HERE / "watched_train.py", "warnings", out))
    step.row("nondeterministic operations, by torch's warnings", operations=json.loads(out.read_text()))


def first_difference(one: Path, two: Path) -> str:
    """Return the first fingerprint, in the order of computation, that differs between two runs."""
    found: list[dict[tuple[int, str], list[int]]] = []
    for path in (one, two):
        whole = [
            json.loads(line) for line in path.read_text().splitlines() if line.endswith("]")
        ]  # a kill may cut a line
        found.append({(step, what): values for step, what, *values in whole})
    for (step, what), values in found[0].items():
        if found[1].get((step, what)) != values:
            return f"step {step}: {what}"
    return f"none this time: {WATCHED_BATCHES} batches twice were equal"


if __name__ == "__main__":
    main({"seed": seed, "kill": kill})
