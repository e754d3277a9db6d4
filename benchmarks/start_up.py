"""Measure the time of short commands, and of train.py until its first training step on a prepared data set."""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from side_by_side import ROOT, Row, alone, arguments, keep
from survey import data_folder, survey_store


def until_exit(*command: object, code: int = 0) -> float:
    """Return the seconds until a command ends."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode != code:
        sys.exit(f"{command} ended with code {done.returncode}:\n{done.stderr}")
    return taken


def until_first_step() -> float:
    """Return the seconds from start until an epoch of one step has ended."""
    with TemporaryDirectory() as folder:
        words = ["data=simulated", f"data.dir={data_folder()}", "logger=csv", f"run.dir={folder}/run"]
        words += ["trainer.limit_train_batches=1", "trainer.limit_val_batches=0", "trainer.max_epochs=1"]
        words += ["trainer.enable_progress_bar=false"]
        start = time.perf_counter()
        command = [sys.executable, str(ROOT / "train.py"), *words, "run.test=false"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            assert process.stderr is not None
            output = ""
            for line in process.stderr:
                output += line
                if line.startswith("epoch 1/1"):
                    taken = time.perf_counter() - start
                    process.stderr.read()
                    return taken
    sys.exit(f"no training step was made:\n{output}")


def main() -> None:
    given = arguments(__doc__, repeats=5)
    survey_store()
    train, galaxy10 = ROOT / "train.py", Path(sys.executable).with_name("galaxy10")
    commands: list[tuple[str, list[object], int, float]] = [
        ("train.py --help", [train, "--help"], 0, 1.0),
        ("train.py --cfg job", [train, "--cfg", "job"], 0, 1.0),
        ("train.py with a mistyped key", [train, "model.dropuot=0.1"], 2, 1.0),
        ("galaxy10 --help", [galaxy10, "--help"], 0, 0.5),
    ]
    repeats, rows = given.repeats, []
    for name, words, code, target in commands:

        def command_s(words=words, code=code) -> float:
            return until_exit(*words, code=code)

        rows.append(alone(name, command_s, repeats=repeats, unit="s", target=target))
    first_step = "train.py until its first training step has ended"
    pairs = [(until_first_step(), until_exit("-c", "import lightning")) for _ in range(repeats)]
    for name, values, target in (
        (first_step, [ours for ours, _ in pairs], 10),
        ("the same, beyond `import lightning`", [ours - theirs for ours, theirs in pairs], 1.5),
    ):
        rows.append(Row(name, "s", values, target=target, at_most=True))
        print(rows[-1].line(), flush=True)
    keep("start_up", rows, given)


if __name__ == "__main__":
    main()
