"""Run train.py with more Lightning callbacks: a profile of some steps, fingerprints of all tensors of a step, a kill.

python benchmarks/gpu/watched_train.py profile OUT.json FIRST STEPS model=resnet50 …
python benchmarks/gpu/watched_train.py fingerprints OUT.jsonl model=resnet50 …
python benchmarks/gpu/watched_train.py warnings OUT.json model=resnet50 …      nondeterministic operations
python benchmarks/gpu/watched_train.py backend OUT.json model=resnet50 …       the distributed backend
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
SYNCHRONIZING = (
    "aten::item",
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "aten::is_nonzero",
    "aten::unique",
    "aten::equal",
)


class Profile(L.Callback):
    """Profile the card in `steps` steps from `first` on, then the host's operations in a fifth as many."""

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
        """Run a first profile, which takes long to start."""
        with profile(activities=[ProfilerActivity.CUDA] if torch.cuda.is_available() else [ProfilerActivity.CPU]):
            torch.zeros(1, device=pl_module.device).add_(1)
            self._wait()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start the profiler at the beginning of a window."""
        for name, (begin, _) in self.windows.items():
            if batch_idx == begin:
                activities = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
                activities += [ProfilerActivity.CPU] if name == "host" else []
                self.profiler = profile(activities=activities)
                self._wait()
                self.profiler.start()
                self.started_s = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop the profiler at the end of a window, and write the results of all windows so far."""
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
    """Return the idle share of the card, its kernels, and the waits of the host: {name: (number, milliseconds)}."""
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
        if waits_in or (kind == "cpu_op" and name in SYNCHRONIZING):
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
    """Write a line for the batch, each layer's output, each gradient (last layer first) and each weight of a step."""

    def __init__(self, out: Path):
        self.file = out.open("a")  # of a resumed run, the later lines count
        self.file.write("\n")  # ends a line that a kill has cut

    def note(self, trainer: Any, what: str, value: Any) -> None:
        """Write the sums of a tensor's bits and of their squares, which are exact in any order of summation."""
        if isinstance(value, torch.Tensor):
            value = value.detach().contiguous()
            whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()]
            bits = value.view(whole).to(torch.int64)
            print(json.dumps([trainer.global_step, what, int(bits.sum()), int((bits * bits).sum())]), file=self.file)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Add a hook to every layer without children."""
        for name, layer in pl_module.named_modules():
            if not list(layer.children()) and layer is not pl_module:
                layer.register_forward_hook(partial(self._note_output, trainer, name))

    def _note_output(self, trainer: Any, name: str, layer: Any, given: Any, value: Any) -> None:
        if layer.training:
            self.note(trainer, f"output of {name} ({type(layer).__name__})", value)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note the batch."""
        for key, value in batch.items():
            self.note(trainer, f"batch: {key}", value)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Note the gradients, the last layer first, as they are computed."""
        for name, parameter in reversed(list(pl_module.named_parameters())):
            if parameter.grad is not None:
                self.note(trainer, f"gradient of {name}", parameter.grad)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the weights after the step, under the number of the next step."""
        for name, value in pl_module.state_dict().items():
            self.note(trainer, f"weights before this step: {name}", value)
        self.file.flush()


class Warnings(L.Callback):
    """Write the operations that torch warns about as nondeterministic."""

    def __init__(self, out: Path):
        self.out, self.found = out, set()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Collect warnings from the first step on."""
        if stage == "fit":
            torch.use_deterministic_algorithms(True, warn_only=True)
            warnings.showwarning = lambda message, *_, **__: self.found.add(str(message).split("\n")[0][:120])
            warnings.simplefilter("always")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the collected warnings."""
        self.out.write_text(json.dumps(sorted(x for x in self.found if "determinis" in x)))


class Backend(L.Callback):
    """Write the distributed backend of a run."""

    def __init__(self, out: Path):
        self.out = out

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Write backend and number of processes."""
        connected = torch.distributed.is_available() and torch.distributed.is_initialized()
        backend = torch.distributed.get_backend() if connected else None
        self.out.write_text(json.dumps({"backend": backend, "processes": trainer.world_size}))


class Kill(L.Callback):
    """Kill the process with SIGKILL before a step."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Kill the process if this is the step."""
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run train.py with more callbacks in Lightning's Trainer."""
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
