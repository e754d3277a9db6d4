"""train.py with more Lightning callbacks: a profile of some steps, a fingerprint of everything a step computes, a kill.

python benchmarks/gpu/watched_train.py profile OUT.json FIRST STEPS model=resnet50 …
python benchmarks/gpu/watched_train.py fingerprints OUT.jsonl model=resnet50 …
python benchmarks/gpu/watched_train.py warnings OUT.json model=resnet50 …      operations without a deterministic form
python benchmarks/gpu/watched_train.py backend OUT.json model=resnet50 …       what connects the processes of a run
python benchmarks/gpu/watched_train.py kill STEP model=resnet50 …              SIGKILL before a step
"""

import json
import os
import runpy
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parents[2]
ON_THE_CARD = ("kernel", "gpu_memcpy", "gpu_memset")
WAITS = ("Synchronize", "cudaMemcpy", "cudaMemset", "cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaHostRegister")
LOOKS = ("aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::unique", "aten::equal")


class Profile(L.Callback):
    """`steps` steps from the `first` on with what the card does, then a fifth as many with the host's operations."""

    def __init__(self, out: Path, first: int, steps: int):
        self.out, self.found = out, {}
        after = first + steps
        host = (after + 2, after + 2 + max(1, steps // 5))
        self.windows = {"host": host}
        if torch.cuda.is_available():
            self.windows = {"card": (first, after), **self.windows}
        self.profiler: Any = None
        self.started_s = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The first profile of a process takes long to begin."""
        with profile(activities=[ProfilerActivity.CUDA] if torch.cuda.is_available() else [ProfilerActivity.CPU]):
            torch.zeros(1, device=pl_module.device).add_(1)
            self._wait()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin a window."""
        for name, (begin, _) in self.windows.items():
            if batch_idx == begin:
                activities = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
                activities += [ProfilerActivity.CPU] if name == "host" else []
                self.profiler = profile(activities=activities)
                self._wait()
                self.profiler.start()
                self.started_s = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a window, and write what all of them have shown so far."""
        for name, (begin, end) in self.windows.items():
            if batch_idx == end - 1 and self.profiler is not None:
                self._wait()
                seconds = time.perf_counter() - self.started_s
                self.profiler.stop()
                with tempfile.TemporaryDirectory() as folder:
                    trace = Path(folder, "trace.json")
                    self.profiler.export_chrome_trace(str(trace))
                    events = json.loads(trace.read_text())["traceEvents"]
                self.profiler = None
                self.found[name] = {"steps": end - begin, "seconds": seconds, **summary(events, seconds)}
                self.out.write_text(json.dumps(self.found))

    @staticmethod
    def _wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()


def summary(events: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Busy seconds of the card, kernels, and what the host waits in: {name: [times, milliseconds]}."""
    spans, waits = [], {}
    kernels: Counter[str] = Counter()
    for event in events:
        if event.get("ph") != "X":
            continue
        name, kind, begin, length = event["name"], event.get("cat"), event["ts"], event["dur"]
        if kind in ON_THE_CARD:
            spans.append((begin, begin + length))
            kernels[name] += length
        waits_in = kind in ("cuda_runtime", "cuda_driver") and any(word in name for word in WAITS)
        if waits_in or (kind == "cpu_op" and name in LOOKS):
            number, milliseconds = waits.get(name, (0, 0.0))
            waits[name] = (number + 1, milliseconds + length / 1000)
    busy, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    longest = {name[:60]: round(length / 1000, 3) for name, length in kernels.most_common(8)}
    idle_share = 1 - busy / 1e6 / seconds
    return {"idle_share": idle_share, "kernels": len(spans), "waits": waits, "longest_kernels_ms": longest}


class Fingerprints(L.Callback):
    """One line for the batch, each layer's output, each gradient (last layer first) and each weight of every step."""

    def __init__(self, out: Path):
        self.file = out.open("a")  # of a run that goes on, the later lines count
        self.file.write("\n")  # behind a line that a kill has cut

    def note(self, trainer: Any, what: str, value: Any) -> None:
        """The sum of a tensor's bits and of their squares: no rounding, so no order of summation either."""
        if isinstance(value, torch.Tensor):
            value = value.detach().contiguous()
            whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()]
            bits = value.view(whole).to(torch.int64)
            print(json.dumps([trainer.global_step, what, int(bits.sum()), int((bits * bits).sum())]), file=self.file)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Listen to every layer that has none inside."""
        for name, layer in pl_module.named_modules():
            if not list(layer.children()) and layer is not pl_module:
                layer.register_forward_hook(partial(self._note_output, trainer, name))

    def _note_output(self, trainer: Any, name: str, layer: Any, given: Any, value: Any) -> None:
        if layer.training:
            self.note(trainer, f"output of {name} ({type(layer).__name__})", value)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """What the data module made."""
        for key, value in batch.items():
            self.note(trainer, f"batch: {key}", value)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """As they are made: the last layer's first."""
        for name, parameter in reversed(list(pl_module.named_parameters())):
            if parameter.grad is not None:
                self.note(trainer, f"gradient of {name}", parameter.grad)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The weights after the step, which Lightning counts as the next one's."""
        for name, value in pl_module.state_dict().items():
            self.note(trainer, f"weights before this step: {name}", value)
        self.file.flush()


class Warnings(L.Callback):
    """The operations that torch knows to have no deterministic form here, and the backend of several processes."""

    def __init__(self, out: Path):
        self.out, self.found = out, set()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Before the first step."""
        if stage == "fit":
            torch.use_deterministic_algorithms(True, warn_only=True)
            warnings.showwarning = lambda message, *_, **__: self.found.add(str(message).split("\n")[0][:120])
            warnings.simplefilter("always")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write them."""
        self.out.write_text(json.dumps(sorted(x for x in self.found if "determinis" in x)))


class Backend(L.Callback):
    """What connects the processes of a run."""

    def __init__(self, out: Path):
        self.out = out

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Write it."""
        connected = torch.distributed.is_available() and torch.distributed.is_initialized()
        backend = torch.distributed.get_backend() if connected else None
        self.out.write_text(json.dumps({"backend": backend, "processes": trainer.world_size}))


class Kill(L.Callback):
    """SIGKILL before a step, wherever in its epoch that is."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """End at once."""
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Give Lightning's Trainer more callbacks, and run train.py."""
    words, callbacks = sys.argv[1:], []
    while "=" not in words[0]:
        what, value = words.pop(0), words.pop(0)
        if what == "profile":
            callbacks.append(Profile(Path(value), int(words.pop(0)), int(words.pop(0))))
        elif what == "kill":
            callbacks.append(Kill(int(value)))
        else:
            kinds = {"fingerprints": Fingerprints, "warnings": Warnings, "backend": Backend}
            callbacks.append(kinds[what](Path(value)))
    usual = L.Trainer.__init__

    def with_callback(self: Any, *args: Any, **kwargs: Any) -> None:
        usual(self, *args, **{**kwargs, "callbacks": [*(kwargs.get("callbacks") or []), *callbacks]})

    L.Trainer.__init__ = with_callback
    sys.argv = [str(ROOT / "train.py"), *words]
    sys.path.insert(0, str(ROOT))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
