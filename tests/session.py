"""What the processes of one test session share, and what the session has cost: a line at its end.

The session's first process (xdist's controller, or the only one) makes the folder that all share and starts the warm
process; xdist's workers find them through the environment.
"""

import os
import resource
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import WarmServer, write_cpu_time

FOLDER, COUNT, CPU_TIMES = "GALAXY10_TEST_SESSION", "COUNT_TORCH_IMPORTS", "GALAXY10_TEST_CPU_TIMES"


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure what a test costs this process; what the warm process has forked for it is measured there."""
    before = cpu_seconds()
    yield
    write_cpu_time(cpu_seconds() - before, item.nodeid)


class Session:
    """The plugin of a session's first process.

    Args:
        max_torch_imports: the session fails if more processes than this import torch.
        costliest: how many tests to print, by CPU time.
    """

    def __init__(self, max_torch_imports: int | None, costliest: int) -> None:
        self.limit, self.costliest = max_torch_imports, costliest
        self.folder = Path(tempfile.mkdtemp(prefix="galaxy10-tests-"))
        os.environ |= {FOLDER: str(self.folder), COUNT: str(self.folder / "torch_imports")}
        os.environ[CPU_TIMES] = str(self.folder / "cpu_times")
        hook = str(Path(__file__).with_name("torch_imports"))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [hook, os.environ.get("PYTHONPATH")]))
        import tests.torch_imports.sitecustomize  # noqa: F401 - this process is counted, too

        self.server = WarmServer(self.folder)
        self.cost = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.server.close()
        count = Path(os.environ[COUNT])
        importers = count.read_text().splitlines() if count.exists() else []
        self.cost = f"{len(importers)} processes imported torch; {cpu_seconds():.0f} s of CPU time"
        if self.limit is not None and len(importers) > self.limit:
            self.cost = "\n".join([*importers, f"{self.cost}: more than {self.limit} processes imported torch"])
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def costs(self) -> list[tuple[str, float]]:
        """The tests and their CPU seconds, costliest first."""
        tests: Counter[str] = Counter()
        for line in Path(os.environ[CPU_TIMES]).read_text().splitlines():
            seconds, test = line.split(" ", 1)
            tests[test] += float(seconds)
        return tests.most_common()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test, seconds in self.costs()[: self.costliest] if self.costliest else []:
            terminalreporter.write_line(f"{seconds:7.1f} s  {test}")
        terminalreporter.write_line(self.cost)

    def pytest_unconfigure(self) -> None:
        self.server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def shared_folder() -> Path:
    """The folder that all processes of this session see, and that goes with it."""
    return Path(os.environ[FOLDER])
